//! What items are called on the servers.

use sha2::{Digest as _, Sha256};

/// What an item is called: text of at most 250 bytes without spaces or control characters, whatever it was made from.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ItemKey {
    text: [u8; MAX_PREFIX + DIGEST],
    length: u8,
    hash: u64,
}

/// The item keys of one namespace.
///
/// The namespace stands in front where it can be read, and in the digest in any case: two of them never share a name.
pub(crate) struct ItemKeys {
    namespace: Box<str>,
    digests: [Sha256; KINDS],
}

/// What items are for.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Clock,
    Tag,
    Entry,
}

const KINDS: usize = 3;

/// What may stand in front of a digest.
const MAX_PREFIX: usize = 64;

/// A digest's 24 bytes in base64.
const DIGEST: usize = 32;

impl ItemKeys {
    pub(crate) fn new(namespace: &str) -> Self {
        let digests = [Kind::Clock, Kind::Tag, Kind::Entry].map(|kind| {
            let length = u64::try_from(namespace.len()).unwrap_or(u64::MAX).to_le_bytes();
            Sha256::new().chain_update(length).chain_update(namespace).chain_update([kind.letter()])
        });
        let is_readable = namespace.len() <= MAX_PREFIX - ":t:".len() && namespace.bytes().all(|byte| byte.is_ascii_graphic());
        Self { namespace: if is_readable { namespace.into() } else { "".into() }, digests }
    }

    /// The item that is the clock.
    pub(crate) fn clock(&self) -> ItemKey {
        self.name(Kind::Clock, b"")
    }

    /// The item that records a tag's invalidations.
    pub(crate) fn tag(&self, tag: &str) -> ItemKey {
        self.name(Kind::Tag, tag.as_bytes())
    }

    /// The item that holds what is stored under a key.
    pub(crate) fn entry(&self, key: &[u8]) -> ItemKey {
        self.name(Kind::Entry, key)
    }

    fn name(&self, kind: Kind, of: &[u8]) -> ItemKey {
        let digest: [u8; 32] = self.digests[kind as usize].clone().chain_update(of).finalize().into();
        let mut text = [0; MAX_PREFIX + DIGEST];
        let namespace = self.namespace.len();
        text[..namespace].copy_from_slice(self.namespace.as_bytes());
        text[namespace..][..3].copy_from_slice(&[b':', kind.letter(), b':']);
        let length = namespace + 3 + DIGEST;
        base64(&digest[..24], &mut text[namespace + 3..length]);
        let length = u8::try_from(length).expect("at most 96");
        let hash = u64::from_le_bytes(digest[24..].try_into().expect("the last 8 of 32 bytes"));
        ItemKey { text, length, hash }
    }
}

impl std::fmt::Debug for ItemKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ItemKeys").field(&self.namespace).finish()
    }
}

impl Kind {
    const fn letter(self) -> u8 {
        match self {
            Self::Clock => b'c',
            Self::Tag => b't',
            Self::Entry => b'e',
        }
    }
}

impl ItemKey {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.length)]
    }

    /// Decides which server holds the item, and tells its value from those of other items.
    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }
}

impl std::fmt::Debug for ItemKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

/// RFC 4648 §5, of a multiple of three bytes, so that there is nothing to pad.
fn base64(bytes: &[u8], into: &mut [u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (three, four) in bytes.chunks_exact(3).zip(into.chunks_exact_mut(4)) {
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for (place, letter) in four.iter_mut().enumerate() {
            *letter = ALPHABET[(bits >> (18 - 6 * place)) as usize & 63];
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let mut letters = [0; 8];
        base64(b"\x14\xfb\x9c\x03\xd9\x7e", &mut letters);
        assert_eq!(&letters, b"FPucA9l-");
    }

    #[test]
    fn a_readable_namespace_is_read_in_front() {
        let name = format!("{:?}", ItemKeys::new("shop").tag("posts"));
        assert!(name.starts_with("shop:t:"), "{name}");
        assert_eq!(name.len(), "shop:t:".len() + 32);
    }

    #[test]
    fn whatever_they_are_made_from_names_are_safe_and_differ() {
        let hostile = ["", "a", "a b", "a\r\nflush_all\r\n", "*", "ä\0", &"long".repeat(200), &"x".repeat(61), &"x".repeat(62)];
        let mut seen = HashSet::new();
        for namespace in hostile {
            let names = ItemKeys::new(namespace);
            for of in hostile {
                for name in [names.tag(of), names.entry(of.as_bytes())] {
                    assert!(name.as_bytes().len() <= 250);
                    assert!(name.as_bytes().iter().all(u8::is_ascii_graphic), "{name:?}");
                    assert!(seen.insert(name.as_bytes().to_vec()), "{name:?} is the name of two");
                }
            }
            assert!(seen.insert(names.clock().as_bytes().to_vec()));
        }
    }
}
