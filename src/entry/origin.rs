//! The origin of an entry, which decides whether it is authentic.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::key::secret::Secret;

/// Where an entry comes from.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// This process made it. If it is encoded, it is sealed with the secret.
    Own(Secret),
    /// It was decoded, and has no seal.
    Unsealed,
    /// It was decoded, and has a seal.
    Sealed(Arc<Seal>),
}

/// The authentication code of a decoded entry, and what it authenticates.
#[derive(Debug)]
pub(crate) struct Seal {
    /// The SHA-256 of the encoded entry, which contains the key.
    digest: [u8; 32],
    code: [u8; 32],
    /// The number of the secret by which the code was found right.
    verified_by: AtomicU64,
}

impl Seal {
    pub(crate) fn new(digest: [u8; 32], code: [u8; 32]) -> Self {
        Self { digest, code, verified_by: AtomicU64::new(0) }
    }
}

impl Origin {
    /// Returns whether the entry was made by a holder of `secret`; always if that is no shared secret.
    pub(crate) fn is_authentic(&self, secret: &Secret) -> bool {
        match (self, secret) {
            (Self::Own(_), _) | (_, Secret::OfProcess) => true,
            (Self::Unsealed, Secret::Shared(_)) => false,
            (Self::Sealed(seal), Secret::Shared(shared)) => {
                // A copy in memory is verified once.
                if seal.verified_by.load(Ordering::Relaxed) == shared.number {
                    return true;
                }
                let is_authentic = shared.verifies(&seal.digest, &seal.code);
                if is_authentic {
                    seal.verified_by.store(shared.number, Ordering::Relaxed);
                }
                is_authentic
            }
        }
    }
}
