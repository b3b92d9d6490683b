//! A response head, with an index of the fields that it may have.

use http::{HeaderName, HeaderValue, header::VARY, response};

use crate::http::vary::Vary;

/// A response that may be stored, and a note of which fields it has: most questions about it are about fields that it lacks.
#[derive(Debug)]
pub(crate) struct ResponseView<'r> {
    pub(crate) parts: &'r response::Parts,
    pub(crate) length: Option<u64>,
    pub(crate) vary: Vary,
    /// One bit for each name, which it may share with others.
    names: u64,
}

impl<'r> ResponseView<'r> {
    /// `length` is the body's, if it is known.
    pub(crate) fn new(parts: &'r response::Parts, length: Option<u64>) -> Self {
        let names = parts.headers.keys().fold(0, |names, name| names | bit(name));
        let vary = if names & bit(&VARY) == 0 { Vary::Nothing } else { Vary::parse(&parts.headers) };
        Self { parts, length, vary, names }
    }

    /// Whether it may have such a field: if not, nobody need look for it.
    pub(crate) fn may_have(&self, field: &HeaderName) -> bool {
        self.names & bit(field) != 0
    }

    pub(crate) fn has(&self, field: &HeaderName) -> bool {
        self.may_have(field) && self.parts.headers.contains_key(field)
    }

    /// The first line of a field.
    pub(crate) fn get(&self, field: &HeaderName) -> Option<&'r HeaderValue> {
        self.may_have(field).then(|| self.parts.headers.get(field))?
    }

    /// Every line of a field.
    pub(crate) fn lines(&self, field: &HeaderName) -> impl Iterator<Item = &'r HeaderValue> + use<'r> {
        self.may_have(field).then(|| self.parts.headers.get_all(field)).into_iter().flatten()
    }
}

/// Names that fields often have differ in their first letter or in their length.
fn bit(name: &HeaderName) -> u64 {
    let name = name.as_str().as_bytes();
    let first = name.first().copied().map_or(0, usize::from);
    1 << ((first * 7 + name.len()) % 64)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Response};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_a_response_has_is_found(names in proptest::collection::vec("[a-z][a-z-]{0,12}", 0..12), asked in "[a-z][a-z-]{0,12}") {
            let name = |name: &String| HeaderName::from_bytes(name.as_bytes()).unwrap();
            let mut parts = Response::new(()).into_parts().0;
            parts.headers = names.iter().map(|own| (name(own), HeaderValue::from_static("1"))).collect::<HeaderMap>();
            let candidate = ResponseView::new(&parts, None);
            for field in names.iter().chain([&asked]).map(name) {
                prop_assert_eq!(candidate.get(&field), parts.headers.get(&field));
                prop_assert_eq!(candidate.has(&field), parts.headers.contains_key(&field));
                prop_assert_eq!(candidate.lines(&field).count(), parts.headers.get_all(&field).iter().count());
            }
        }
    }
}
