//! The cache key and its encoding. `key/rules.rs` says what it consists of.

pub(crate) mod content;
pub(crate) mod cookies;
pub(crate) mod handler_request;
pub(crate) mod normalizers;
pub(crate) mod pattern;
pub(crate) mod query;
pub(crate) mod revision;
pub(crate) mod rules;
pub(crate) mod secret;
pub(crate) mod shown_url;
mod vary;

use std::{
    fmt,
    hash::{BuildHasher, Hash, Hasher},
    ops::Range,
    sync::LazyLock,
};

use http::Uri;
use sha2::{Digest as _, Sha256};

use crate::{
    http::{
        authority::{InvalidHost, Scheme, in_lower_case, is_normal, is_plain},
        field::scan::count,
    },
    key::secret::Secret,
};

/// The version of the encoding; the first byte of each key.
pub(crate) const KEY_VERSION: u8 = 2;

/// A cache key (RFC 9111 §2): every part of a request that selects a stored response, in an unambiguous encoding.
///
/// Each part is prefixed with its length, so different requests never have equal keys. A backend must compare all bytes.
#[derive(Clone)]
pub struct Key(KeyBuf);

impl Key {
    /// Returns the bytes of the key: opaque, of any length, and the same on every node.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// Creates a key from arbitrary bytes, for tests of a backend.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut key = Self::new();
        key.extend(bytes);
        key
    }

    /// Creates the prefix of all keys of a cache: version, namespace and revision.
    pub(crate) fn first(namespace: &str, revision: &str) -> Self {
        let mut key = Self::new();
        key.push_byte(KEY_VERSION);
        key.push(namespace.as_bytes());
        key.push(revision.as_bytes());
        key
    }

    /// Returns the prefix of all keys of values under the prefix of a cache. What follows it in the key of a response is 0 or 1.
    pub(crate) fn first_for_values(prefix: &[u8]) -> Vec<u8> {
        const VALUE: u8 = 2;
        [prefix, &[VALUE]].concat()
    }

    /// Appends a prefix and one part. It makes a key where it will be used: to return one is to copy it.
    #[inline]
    pub(crate) fn push_under(&mut self, prefix: &[u8], part: &[u8]) {
        self.0.extend(prefix);
        self.0.extend_together(&length(part.len()), part);
    }

    /// Creates an empty key.
    #[inline]
    pub(crate) const fn new() -> Self {
        Self(KeyBuf::Short { bytes: [0; SHORT], length: 0 })
    }

    /// Appends bytes without their length, which must be known from what precedes them.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    #[inline]
    pub(crate) fn push_byte(&mut self, byte: u8) {
        self.0.extend(&[byte]);
    }

    /// Returns this key with the values that select a variant.
    pub(crate) fn variant(&self, values: &[u8]) -> Self {
        let mut key = self.clone();
        key.extend(values);
        key
    }

    /// Appends a part, prefixed with its length.
    pub(crate) fn push(&mut self, part: &[u8]) {
        self.0.extend_together(&length(part.len()), part);
    }

    /// Appends a part that may be absent, which differs from an empty part.
    pub(crate) fn push_option(&mut self, part: Option<&[u8]>) {
        match part {
            Some(part) => self.push(part),
            None => self.0.extend(&u32::MAX.to_le_bytes()),
        }
    }

    /// Appends a list, prefixed with its length.
    pub(crate) fn push_list<'a>(&mut self, parts: impl ExactSizeIterator<Item = &'a str>) {
        self.0.extend(&length(parts.len()));
        parts.for_each(|part| self.push(part.as_bytes()));
    }

    /// Appends a keyed digest of a credential instead of the credential itself.
    pub(crate) fn push_secret(&mut self, secret: &Secret, part: Option<&[u8]>) {
        let digest = part.map(|part| secret.digest(part));
        self.push_option(digest.as_ref().map(<[u8; 16]>::as_slice));
    }

    pub(crate) fn push_scheme(&mut self, uri: &Uri, scheme: Scheme) {
        match scheme {
            Scheme::Http => self.push_byte(0),
            Scheme::Https => self.push_byte(1),
            Scheme::Other => {
                self.push_byte(2);
                self.push_option(uri.scheme_str().map(str::as_bytes));
            }
        }
    }

    /// Appends the authority in lower case, without the scheme's default port; an error if the authority is invalid.
    pub(crate) fn push_authority(&mut self, authority: &[u8], scheme: Scheme) -> Result<(), InvalidHost> {
        let authority = scheme.without_default_port(authority);
        count(authority.len());
        if is_plain(authority) || is_normal(authority) {
            self.push(authority);
        } else {
            self.push(in_lower_case(authority).ok_or(InvalidHost)?.as_bytes());
        }
        Ok(())
    }

    /// Returns this key with another query; `span` is the range of the present one.
    pub(crate) fn with_query(&self, span: &Range<usize>, query: Option<&str>) -> Self {
        let mut key = Self::from_bytes(&self.as_bytes()[..span.start]);
        key.push_option(query.map(str::as_bytes));
        key.0.extend(&self.as_bytes()[span.end..]);
        key
    }

    /// Returns a key for all queries of the path, which is not the key of any request; `span` is the range of the query.
    pub(crate) fn without_query(&self, span: &Range<usize>) -> Self {
        let mut key = Self::from_bytes(&self.as_bytes()[..span.start]);
        key.0.extend(&length(NO_LENGTH));
        key.0.extend(&self.as_bytes()[span.end..]);
        key
    }

    /// Returns the SHA-256 of the key: its name in a shared store, the same on every node.
    pub(crate) fn storage_digest(&self) -> [u8; 32] {
        Sha256::digest(self.as_bytes()).into()
    }

    /// Returns a short digest of the key, valid within this process.
    pub(crate) fn digest(&self) -> u64 {
        static KEY: LazyLock<foldhash::quality::RandomState> = LazyLock::new(Default::default);
        KEY.hash_one(self.as_bytes())
    }
}

