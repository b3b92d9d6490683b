//! The bounded map under the memory store.

use std::{hash::BuildHasher, sync::Arc};

use quick_cache::{
    OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};

use crate::entry::stored::Stored;

/// The map under the memory backend: bounded in bytes, looked up by a borrowed key.
///
/// Everything that larder asks of quick_cache is in this file, so that another engine can be tried by replacing it.
pub(crate) struct EntryMap<S> {
    entries: Cache<Box<[u8]>, Arc<Stored>, ByBytes, S>,
    largest: u64,
}

impl<S: BuildHasher + Clone> EntryMap<S> {
    pub(super) fn new(max_bytes: u64, hasher: S) -> Self {
        /// What an entry takes, roughly: the engine remembers, by their hashes, half as many as it has room for when they are gone.
        const TYPICAL: u64 = 4 << 10;
        let parts = parts(max_bytes);
        let options = OptionsBuilder::new()
            .weight_capacity(max_bytes)
            .estimated_items_capacity(usize::try_from(max_bytes / TYPICAL).unwrap_or(usize::MAX))
            .shards(parts)
            .build()
            .expect("both capacities are given");
        let entries = Cache::with_options(options, ByBytes, hasher, DefaultLifecycle::default());
        // The engine refuses what is larger than 97 % of a part.
        let part = entries.shard_capacity();
        Self { entries, largest: part - part / 16 }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Arc<Stored>> {
        self.entries.get(key)
    }

    pub(super) fn insert(&self, key: &[u8], stored: Arc<Stored>) {
        self.entries.insert(key.into(), stored);
    }

    pub(crate) fn remove(&self, key: &[u8]) {
        self.entries.remove(key);
    }

    /// Whether there is room for such an entry at all.
    pub(super) fn has_room_for(&self, key: &[u8], stored: &Stored) -> bool {
        weight(key, stored) <= self.largest
    }

    /// Entries and bytes.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.entries.len() as u64, self.entries.weight())
    }
}

/// How many parts, each with a lock of its own, a store has: a power of two, and the fewer the larger one entry may be.
fn parts(max_bytes: u64) -> usize {
    const LEAST: u64 = 16 << 20;
    const MOST: u64 = 32;
    1 << (max_bytes / LEAST).clamp(1, MOST).ilog2()
}

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<Box<[u8]>, Arc<Stored>> for ByBytes {
    fn weight(&self, key: &Box<[u8]>, stored: &Arc<Stored>) -> u64 {
        weight(key, stored)
    }
}

/// What an entry takes, the engine's own record of it included.
fn weight(key: &[u8], stored: &Stored) -> u64 {
    const RECORD: usize = 120;
    (key.len() + stored.weight() + RECORD) as u64
}
