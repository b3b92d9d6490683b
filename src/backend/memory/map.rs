//! The bounded map under the memory store.

use std::{hash::BuildHasher, sync::Arc};

use quick_cache::{
    OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};

use crate::entry::stored::Stored;

/// The map under the memory store: bounded in bytes, with lookup by a borrowed key.
///
/// This is the only file that names quick_cache, so that another map can be tried by replacing it.
pub(crate) struct EntryMap<S> {
    entries: Cache<Box<[u8]>, Arc<Stored>, ByBytes, S>,
    largest: u64,
}

impl<S: BuildHasher + Clone> EntryMap<S> {
    pub(super) fn new(max_bytes: u64, hasher: S) -> Self {
        /// The size of a typical entry: the map remembers the hashes of half as many evicted entries as it has room for.
        const TYPICAL: u64 = 4 << 10;
        let parts = parts(max_bytes);
        let options = OptionsBuilder::new()
            .weight_capacity(max_bytes)
            .estimated_items_capacity(usize::try_from(max_bytes / TYPICAL).unwrap_or(usize::MAX))
            .shards(parts)
            .build()
            .expect("both capacities are given");
        let entries = Cache::with_options(options, ByBytes, hasher, DefaultLifecycle::default());
        // The map refuses entries larger than 97 % of a part.
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

    /// Returns whether an entry of this size can be stored at all.
    pub(super) fn has_room_for(&self, key: &[u8], stored: &Stored) -> bool {
        weight(key, stored) <= self.largest
    }

    /// Returns the number of entries and their size in bytes.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.entries.len() as u64, self.entries.weight())
    }
}

/// Returns the number of parts, each with its own lock: a power of two. Fewer parts allow larger entries.
fn parts(max_bytes: u64) -> usize {
    const SMALLEST: u64 = 16 << 20;
    const MAX_PARTS: u64 = 32;
    1 << (max_bytes / SMALLEST).clamp(1, MAX_PARTS).ilog2()
}

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<Box<[u8]>, Arc<Stored>> for ByBytes {
    fn weight(&self, key: &Box<[u8]>, stored: &Arc<Stored>) -> u64 {
        weight(key, stored)
    }
}

/// Returns the size of an entry in bytes, including the map's bookkeeping.
fn weight(key: &[u8], stored: &Stored) -> u64 {
    const RECORD: usize = 120;
    (key.len() + stored.weight() + RECORD) as u64
}
