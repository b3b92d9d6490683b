//! The map on quick_cache.

use std::{hash::BuildHasher, sync::Arc};

use foldhash::quality::RandomState;
use quick_cache::{
    Lifecycle, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};

use super::{removals::Removals, weight::weight};
use crate::{clock::Timestamp, entry::stored::Stored};

type Entries<S> = Cache<Box<[u8]>, Arc<Stored>, ByBytes, S, Counting>;

/// The map on quick_cache.
#[derive(Clone)]
pub(crate) struct QuickMap<S = RandomState> {
    entries: Arc<Entries<S>>,
    removals: Arc<Removals>,
    largest: u64,
    max_bytes: u64,
}

impl QuickMap {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self::with_hasher(max_bytes, RandomState::default())
    }
}

impl<S: BuildHasher + Clone> QuickMap<S> {
    pub(super) fn with_hasher(max_bytes: u64, hasher: S) -> Self {
        /// The size of a typical entry: the map remembers the hashes of half as many evicted entries as it has room for.
        const TYPICAL: u64 = 4 << 10;
        let options = OptionsBuilder::new()
            .weight_capacity(max_bytes)
            .estimated_items_capacity(usize::try_from(max_bytes / TYPICAL).unwrap_or(usize::MAX))
            .shards(parts(max_bytes))
            .build()
            .expect("both capacities are given");
        let removals = Arc::new(Removals::default());
        let counting = Counting { removals: Arc::clone(&removals), dropping: Dropping::default() };
        let entries = Arc::new(Cache::with_options(options, ByBytes, hasher, counting));
        // The map refuses entries larger than 97 % of a part.
        let part = entries.shard_capacity();
        Self { entries, removals, largest: part - part / 16, max_bytes }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Arc<Stored>> {
        self.entries.get(key)
    }

    pub(super) fn insert(&self, key: &[u8], stored: Arc<Stored>) {
        self.entries.insert(key.into(), stored);
    }

    pub(super) fn remove(&self, key: &[u8]) {
        if self.entries.remove(key).is_some() {
            self.removals.removed.count();
        }
    }

    pub(super) fn has_room_for(&self, key: &[u8], stored: &Stored) -> bool {
        weight(key, stored, RECORD) <= self.largest
    }

    pub(super) fn size(&self) -> (u64, u64) {
        (self.entries.len() as u64, self.entries.weight())
    }

    pub(super) fn remove_expired(&self, now: Timestamp) -> Option<Timestamp> {
        let mut next = None;
        for (key, stored) in self.entries.iter() {
            let expires = stored.expires();
            if now < expires {
                next = Some(next.map_or(expires, |next: Timestamp| next.min(expires)));
            } else if self.entries.remove_if(&key[..], |present| Arc::ptr_eq(present, &stored)).is_some() {
                self.removals.expired.count();
            }
        }
        next
    }

    pub(super) fn removals(&self) -> &Removals {
        &self.removals
    }

    pub(super) fn max_bytes(&self) -> u64 {
        self.max_bytes
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
        weight(key, stored, RECORD)
    }
}

/// What quick_cache keeps of an entry besides key and value: measured by `tests/limits/bounds.rs`.
const RECORD: usize = 120;

/// Drops what an insertion removes when no lock is held any more.
type Dropping = DefaultLifecycle<Box<[u8]>, Arc<Stored>>;

/// Counts what leaves the map.
#[derive(Clone)]
struct Counting {
    removals: Arc<Removals>,
    dropping: Dropping,
}

/// What one insertion has removed so far.
#[derive(Default)]
struct Removed {
    /// Whether the next entry is evicted, not replaced.
    is_eviction: bool,
    dropped: <Dropping as Lifecycle<Box<[u8]>, Arc<Stored>>>::RequestState,
}

impl Lifecycle<Box<[u8]>, Arc<Stored>> for Counting {
    type RequestState = Removed;

    fn before_evict(&self, removed: &mut Removed, _key: &Box<[u8]>, _stored: &mut Arc<Stored>) {
        removed.is_eviction = true;
    }

    fn on_evict(&self, removed: &mut Removed, key: Box<[u8]>, stored: Arc<Stored>) {
        match std::mem::take(&mut removed.is_eviction) {
            true => self.removals.evicted.count(),
            false => self.removals.replaced.count(),
        }
        self.dropping.on_evict(&mut removed.dropped, key, stored);
    }
}
