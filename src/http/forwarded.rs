//! Request fields in which proxies report the original target of a request.

use http::HeaderName;
use smallvec::SmallVec;

use super::field::{
    name_filter::NameFilter,
    scan::{find, split, trim},
};

macro_rules! fields {
    ($($name:literal)+) => {
        const NAMES: &[&str] = &[$($name),+];

        /// Fields in which proxies report the target of a request, and from which handlers build links and redirects. They belong to
        /// the key: otherwise the first client that sends one would decide which links all others get. A field's position is part of the
        /// encoding of keys: append new ones at the end.
        pub(crate) static FIELDS: [HeaderName; NAMES.len()] = [$(HeaderName::from_static($name)),+];
    };
}

fields! {
    "forwarded"
    "front-end-https"
    "x-forwarded"
    "x-forwarded-host"
    "x-forwarded-path"
    "x-forwarded-port"
    "x-forwarded-prefix"
    "x-forwarded-proto"
    "x-forwarded-protocol"
    "x-forwarded-scheme"
    "x-forwarded-server"
    "x-forwarded-ssl"
    "x-forwarded-uri"
    "x-host"
    "x-http-host-override"
    "x-original-host"
    "x-original-uri"
    "x-override-url"
    "x-script-name"
    "x-url-scheme"
    "cf-visitor"
    "cloudfront-forwarded-proto"
    "fastly-ssl"
    "x-arr-ssl"
    "x-envoy-original-path"
    "x-forwarded-url"
    "x-original-proto"
    "x-scheme"
    "x-waws-unencoded-url"
}

pub(crate) static FORWARDING_FILTER: NameFilter = NameFilter::of(NAMES);

pub(crate) fn is_forwarding(name: &str) -> bool {
    FORWARDING_FILTER.passes(name) && NAMES.contains(&name)
}

/// Returns `Forwarded` (RFC 7239) without `for` and `by`, which differ for every client and do not concern the target. A value with
/// quoted strings, which may contain separators, is returned as it is.
pub(crate) fn without_addresses(value: &[u8]) -> SmallVec<[u8; 64]> {
    if find(value, |byte| byte == b'"').is_some() {
        return SmallVec::from_slice(value);
    }
    let mut rest = SmallVec::new();
    for element in split(value, |byte| byte == b',') {
        for parameter in split(element, |byte| byte == b';').map(trim).filter(|parameter| !is_address(parameter)) {
            rest.extend_from_slice(parameter);
            rest.push(b';');
        }
        rest.push(b',');
    }
    rest
}

/// Returns the same as a value of the field, for a handler that sees only what is in the key; empty if nothing is left.
pub(crate) fn shown_without_addresses(value: &[u8]) -> Vec<u8> {
    let rest = without_addresses(value);
    if find(value, |byte| byte == b'"').is_some() {
        return rest.to_vec();
    }
    let elements = split(&rest, |byte| byte == b',').map(|element| {
        let parameters: Vec<_> = split(element, |byte| byte == b';').filter(|parameter| !parameter.is_empty()).collect();
        parameters.join(&b';')
    });
    elements.filter(|element| !element.is_empty()).collect::<Vec<_>>().join(&b", "[..])
}

fn is_address(parameter: &[u8]) -> bool {
    let named = |name: &[u8]| parameter.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    named(b"for=") || named(b"by=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_counts_without_addresses() {
        let rest = |value: &str| without_addresses(value.as_bytes()).to_vec();
        assert_eq!(rest("for=1.2.3.4;host=a;proto=https, For=5.6.7.8;by=9"), rest("host=a; proto=https;by=x,for=1"));
        assert_ne!(rest("host=a, proto=https"), rest("host=a; proto=https"));
        assert_ne!(rest("host=\"a;for=b\""), rest("host=\"a;for=c\""));
        assert_ne!(rest("for=1.2.3.4;host=a"), rest("for=1.2.3.4;host=b"));
    }

    #[test]
    fn forwarded_is_shown_without_addresses() {
        for (value, shown) in [
            ("for=1.2.3.4;host=a; proto=https, For=5.6.7.8;by=9,, host=b", "host=a;proto=https, host=b"),
            ("for=1.2.3.4, by=5", ""),
            ("host=\"a;for=b\";for=c", "host=\"a;for=b\";for=c"),
            ("", ""),
        ] {
            assert_eq!(shown_without_addresses(value.as_bytes()), shown.as_bytes(), "{value}");
        }
    }
}
