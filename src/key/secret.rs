//! The secret that keys the digests of credentials in cache keys.

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
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
    Shared(Arc<SharedSecret>),
}

/// What is derived from a secret of the application: a key for each use.
pub(crate) struct SharedSecret {
    credentials: Hmac<Sha256>,
    entries: Hmac<Sha256>,
    /// Different for each secret of a process.
    pub(crate) number: u64,
    /// Whether a forged entry was logged.
    reported: AtomicBool,
}

/// The purposes separate the uses of a secret from each other, and from uses outside of larder.
const CREDENTIALS: &[u8] = b"larder: credentials in cache keys";
const ENTRIES: &[u8] = b"larder: entries in shared stores";

impl Secret {
    pub(crate) fn shared(secret: &[u8]) -> Self {
        let derived = |purpose| keyed(&keyed(secret).chain_update(purpose).finalize().into_bytes());
        Self::Shared(Arc::new(SharedSecret {
            credentials: derived(CREDENTIALS),
            entries: derived(ENTRIES),
            number: fastrand::u64(1..),
            reported: AtomicBool::new(false),
        }))
    }

    /// Returns the authentication code for the digest of an encoded entry; `None` without a shared secret.
    pub(crate) fn authentication_code(&self, digest: &[u8; 32]) -> Option<[u8; 32]> {
        match self {
            Self::OfProcess => None,
            Self::Shared(shared) => Some(shared.entries.clone().chain_update(digest).finalize().into_bytes().into()),
        }
    }

    /// Returns whether no forged entry has been reported before, and notes that one is.
    pub(crate) fn is_first_report(&self) -> bool {
        match self {
            Self::OfProcess => false,
            Self::Shared(shared) => !shared.reported.swap(true, Ordering::Relaxed),
        }
    }

    pub(crate) fn digest(&self, value: &[u8]) -> [u8; 16] {
        count(value.len());
        match self {
            Self::OfProcess => digest_of_process(value),
            Self::Shared(shared) => {
                let digest = shared.credentials.clone().chain_update(value).finalize().into_bytes();
                *digest.first_chunk().expect("a SHA-256 has 32 bytes")
            }
        }
    }
}

impl SharedSecret {
    /// Returns whether a holder of the secret made the authentication code; takes the same time for every wrong one.
    pub(crate) fn verifies(&self, digest: &[u8; 32], code: &[u8; 32]) -> bool {
        self.entries.clone().chain_update(digest).verify_slice(code).is_ok()
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

/// Returns a code that is keyed with `secret`.
pub(crate) fn keyed(secret: &[u8]) -> Hmac<Sha256> {
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