/// Encodes a length. Lengths beyond `u32` do not occur: header fields are limited to far less.
fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX - 2).to_le_bytes()
}

/// A length that no part has. The next one marks an absent part.
const NO_LENGTH: usize = u32::MAX as usize - 1;

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.as_bytes().escape_ascii())
    }
}

/// An append-only byte buffer, which allocates only beyond [`SHORT`] bytes.
///
/// It replaces a `SmallVec`, whose append is an insertion, and a call for each part of a key: saves 402 of 6,397 instructions per hit
/// (`scripts/instructions`).
#[derive(Clone)]
enum KeyBuf {
    Short { bytes: [u8; SHORT], length: usize },
    Long(Vec<u8>),
}

/// The size of the inline buffer, in bytes; most keys are shorter.
const SHORT: usize = 192;

impl KeyBuf {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Short { bytes, length } => &bytes[..*length],
            Self::Long(bytes) => bytes,
        }
    }

    #[inline(always)]
    fn extend(&mut self, more: &[u8]) {
        count(more.len());
        match self {
            Self::Short { bytes, length } if more.len() <= SHORT - *length => {
                bytes[*length..][..more.len()].copy_from_slice(more);
                *length += more.len();
            }
            _ => self.extend_long(more),
        }
    }

    #[inline(always)]
    fn extend_together(&mut self, head: &[u8; 4], tail: &[u8]) {
        count(tail.len());
        match self {
            Self::Short { bytes, length } if 4 + tail.len() <= SHORT - *length => {
                let free = &mut bytes[*length..][..4 + tail.len()];
                free[..4].copy_from_slice(head);
                free[4..].copy_from_slice(tail);
                *length += 4 + tail.len();
            }
            _ => {
                self.extend_long(head);
                self.extend_long(tail);
            }
        }
    }

    #[cold]
    fn extend_long(&mut self, more: &[u8]) {
        match self {
            Self::Short { bytes, length } => *self = Self::Long([&bytes[..*length], more].concat()),
            Self::Long(bytes) => bytes.extend_from_slice(more),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::authority::HOST_BYTES;

    proptest! {
        #[test]
        fn every_path_of_push_authority_agrees_with_the_table(authority in proptest::collection::vec(any::<u8>(), 0..40)) {
            let stripped = authority.strip_suffix(b":443").unwrap_or(&authority);
            let each: Vec<u8> = stripped.iter().map(|&byte| HOST_BYTES[usize::from(byte)]).collect();
            let mut key = Key::new();
            let pushed = key.push_authority(&authority, Scheme::Https);
            prop_assert_eq!(pushed.is_ok(), !each.is_empty() && !each.contains(&0));
            prop_assert!(pushed.is_err() || key.as_bytes()[4..] == *each);
            prop_assert!(!is_plain(stripped) || each == stripped);
        }

        #[test]
        fn authority_of_letters_is_in_lower_case(authority in "[a-zA-Z0-9./:_@-]{0,30}") {
            let mut key = Key::new();
            let pushed = key.push_authority(authority.as_bytes(), Scheme::Other);
            let expected = authority.strip_suffix(':').unwrap_or(&authority).to_ascii_lowercase();
            prop_assert_eq!(pushed.is_ok(), !expected.is_empty() && !expected.contains(['/', '@']));
            prop_assert!(pushed.is_err() || key.as_bytes()[4..] == *expected.as_bytes());
        }
    }

    #[test]
    fn storage_digest_is_the_same_in_every_process() {
        // echo -n key | sha256sum
        let digest = Key::from_bytes(b"key").storage_digest();
        let hexadecimal: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hexadecimal, "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683");
    }
}
