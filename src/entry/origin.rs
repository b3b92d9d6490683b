//! The origin of an entry, which decides whether it is authentic.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::key::secret::{Secret, SharedSecret};

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

    /// Returns whether the code is right by this secret. A copy in memory is verified once.
    fn is_right(&self, secret: &SharedSecret) -> bool {
        if self.verified_by.load(Ordering::Relaxed) == secret.number {
            return true;
        }
        let is_right = secret.verifies(&self.digest, &self.code);
        if is_right {
            self.verified_by.store(secret.number, Ordering::Relaxed);
        }
        is_right
    }
}

impl Origin {
    /// Returns whether the entry was made by a holder of `secret`; always if that is no shared secret.
    #[inline]
    pub(crate) fn is_authentic(&self, secret: &Secret) -> bool {
        match (self, secret) {
            (Self::Own(_), _) | (_, Secret::OfProcess) => true,
            (Self::Unsealed, Secret::Shared(_)) => false,
            (Self::Sealed(seal), Secret::Shared(shared)) => seal.is_right(shared),
        }
    }
}
