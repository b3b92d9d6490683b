//! Cache keys (RFC 9111 §2), in an encoding without ambiguity.

pub(crate) mod normalizers;
pub(crate) mod query;
pub(crate) mod rules;
pub(crate) mod secret;

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

/// The version of the encoding of keys, in front of each of them.
pub(crate) const KEY_VERSION: u8 = 1;

/// A cache key (RFC 9111 §2): every part of a request that selects a stored response, in an encoding without
/// ambiguity.
///
/// Each part stands with its length in front of it, so two different requests never have the same bytes; stores
/// compare all of them.
#[derive(Clone)]
pub struct Key(KeyBuf);

impl Key {
    /// The key's bytes: opaque, of any length, the same for the same request.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// A key of any bytes, to try a backend with.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut key = Self::new();
        key.extend(bytes);
        key
    }

    /// The beginning of all keys of a cache: version, namespace and revision.
    pub(crate) fn first(namespace: &str, revision: &str) -> Self {
        let mut key = Self::new();
        key.push_byte(KEY_VERSION);
        key.push(namespace.as_bytes());
        key.push(revision.as_bytes());
        key
    }

    /// Without a part so far.
    #[inline]
    pub(crate) const fn new() -> Self {
        Self(KeyBuf::Short { bytes: [0; SHORT], length: 0 })
    }

    /// Bytes as they are, which need no length: what all keys of a cache begin with.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    #[inline]
    pub(crate) fn push_byte(&mut self, byte: u8) {
        self.0.extend(&[byte]);
    }

    pub(crate) fn push(&mut self, part: &[u8]) {
        self.0.extend_together(&length(part.len()), part);
    }

    /// A part that may be absent, which is not the same as empty.
    pub(crate) fn push_option(&mut self, part: Option<&[u8]>) {
        match part {
            Some(part) => self.push(part),
            None => self.0.extend(&u32::MAX.to_le_bytes()),
        }
    }

    /// Appends a list, with its length in front.
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

    /// The authority in lower case, without the scheme's default port; `Err` if it is not a host at all.
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

    /// This key with another query, which stands at `span`.
    pub(crate) fn with_query(&self, span: &Range<usize>, query: Option<&str>) -> Self {
        let mut key = Self::from_bytes(&self.as_bytes()[..span.start]);
        key.push_option(query.map(str::as_bytes));
        key.0.extend(&self.as_bytes()[span.end..]);
        key
    }

    /// The key of a path whatever the query: no request has it.
    pub(crate) fn without_query(&self, span: &Range<usize>) -> Self {
        let mut key = Self::from_bytes(&self.as_bytes()[..span.start]);
        key.0.extend(&length(NO_LENGTH));
        key.0.extend(&self.as_bytes()[span.end..]);
        key
    }

    /// The name of what is stored under this key, on every node: its SHA-256.
    pub(crate) fn storage_digest(&self) -> [u8; 32] {
        Sha256::digest(self.as_bytes()).into()
    }

    /// A short name for this key within this process.
    pub(crate) fn digest(&self) -> u64 {
        static KEY: LazyLock<foldhash::quality::RandomState> = LazyLock::new(Default::default);
        KEY.hash_one(self.as_bytes())
    }
}

/// Lengths beyond `u32` do not occur: header fields are bounded far below.
fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX - 2).to_le_bytes()
}

/// A length that no part has, next to that of an absent one.
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

/// Bytes that grow at their end only, and allocate nothing while they are few.
///
/// A `SmallVec` would do too, but its appending is an insertion, a call for every part of a key.
#[derive(Clone)]
enum KeyBuf {
    Short { bytes: [u8; SHORT], length: usize },
    Long(Vec<u8>),
}

/// Most keys are shorter.
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
        fn an_authority_is_read_letter_by_letter_however_it_is_read(authority in proptest::collection::vec(any::<u8>(), 0..40)) {
            let stripped = authority.strip_suffix(b":443").unwrap_or(&authority);
            let each: Vec<u8> = stripped.iter().map(|&byte| HOST_BYTES[usize::from(byte)]).collect();
            let mut key = Key::new();
            let pushed = key.push_authority(&authority, Scheme::Https);
            prop_assert_eq!(pushed.is_ok(), !each.is_empty() && !each.contains(&0));
            prop_assert!(pushed.is_err() || key.as_bytes()[4..] == *each);
            prop_assert!(!is_plain(stripped) || each == stripped);
        }

        #[test]
        fn an_authority_of_letters_is_in_lower_case(authority in "[a-zA-Z0-9./:_@-]{0,30}") {
            let mut key = Key::new();
            let pushed = key.push_authority(authority.as_bytes(), Scheme::Other);
            let expected = authority.strip_suffix(':').unwrap_or(&authority).to_ascii_lowercase();
            prop_assert_eq!(pushed.is_ok(), !expected.is_empty() && !expected.contains(['/', '@']));
            prop_assert!(pushed.is_err() || key.as_bytes()[4..] == *expected.as_bytes());
        }
    }

    #[test]
    fn the_name_in_a_store_is_the_same_in_every_process() {
        // echo -n key | sha256sum
        let digest = Key::from_bytes(b"key").storage_digest();
        let hexadecimal: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hexadecimal, "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683");
    }
}
