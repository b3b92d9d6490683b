//! Which request fields select the variants of the URIs that have several.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use http::HeaderName;

use crate::key::Key;

/// Predicts the key of a variant, so that a hit on it takes one lookup: the list of the URI's variants is not read.
///
/// A prediction may be wrong or missing, which costs a lookup: an entry is found only under the whole key of a variant. It is for URIs whose
/// variants are all selected by the same fields; there, no other response to the URI is more recent or fits better (RFC 9111 §4). If
/// another node has stored a response with another `Vary` since, this one notices when its variant is no longer fresh.
///
/// Bounded: a slot for each of 4,096 hashes, allocated with the first prediction, and 255 lists of fields.
#[derive(Debug, Default)]
pub(crate) struct VaryHints {
    slots: OnceLock<Box<[AtomicU64]>>,
    lists: OnceLock<Box<[Fields]>>,
}

/// A list of fields, once there is one.
type Fields = OnceLock<Box<[HeaderName]>>;

const SLOTS: usize = 4096;
const LISTS: usize = 255;
/// The bits of a slot that are the number of a list of fields, from 1; the others are of the key's hash.
const LIST: u64 = 0xff;

impl VaryHints {
    /// Returns the fields that select the variants of this URI, if that is known.
    #[inline]
    pub(crate) fn predict(&self, key: &Key) -> Option<&[HeaderName]> {
        let slots = self.slots.get()?;
        let hash = key.digest();
        let slot = slots[place(hash)].load(Ordering::Relaxed);
        if slot & !LIST != hash & !LIST {
            return None;
        }
        let number = usize::try_from(slot & LIST).ok()?.checked_sub(1)?;
        self.lists.get()?.get(number)?.get().map(|fields| &**fields)
    }

    /// Remembers that all variants of this URI are selected by these fields.
    pub(crate) fn note(&self, key: &Key, fields: &[HeaderName]) {
        let Some(number) = self.number_of(fields) else { return };
        let slots = self.slots.get_or_init(|| (0..SLOTS).map(|_| AtomicU64::new(0)).collect());
        let hash = key.digest();
        slots[place(hash)].store(hash & !LIST | number, Ordering::Relaxed);
    }

    /// Forgets the fields of this URI: it has no list of variants any more, or variants with other fields.
    pub(crate) fn forget(&self, key: &Key) {
        let Some(slots) = self.slots.get() else { return };
        let hash = key.digest();
        let slot = &slots[place(hash)];
        if slot.load(Ordering::Relaxed) & !LIST == hash & !LIST {
            slot.store(0, Ordering::Relaxed);
        }
    }

    /// The number of a list of fields, from 1; `None` if there are too many lists.
    fn number_of(&self, fields: &[HeaderName]) -> Option<u64> {
        let lists = self.lists.get_or_init(|| (0..LISTS).map(|_| OnceLock::new()).collect());
        // Two threads may fill neighbouring places with the same list, which wastes one.
        let number = lists.iter().position(|list| **list.get_or_init(|| fields.into()) == *fields)?;
        u64::try_from(number + 1).ok()
    }
}

/// The slot of a hash.
fn place(hash: u64) -> usize {
    usize::try_from((hash >> 8) % SLOTS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, ACCEPT_ENCODING};

    use super::*;

    fn key(name: &str) -> Key {
        Key::from_bytes(name.as_bytes())
    }

    /// A process has hashes of its own.
    fn keys_in_three_slots() -> [Key; 3] {
        let mut keys: Vec<Key> = (0..SLOTS).map(|number| key(&number.to_string())).collect();
        keys.sort_by_key(|key| place(key.digest()));
        keys.dedup_by_key(|key| place(key.digest()));
        keys.truncate(3);
        keys.try_into().unwrap()
    }

    #[test]
    fn fields_are_predicted_until_they_are_forgotten() {
        let hints = VaryHints::default();
        let [a, b, c] = keys_in_three_slots();
        assert_eq!(hints.predict(&a), None);
        hints.note(&a, &[ACCEPT_ENCODING]);
        hints.note(&b, &[ACCEPT, ACCEPT_ENCODING]);
        assert_eq!(hints.predict(&a), Some(&[ACCEPT_ENCODING][..]));
        assert_eq!(hints.predict(&b), Some(&[ACCEPT, ACCEPT_ENCODING][..]));
        assert_eq!(hints.predict(&c), None);
        hints.note(&a, &[ACCEPT]);
        assert_eq!(hints.predict(&a), Some(&[ACCEPT][..]));
        hints.forget(&a);
        assert_eq!(hints.predict(&a), None);
        assert_eq!(hints.predict(&b), Some(&[ACCEPT, ACCEPT_ENCODING][..]));
    }

    #[test]
    fn more_lists_than_are_numbered_predict_nothing() {
        let hints = VaryHints::default();
        let field = |number: usize| HeaderName::from_bytes(format!("x-{number}").as_bytes()).unwrap();
        for number in 0..=LISTS {
            hints.note(&key(&number.to_string()), &[field(number)]);
        }
        hints.note(&key("7"), &[field(7)]);
        assert_eq!(hints.predict(&key("7")), Some(&[field(7)][..]));
        assert_eq!(hints.predict(&key(&LISTS.to_string())), None);
    }
}
