//! How many stored entries carry each tag.
//!
//! The file imports its locks from `super::sync`, so that the model checker can run it unchanged (`tests/model`).

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::PoisonError,
};

use foldhash::fast::RandomState;

use super::sync::{Mutex, MutexGuard};

/// The number of entries for each tag that at least one entry carries. Tags are identified by half of their hashes, which saves 12 bytes a
/// tag; those that share one count as one, so that a count may be too high, never too low.
///
/// An invalidation of a tag that no entry carries need not be remembered for the entries that are stored, so that such
/// invalidations, however many, do not displace the records that are needed.
#[derive(Debug)]
pub(crate) struct TagCounts {
    shards: Box<[Mutex<Counts>]>,
}

/// How many entries carry the tags with this half of a hash.
type Counts = HashMap<u32, u32, RandomState>;

impl TagCounts {
    pub(crate) fn new(shards: usize) -> Self {
        Self { shards: (0..shards).map(|_| Mutex::new(Counts::default())).collect() }
    }

    /// Counts an entry that is about to be stored.
    pub(crate) fn add(&self, tags: impl Iterator<Item = u64>) {
        for tag in tags {
            *self.shard(tag).entry(half(tag)).or_default() += 1;
        }
    }

    /// Uncounts an entry that is no longer stored.
    pub(crate) fn remove(&self, tags: impl Iterator<Item = u64>) {
        for tag in tags {
            if let Entry::Occupied(mut count) = self.shard(tag).entry(half(tag)) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
    }

    /// Returns whether a stored entry carries the tag, or one that is about to be stored.
    pub(crate) fn has(&self, tag: u64) -> bool {
        self.shard(tag).contains_key(&half(tag))
    }

    /// No code under this lock panics, so that a poisoned lock guards consistent data.
    fn shard(&self, tag: u64) -> MutexGuard<'_, Counts> {
        let shard = usize::try_from(tag % self.shards.len() as u64).unwrap_or(0);
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The half of a hash that does not select the shard.
fn half(tag: u64) -> u32 {
    u32::try_from(tag >> 32).unwrap_or_default()
}
