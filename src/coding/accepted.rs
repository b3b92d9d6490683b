//! The codings that a request accepts (RFC 9110 §12.5.3).

use std::cell::RefCell;

use http::{HeaderMap, header::ACCEPT_ENCODING};

use super::content_coding::ContentCoding;
use crate::http::{
    accept::weighted,
    field::{
        latest::Latest,
        lines::{joined_lines, only_line},
    },
};

/// How much a request wants each coding, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    codings: [u16; ContentCoding::ALL.len()],
    identity: u16,
}

/// The weight of `identity` in a request that does not name it: it is acceptable, and less wanted than any coding that is named.
const UNNAMED_IDENTITY: u16 = 0;

impl Accepted {
    /// No coding.
    const NONE: Self = Self { codings: [0; ContentCoding::ALL.len()], identity: UNNAMED_IDENTITY };

    /// Reads `Accept-Encoding`. A request without it gets no coding: few programs that send none can decode one.
    #[inline]
    pub(crate) fn of(request: &HeaderMap) -> Self {
        match only_line(request, &ACCEPT_ENCODING) {
            Some(value) => Self::remembered(value),
            None => joined_lines(request, &ACCEPT_ENCODING).map_or(Self::NONE, |value| Self::parse(&value)),
        }
    }

    /// Each thread remembers its latest values, as for the normal form of the field.
    fn remembered(value: &[u8]) -> Self {
        thread_local! {
            static LATEST: RefCell<Latest<Accepted>> = const { RefCell::new(Latest::new()) };
        }
        Latest::with(&LATEST, value, Self::parse, |accepted| *accepted)
    }

    /// Parses a value. A malformed member accepts nothing; of several members with one name, the last counts.
    fn parse(value: &[u8]) -> Self {
        let text = String::from_utf8_lossy(value).to_ascii_lowercase();
        let (mut codings, mut identity, mut others) = ([None; ContentCoding::ALL.len()], None, None);
        for (name, weight) in text.split(',').map(str::trim).filter_map(weighted) {
            match (name, ContentCoding::named(name)) {
                ("*", _) => others = Some(weight),
                ("identity", _) => identity = Some(weight),
                (_, Some(coding)) => codings[coding as usize] = Some(weight),
                (_, None) => {}
            }
        }
        Self { codings: codings.map(|weight| weight.or(others).unwrap_or(0)), identity: identity.unwrap_or(UNNAMED_IDENTITY) }
    }

    /// Returns the coding among these that the client wants most, the first of those that it wants equally; `None` if it rather has no
    /// coding, or accepts none of them.
    #[inline]
    pub(crate) fn best(self, codings: impl Iterator<Item = ContentCoding>) -> Option<ContentCoding> {
        let mut best = (None, 0);
        for coding in codings {
            let weight = self.codings[coding as usize];
            if weight > best.1 && weight >= self.identity {
                best = (Some(coding), weight);
            }
        }
        best.0
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn best(lines: &[&str]) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        // Twice: the second time it is remembered.
        let read = || Accepted::of(&headers).best(ContentCoding::ALL.into_iter()).map(ContentCoding::as_str);
        let first = read();
        assert_eq!(first, read(), "{lines:?}");
        first
    }

    #[test]
    fn the_coding_with_the_highest_weight_is_served() {
        for (value, expected) in [
            ("gzip, deflate, br, zstd", Some("zstd")),
            ("gzip, deflate, br", Some("br")),
            ("gzip", Some("gzip")),
            ("GZIP;Q=0.5", Some("gzip")),
            ("x-gzip", Some("gzip")),
            ("gzip;q=1.0, br;q=0.9", Some("gzip")),
            ("zstd;q=0.001, br;q=0.002", Some("br")),
            ("gzip;q=0", None),
            ("gzip;q=0.000", None),
            ("*", Some("zstd")),
            ("*;q=0", None),
            ("zstd;q=0, *;q=0.5", Some("br")),
            ("gzip;q=0.2, *;q=0.1", Some("gzip")),
            ("gzip, *;q=0", Some("gzip")),
            ("identity", None),
            ("identity;q=0", None),
            ("identity;q=0, gzip", Some("gzip")),
            ("identity;q=0, *", Some("zstd")),
            ("identity, gzip", Some("gzip")),
            ("identity;q=1, gzip;q=0.5", None),
            ("identity;q=0.5, gzip;q=0.6", Some("gzip")),
            ("gzip;q=0.5;q=1", None),
            ("gzip;level=9", None),
            ("gzip;q=2", None),
            ("gzip;q=-1, br;q=nan", None),
            (",, gzip ,", Some("gzip")),
            ("", None),
            ("deflate, compress", None),
            ("gzip;q=1, gzip;q=0", None),
            ("br;q=0.0001", None),
        ] {
            assert_eq!(best(&[value]), expected, "{value}");
        }
        assert_eq!(best(&[]), None);
        assert_eq!(best(&["gzip;q=0.5", "br"]), Some("br"));
        assert_eq!(best(&["\u{e9}, gzip"]), Some("gzip"));
    }
}
