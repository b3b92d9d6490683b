//! The content of a request in its key: method, length, digest, and the fields that describe it.

use http::{
    HeaderMap, HeaderName, Method,
    header::{CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE},
};
use sha2::{Digest as _, Sha256};

use super::{Key, rules::KeyRules};
use crate::http::field::lines::joined_lines;

/// What follows the prefix in the key of a request with content. In other keys of responses it is 0 or 1, and in those of values 2.
pub(crate) const CONTENT: u8 = 3;

/// The length of what [`KeyRules::with_content`] writes between method and fields.
pub(super) const DIGEST: usize = 8 + 32;

/// The fields that describe the content of a request (RFC 9110 §8, §14.4): the same bytes mean something else with another one.
pub(crate) const CONTENT_FIELDS: [HeaderName; 5] =
    [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, CONTENT_RANGE];

impl KeyRules {
    /// Returns the key of a request with content (RFC 10008 §2.7), and how much longer it is. `key` is that of the same request without, and
    /// has a prefix of `prefix` bytes.
    ///
    /// Nothing is normalized: the same query in other white space is another query.
    pub(crate) fn with_content(
        &self,
        key: &Key,
        prefix: usize,
        method: &Method,
        headers: &HeaderMap,
        content: &[u8],
    ) -> (Key, usize) {
        let (before, after) = key.as_bytes().split_at(prefix);
        let mut keyed = Key::from_bytes(before);
        keyed.push_byte(CONTENT);
        keyed.push(method.as_str().as_bytes());
        keyed.extend(&(content.len() as u64).to_le_bytes());
        keyed.extend(&Sha256::digest(content));
        for field in &CONTENT_FIELDS {
            let value = joined_lines(headers, field).filter(|_| !self.ignores(field.as_str()));
            keyed.push_option(value.as_deref());
        }
        keyed.extend(after);
        let added = keyed.as_bytes().len() - key.as_bytes().len();
        (keyed, added)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use http::HeaderValue;

    use super::*;

    fn key() -> Key {
        let mut key = Key::first("shop", "r1");
        key.extend(b"\x00rest");
        key
    }

    const PREFIX: usize = 1 + 4 + 4 + 4 + 2;

    fn of(method: &str, fields: &[(HeaderName, &'static str)], content: &[u8]) -> Key {
        let headers = fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        KeyRules::default().with_content(&key(), PREFIX, &method.parse().unwrap(), &headers, content).0
    }

    /// As for the other keys: nodes of different builds share entries only while these bytes stay the same.
    #[test]
    fn the_bytes_of_keys_with_content_are_pinned() {
        // echo -n '{"q":1}' | sha256sum
        let expected = [
            &b"\x02\x04\0\0\0shop\x02\0\0\0r1\x03\x05\0\0\0QUERY\x07\0\0\0\0\0\0\0"[..],
            &hex("6ae0f660046dadcf5fe8462c0e00a062db4c8d67be82f4098c5ea4208d19b076"),
            b"\x10\0\0\0application/json\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0rest",
        ]
        .concat();
        let key = of("QUERY", &[(CONTENT_TYPE, "application/json")], br#"{"q":1}"#);
        assert_eq!(key.as_bytes().escape_ascii().to_string(), expected.escape_ascii().to_string());
    }

    fn hex(digits: &str) -> Vec<u8> {
        digits.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn every_difference_is_in_the_key() {
        let json = (CONTENT_TYPE, "application/json");
        let keys = [
            key(),
            of("QUERY", std::slice::from_ref(&json), b"a"),
            of("POST", std::slice::from_ref(&json), b"a"),
            of("QUERY", std::slice::from_ref(&json), b"b"),
            of("QUERY", std::slice::from_ref(&json), b""),
            of("QUERY", &[(CONTENT_TYPE, "application/JSON")], b"a"),
            of("QUERY", &[], b"a"),
            of("QUERY", &[json.clone(), (CONTENT_ENCODING, "gzip")], b"a"),
            of("QUERY", &[json.clone(), (CONTENT_LANGUAGE, "gzip")], b"a"),
            of("QUERY", &[json.clone(), (CONTENT_LOCATION, "gzip")], b"a"),
            of("QUERY", &[json, (CONTENT_RANGE, "gzip")], b"a"),
        ];
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
    }
}
