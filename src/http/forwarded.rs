//! Request fields in which proxies report the original target of a request.

use http::{HeaderName, header::FORWARDED};
use smallvec::SmallVec;

use super::field::scan::{split, trim};

/// Fields in which proxies report the target of a request, and from which handlers build links and redirects. They belong to the
/// key: otherwise the first client that sends one would decide which links all others get. A field's position is part of the encoding of
/// keys: append new ones at the end.
pub(crate) static FIELDS: [HeaderName; 20] = [
    FORWARDED,
    HeaderName::from_static("front-end-https"),
    HeaderName::from_static("x-forwarded"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-path"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-protocol"),
    HeaderName::from_static("x-forwarded-scheme"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-forwarded-ssl"),
    HeaderName::from_static("x-forwarded-uri"),
    HeaderName::from_static("x-host"),
    HeaderName::from_static("x-http-host-override"),
    HeaderName::from_static("x-original-host"),
    HeaderName::from_static("x-original-uri"),
    HeaderName::from_static("x-override-url"),
    HeaderName::from_static("x-script-name"),
    HeaderName::from_static("x-url-scheme"),
];

/// The first letters of their names.
pub(crate) const FORWARDING_INITIALS: [u8; 2] = *b"fx";

pub(crate) fn is_forwarding(name: &str) -> bool {
    FIELDS.iter().any(|field| field.as_str() == name)
}

/// Returns `Forwarded` (RFC 7239) without `for` and `by`, which differ for every client and do not concern the target.
pub(crate) fn without_addresses(value: &[u8]) -> SmallVec<[u8; 64]> {
    let mut rest = SmallVec::new();
    for parameter in split(value, |byte| matches!(byte, b',' | b';')).map(trim) {
        let is_address = [&b"for="[..], b"by="]
            .iter()
            .any(|name| parameter.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)));
        if !is_address {
            rest.extend_from_slice(parameter);
            rest.push(b';');
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_counts_without_addresses() {
        let rest = |value: &str| without_addresses(value.as_bytes()).to_vec();
        assert_eq!(rest("for=1.2.3.4;host=a;proto=https, For=5.6.7.8;by=9"), rest("host=a; proto=https;by=x"));
        assert_ne!(rest("for=1.2.3.4;host=a"), rest("for=1.2.3.4;host=b"));
    }
}
