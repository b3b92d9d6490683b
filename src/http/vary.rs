//! `Vary` (RFC 9111 §4.1): which request fields select a variant. `lookup/mod.rs` finds the variant; `key/normalizers.rs` compares fields.

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
    use crate::http::accept::normal_accept_encoding;

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

    #[test]
    fn accept_encoding_has_one_form_for_equal_preferences() {
        let normal = |value: &str| normal_accept_encoding(value.as_bytes()).into_owned();
        assert_eq!(normal("gzip, deflate, br"), normal("BR;q=1.0,deflate , x-gzip, sdch, foo;q=0.3,"));
        assert_ne!(normal("gzip, br"), normal("gzip, br;q=0.5"));
        assert_eq!(normal("gzip;q=0.8, br;q=0.2"), normal("gzip, br;q=0.7"));
        assert_ne!(normal("gzip"), normal("gzip, identity;q=0"));
        assert_ne!(normal("gzip"), normal("gzip, dcb"));
        assert_eq!(normal("gzip;q=0"), normal(""));
        assert_eq!(normal("identity"), normal(""));
        assert_eq!(normal("sdch"), b"identity");
        assert_eq!(normal("gzip;q=0.3, br"), b"br, gzip;q=0.999");
        assert_eq!(normal("*, gzip;q=0, br;q=0.2"), b"*, br;q=0.999, gzip;q=0");
        assert_eq!(normal(&String::from_utf8(normal("zstd;q=0.1, br, gzip;q=0")).unwrap()), normal("br, zstd;q=0.5"));
        assert_ne!(normal("*;q=0.5"), normal("*;q=0.5, gzip;q=0"));
        assert_ne!(normal("gzip;q=nan"), normal(""));
        assert_ne!(normal("gzip;q=0.0001"), normal("br;q=0"));
    }
}
