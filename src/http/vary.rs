//! Reads `Vary` (RFC 9110 §12.5.5): which request fields a response nominates. The rule by which a request selects a response (RFC 9111 §4.1) is
//! in `key/vary.rs`.

use std::cell::RefCell;

use http::{HeaderMap, HeaderName, header::VARY};
use smallvec::{SmallVec, smallvec};

use super::field::{
    latest::Latest,
    lines::{members, members_in, only_line},
};

/// The request fields that a response nominates (RFC 9111 §4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Vary {
    /// No fields: one response for all requests.
    Nothing,
    /// These fields: in lower case, sorted, without duplicates.
    Fields(SmallVec<[HeaderName; 2]>),
    /// `*`: properties of the request that a cache cannot know.
    Everything,
}

impl Vary {
    /// Reads every line, in any spelling. An invalid member is treated as `*`, because no request can be matched against it.
    ///
    /// Each thread remembers its latest values, which most responses of a site share.
    pub(crate) fn parse(headers: &HeaderMap) -> Self {
        thread_local! {
            static LATEST: RefCell<Latest<Vary>> = const { RefCell::new(Latest::new()) };
        }
        match only_line(headers, &VARY) {
            Some(line) => Latest::with(&LATEST, line, |line| Self::of_members(members_in(line)), Self::clone),
            None => Self::of_members(members(headers, &VARY)),
        }
    }

    fn of_members<'h>(members: impl Iterator<Item = &'h [u8]>) -> Self {
        let mut fields = smallvec![];
        for member in members {
            match HeaderName::from_bytes(member) {
                Ok(name) if member != b"*" => fields.push(name),
                _ => return Self::Everything,
            }
        }
        Self::of(fields)
    }

    pub(crate) fn of(mut fields: SmallVec<[HeaderName; 2]>) -> Self {
        fields.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        fields.dedup();
        if fields.is_empty() { Self::Nothing } else { Self::Fields(fields) }
    }

    /// Returns the fields; none for `*`.
    pub(crate) fn fields(&self) -> &[HeaderName] {
        match self {
            Self::Fields(fields) => fields,
            Self::Nothing | Self::Everything => &[],
        }
    }

    pub(crate) fn nominates(&self, field: &HeaderName) -> bool {
        match self {
            Self::Nothing => false,
            Self::Fields(fields) => fields.contains(field),
            Self::Everything => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn vary(lines: &[&'static str]) -> Vary {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(VARY, HeaderValue::from_static(line));
        }
        Vary::parse(&headers)
    }

    #[test]
    fn p5_a_star_in_any_spelling_is_a_star() {
        for lines in [&[" *"][..], &["* ,Foo"], &["Foo", "*"], &["\t*\t"], &["foo,*"], &[",,*"]] {
            assert_eq!(vary(lines), Vary::Everything, "{lines:?}");
        }
    }

    #[test]
    fn invalid_member_is_a_star() {
        assert_eq!(vary(&["accept encoding"]), Vary::Everything);
    }

    #[test]
    fn s30_names_are_compared_without_case_over_all_lines() {
        assert_eq!(vary(&["Accept, ACCEPT-language", "", "accept"]), vary(&["accept-language,accept"]));
        assert_eq!(vary(&["", " , "]), Vary::Nothing);
    }
}
