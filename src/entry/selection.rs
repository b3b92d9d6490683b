//! Which requests a response with `Vary` is for (RFC 9111 §4.1).

use std::sync::Arc;

use http::HeaderName;

use crate::http::field::intern_table::InternTable;

/// The request fields that select a response, and their values in the request that it was made for.
#[derive(Debug)]
pub(crate) struct Selection {
    /// In lower case, sorted, without duplicates.
    pub(crate) fields: Box<[HeaderName]>,
    /// The normal forms of the values: what the key of the variant has after the request's own key.
    pub(crate) values: Box<[u8]>,
    is_shared: bool,
}

/// How many selections are shared, for the life of the process.
const SHARED: usize = 256;
/// The longest values that are shared, in bytes.
const LONGEST: usize = 192;

type Selections = InternTable<Arc<Selection>, SHARED>;

/// Whether they are shared makes no difference.
impl PartialEq for Selection {
    fn eq(&self, other: &Self) -> bool {
        self.fields == other.fields && self.values == other.values
    }
}

impl Selection {
    /// Returns the selection with these fields and values, which all entries share: a site has few, and one takes 150 bytes. Those for which
    /// there is no place are separate.
    pub(crate) fn of(fields: &[HeaderName], values: &[u8]) -> Arc<Self> {
        static SELECTIONS: Selections = Selections::new();
        Self::shared_in(&SELECTIONS, fields, values)
    }

    fn shared_in(shared: &Selections, fields: &[HeaderName], values: &[u8]) -> Arc<Self> {
        let new = |is_shared| Arc::new(Self { fields: fields.into(), values: values.into(), is_shared });
        if values.len() > LONGEST {
            return new(false);
        }
        let is_equal = |shared: &Arc<Self>| *shared.values == *values && *shared.fields == *fields;
        shared.get_or_make(values, is_equal, || new(true)).map_or_else(|| new(false), Arc::clone)
    }

    /// Its size in each entry that has it, in bytes: none if it is shared.
    pub(crate) fn weight(&self) -> usize {
        if self.is_shared {
            return 0;
        }
        size_of::<Self>() + size_of_val(&*self.fields) + self.values.len()
    }
}

#[cfg(test)]
mod tests {
    use http::header::ACCEPT_ENCODING;

    use super::*;

    #[test]
    fn equal_selections_are_shared_and_different_ones_are_not() {
        let shared = Selections::new();
        let selection = |values: &[u8]| Selection::shared_in(&shared, &[ACCEPT_ENCODING], values);
        let gzip = selection(b"gzip");
        assert!(Arc::ptr_eq(&gzip, &selection(b"gzip")));
        assert_eq!(gzip.weight(), 0);
        for number in 0..2 * SHARED {
            let values = number.to_string();
            assert_eq!(*selection(values.as_bytes()).values, *values.as_bytes());
        }
        let long = [b'x'; LONGEST + 1];
        assert!(selection(&long).weight() > LONGEST);
    }
}
