//! The recent validations of entries by this node.

use std::{
    hash::BuildHasher as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use foldhash::fast::RandomState;

use crate::{entry::epoch::Epoch, tag::Tag};

/// Remembers, for entries that this node read recently, their tags and the epoch at which they were validated.
///
/// The tags save a round trip: their records are read together with the entry. The validation saves even the records: while the
/// epoch is the same, nothing has been invalidated. Entries whose digests share a prefix replace each other.
#[derive(Debug)]
pub(super) struct Memo {
    places: Box<[Mutex<Option<Note>>]>,
    /// A hash of the latest epoch that this node observed. It is only a hint.
    latest: AtomicU64,
    hasher: RandomState,
}

#[derive(Debug, Clone)]
pub(super) struct Note {
    digest: [u8; 32],
    pub(super) tags: Arc<[Tag]>,
    proof: Option<Proof>,
}

/// Records that an entry was valid at an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Proof {
    /// The id of the write that stored the entry.
    pub(super) id: u64,
    /// The epoch at which the entry was valid.
    pub(super) at: Epoch,
}

/// The number of slots: about 2 MiB with five tags each.
const PLACES: usize = 8192;

impl Default for Memo {
    fn default() -> Self {
        Self {
            places: (0..PLACES).map(|_| Mutex::default()).collect(),
            latest: AtomicU64::new(0),
            hasher: RandomState::default(),
        }
    }
}

impl Memo {
    pub(super) fn note(&self, digest: &[u8; 32]) -> Option<Note> {
        self.place(digest).as_ref().filter(|note| note.digest == *digest).cloned()
    }

    pub(super) fn remember(&self, digest: &[u8; 32], tags: &[Tag], proof: Option<Proof>) {
        let note = Note { digest: *digest, tags: tags.into(), proof };
        *self.place(digest) = Some(note);
    }

    /// Records an observed epoch. Two observations may be recorded out of order, which costs a round trip.
    pub(super) fn saw(&self, epoch: Epoch) {
        let seen = self.hasher.hash_one(epoch);
        // Most of the time there is nothing to write.
        if self.latest.load(Ordering::Relaxed) != seen {
            self.latest.store(seen, Ordering::Relaxed);
        }
    }

    /// Returns whether an entry was validated at the latest epoch that this node observed, and so is most likely still valid.
    pub(super) fn may_hold(&self, note: &Note) -> bool {
        note.proof.is_some_and(|proof| self.hasher.hash_one(proof.at) == self.latest.load(Ordering::Relaxed))
    }

    fn place(&self, digest: &[u8; 32]) -> MutexGuard<'_, Option<Note>> {
        let number = usize::from(u16::from_le_bytes([digest[0], digest[1]]));
        self.places[number % self.places.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Note {
    pub(super) fn proves(&self, proof: Proof) -> bool {
        self.proof == Some(proof)
    }
}
