//! What this node knows to be usable, so that it need not ask again while nothing is invalidated.
//!
//! An invalidation advances the clock when it has changed the records, before it returns. So an entry that was judged by
//! records read *after* the clock stood at some epoch is usable for as long as the clock stands there.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::entry::epoch::Epoch;

/// Entries by the epoch up to which they are usable, in a table of fixed size in which they drive each other out.
#[derive(Debug)]
pub(crate) struct Notes {
    /// Where the clock was seen last.
    latest: AtomicU64,
    notes: Box<[Note]>,
    hasher: RandomState,
}

/// Two digests, so that nothing is believed that was written half by one and half by another.
#[derive(Debug, Default)]
struct Note {
    /// Of an item's name and an epoch: whether asking is worth it.
    hint: AtomicU64,
    /// Of the entry in it as well: whether that is so.
    proof: AtomicU64,
}

/// Half a mebibyte.
const FIELD_FLAGS: usize = 1 << 15;

impl Notes {
    pub(crate) fn new() -> Self {
        Self {
            latest: Default::default(),
            notes: (0..FIELD_FLAGS).map(|_| Note::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Where the clock was seen last.
    pub(crate) fn latest(&self) -> Epoch {
        let latest = self.latest.load(Ordering::Relaxed);
        Epoch::of(latest >> 32, latest & u64::from(u32::MAX))
    }

    /// In one piece, as the servers have it: a number beside another one's incarnation could be where the clock is yet to go.
    pub(crate) fn set_latest(&self, clock: Epoch) {
        let clock = clock.incarnation() << 32 | clock.get();
        if clock != self.latest.load(Ordering::Relaxed) {
            self.latest.store(clock, Ordering::Relaxed);
        }
    }

    /// Whether what was under that name was usable at `clock`, as far as one can say without having read it.
    pub(crate) fn expect(&self, name: u64, clock: Epoch) -> bool {
        self.note(name).hint.load(Ordering::Relaxed) == self.hint(name, clock)
    }

    /// Whether the entry with that id is usable at `clock`.
    pub(crate) fn prove(&self, name: u64, id: u64, clock: Epoch) -> bool {
        self.note(name).proof.load(Ordering::Relaxed) == self.proof(name, id, clock)
    }

    /// Notes that the entry was found usable by records that were read when the clock had reached `clock` already.
    pub(crate) fn add(&self, name: u64, id: u64, clock: Epoch) {
        let note = self.note(name);
        note.hint.store(self.hint(name, clock), Ordering::Relaxed);
        note.proof.store(self.proof(name, id, clock), Ordering::Relaxed);
    }

    fn note(&self, name: u64) -> &Note {
        &self.notes[usize::try_from(name % FIELD_FLAGS as u64).expect("less than the length of something in memory")]
    }

    fn hint(&self, name: u64, clock: Epoch) -> u64 {
        self.hasher.hash_one((name, clock))
    }

    fn proof(&self, name: u64, id: u64, clock: Epoch) -> u64 {
        self.hasher.hash_one((name, id, clock))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_says_nothing_about_another_entry_or_epoch() {
        let (notes, clock) = (Notes::new(), Epoch::of(7, 3));
        assert!(!notes.expect(1, clock) && !notes.prove(1, 9, clock));
        notes.add(1, 9, clock);
        assert!(notes.expect(1, clock) && notes.prove(1, 9, clock));
        for other in [Epoch::of(7, 4), Epoch::of(7, 2), Epoch::of(8, 3)] {
            assert!(!notes.expect(1, other) && !notes.prove(1, 9, other));
        }
        assert!(!notes.prove(1, 8, clock) && !notes.prove(2, 9, clock));
        // Names that share a place.
        let rival = 1 + FIELD_FLAGS as u64;
        assert!(!notes.expect(rival, clock) && !notes.prove(rival, 9, clock));
        notes.add(rival, 9, clock);
        assert!(!notes.expect(1, clock) && !notes.prove(1, 9, clock));
    }
}
