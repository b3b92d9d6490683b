//! Entity tags (RFC 9110 §8.8.3).

use http::HeaderValue;
use sha2::{Digest as _, Sha256};

/// Returns a weak entity tag for a body: half of its SHA-256, the same on every node.
///
/// Weak, because a layer outside the cache may compress the body and keep the tag: a client must not combine parts of both by `If-Range`
/// (RFC 9110 §8.8.1).
pub(crate) fn entity_tag(body: &[u8]) -> HeaderValue {
    let digest = Sha256::digest(body);
    let mut tag = String::with_capacity(36);
    tag.push_str("W/\"");
    for byte in &digest[..16] {
        tag.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        tag.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    tag.push('"');
    HeaderValue::from_str(&tag).expect("hexadecimal digits in quotes are a legal field value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bodies_have_equal_tags() {
        assert_eq!(entity_tag(b"abc"), "W/\"ba7816bf8f01cfea414140de5dae2223\"");
        assert_ne!(entity_tag(b"abc"), entity_tag(b"abd"));
    }
}
