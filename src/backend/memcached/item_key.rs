//! The keys of larder's items on the servers.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use sha2::{Digest as _, Sha256};

/// The key of an item: at most 250 bytes of printable ASCII without spaces, for any input.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ItemKey {
    text: [u8; MAX_PREFIX + DIGEST],
    length: u8,
    hash: u64,
}

/// The item keys with one prefix.
///
/// Each key begins with the key prefix if that is printable and short. Its digest always includes the key prefix, so that two
/// key prefixes never share a key.
pub(crate) struct ItemKeys {
    key_prefix: Box<str>,
    digests: [Sha256; KINDS],
}

/// The purpose of an item.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Clock,
    Tag,
    Entry,
    FetchLock,
}

const KINDS: usize = 4;

/// The maximum length of the text before the digest.
const MAX_PREFIX: usize = 64;

/// The length of the digest: 24 bytes in base64.
const DIGEST: usize = 32;

impl ItemKeys {
    pub(crate) fn new(key_prefix: &str) -> Self {
        let digests = [Kind::Clock, Kind::Tag, Kind::Entry, Kind::FetchLock].map(|kind| {
            let length = u64::try_from(key_prefix.len()).unwrap_or(u64::MAX).to_le_bytes();
            Sha256::new().chain_update(length).chain_update(key_prefix).chain_update([kind.letter()])
        });
        let is_printable = key_prefix.len() <= MAX_PREFIX - ":t:".len() && key_prefix.bytes().all(|byte| byte.is_ascii_graphic());
        Self { key_prefix: if is_printable { key_prefix.into() } else { "".into() }, digests }
    }

    /// Returns the key of the clock.
    pub(crate) fn clock(&self) -> ItemKey {
        self.key(Kind::Clock, b"")
    }

    /// Returns the key of a tag's record.
    pub(crate) fn tag(&self, tag: &str) -> ItemKey {
        self.key(Kind::Tag, tag.as_bytes())
    }

    /// Returns the key of the entry for a cache key.
    pub(crate) fn entry(&self, key: &[u8]) -> ItemKey {
        self.key(Kind::Entry, key)
    }

    /// Returns the key of the fetch lock for a cache key.
    pub(crate) fn fetch_lock(&self, key: &[u8]) -> ItemKey {
        self.key(Kind::FetchLock, key)
    }

    fn key(&self, kind: Kind, of: &[u8]) -> ItemKey {
        let digest: [u8; 32] = self.digests[kind as usize].clone().chain_update(of).finalize().into();
        let mut text = [0; MAX_PREFIX + DIGEST];
        let key_prefix = self.key_prefix.len();
        text[..key_prefix].copy_from_slice(self.key_prefix.as_bytes());
        text[key_prefix..][..3].copy_from_slice(&[b':', kind.letter(), b':']);
        let length = key_prefix + 3 + DIGEST;
        base64(&digest[..24], &mut text[key_prefix + 3..length]);
        let length = u8::try_from(length).expect("at most 96");
        let hash = u64::from_le_bytes(digest[24..].try_into().expect("the last 8 of 32 bytes"));
        ItemKey { text, length, hash }
    }
}

impl fmt::Debug for ItemKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ItemKeys").field(&self.key_prefix).finish()
    }
}

impl Kind {
    const fn letter(self) -> u8 {
        match self {
            Self::Clock => b'c',
            Self::Tag => b't',
            Self::Entry => b'e',
            Self::FetchLock => b'l',
        }
    }
}

impl ItemKey {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.length)]
    }

    /// Selects the server of the item, and marks the item's value as its own.
    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }
}

impl Hash for ItemKey {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.hash);
    }
}

impl fmt::Debug for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

/// Encodes a multiple of three bytes as of RFC 4648 §5, without padding.
fn base64(bytes: &[u8], into: &mut [u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (three, four) in bytes.chunks_exact(3).zip(into.chunks_exact_mut(4)) {
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for (position, letter) in four.iter_mut().enumerate() {
            *letter = ALPHABET[(bits >> (18 - 6 * position)) as usize & 63];
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn base64_follows_the_rfc() {
        let mut letters = [0; 8];
        base64(b"\x14\xfb\x9c\x03\xd9\x7e", &mut letters);
        assert_eq!(&letters, b"FPucA9l-");
    }

    #[test]
    fn a_printable_key_prefix_begins_each_key() {
        let key = format!("{:?}", ItemKeys::new("shop").tag("posts"));
        assert!(key.starts_with("shop:t:"), "{key}");
        assert_eq!(key.len(), "shop:t:".len() + 32);
    }

    #[test]
    fn keys_are_safe_and_differ_for_hostile_names() {
        let hostile = ["", "a", "a b", "a\r\nflush_all\r\n", "*", "ä\0", &"long".repeat(200), &"x".repeat(61), &"x".repeat(62)];
        let mut seen = HashSet::new();
        for key_prefix in hostile {
            let keys = ItemKeys::new(key_prefix);
            for of in hostile {
                for key in [keys.tag(of), keys.entry(of.as_bytes())] {
                    assert!(key.as_bytes().len() <= 250);
                    assert!(key.as_bytes().iter().all(u8::is_ascii_graphic), "{key:?}");
                    assert!(seen.insert(key.as_bytes().to_vec()), "{key:?} is the key of two items");
                }
            }
            assert!(seen.insert(keys.clock().as_bytes().to_vec()));
        }
    }
}
