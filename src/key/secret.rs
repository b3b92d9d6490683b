//! The secret that keys the digests of credentials in cache keys.

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, LazyLock},
};

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::http::field::scan::count;

/// Keys the digests that replace credentials in cache keys: credentials select entries, and must not be readable in a store.
#[derive(Clone, Default)]
pub(crate) enum Secret {
    /// A random secret of this process.
    #[default]
    OfProcess,
    /// A secret of the application, which all nodes share.
    Shared(Arc<Hmac<Sha256>>),
}

/// Separates these digests from any other use of the same secret.
const PURPOSE: &[u8] = b"larder: credentials in cache keys";

impl Secret {
    pub(crate) fn shared(secret: &[u8]) -> Self {
        let derived = keyed(secret).chain_update(PURPOSE).finalize().into_bytes();
        Self::Shared(Arc::new(keyed(&derived)))
    }

    pub(crate) fn digest(&self, value: &[u8]) -> [u8; 16] {
        count(value.len());
        match self {
            Self::OfProcess => digest_of_process(value),
            Self::Shared(keyed) => {
                let digest = Hmac::clone(keyed).chain_update(value).finalize().into_bytes();
                *digest.first_chunk().expect("a SHA-256 has 32 bytes")
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OfProcess => "OfProcess",
            Self::Shared(_) => "Shared(..)",
        })
    }
}

fn keyed(secret: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret).expect("HMAC takes a key of any length")
}

/// Two SipHashes with random keys: many times as fast as HMAC, and as strong while the keys are secret.
fn digest_of_process(value: &[u8]) -> [u8; 16] {
    static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);
    let [high, low] = KEYS.each_ref().map(|key| key.hash_one(value).to_le_bytes());
    let mut digest = [0; 16];
    digest[..8].copy_from_slice(&high);
    digest[8..].copy_from_slice(&low);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_equal_only_for_equal_secrets_and_values() {
        let digest = |secret: &str| Secret::shared(secret.as_bytes()).digest(b"alice");
        assert_eq!(digest("one"), digest("one"));
        assert_ne!(digest("one"), digest("two"));
        assert_ne!(digest("one"), Secret::default().digest(b"alice"));
        assert_ne!(digest("one"), Secret::shared(b"one").digest(b"alicf"));
    }

    /// Nodes of two versions share entries only while this digest stays the same. Computed with Python's `hmac`.
    #[test]
    fn digest_is_the_same_in_every_process() {
        let digest = Secret::shared(b"correct horse battery staple").digest(b"Bearer abc");
        assert_eq!(digest, u128::to_be_bytes(0xe4747089_631ff417_e1e05745_8ac7b2a9));
    }
}
