//! The map on moka.

use std::{
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use foldhash::quality::RandomState;
use moka::{
    notification::RemovalCause,
    sync::{Cache, CacheBuilder},
};

use super::{removals::Removals, weight::weight};
use crate::{clock::Timestamp, entry::stored::Stored};

/// What moka builds a cache of entries from: what `Memory::from_moka` takes.
pub(crate) type MokaBuilder = CacheBuilder<Box<[u8]>, Arc<Stored>, Cache<Box<[u8]>, Arc<Stored>>>;

/// The map on moka.
///
/// moka orders and evicts entries in batches, which a later call carries out.
#[derive(Clone)]
pub(crate) struct MokaMap<S = RandomState> {
    entries: Cache<Box<[u8]>, Arc<Stored>, S>,
    removals: Arc<Removals>,
    /// The bytes that were inserted since moka was last told to evict.
    unsettled: Arc<AtomicU64>,
    max_bytes: u64,
}

impl MokaMap {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self::from_builder(MokaBuilder::new(max_bytes))
    }

    pub(super) fn from_builder(builder: MokaBuilder) -> Self {
        Self::with_hasher(builder, RandomState::default())
    }
}

impl<S: BuildHasher + Clone + Send + Sync + 'static> MokaMap<S> {
    pub(super) fn with_hasher(builder: MokaBuilder, hasher: S) -> Self {
        let removals = Arc::new(Removals::default());
        let counted = Arc::clone(&removals);
        // Not `expire_after`: it costs a hit 290 instructions of moka's 960, an insertion 700, and an entry 40 bytes, and it would measure
        // by moka's clock rather than that of the cache.
        let entries = builder
            .weigher(|key, stored| short_weight(key, stored))
            .eviction_listener(move |_, _, cause| count(&counted, cause))
            .build_with_hasher(hasher);
        let max_bytes =
            entries.policy().max_capacity().expect("the builder of `Memory::from_moka` needs `max_capacity`, in bytes");
        Self { entries, removals, unsettled: Arc::default(), max_bytes }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Arc<Stored>> {
        self.entries.get(key)
    }

    pub(super) fn insert(&self, key: &[u8], stored: Arc<Stored>) {
        let weight = weight(key, &stored, RECORD);
        self.entries.insert(key.into(), stored);
        self.settle(weight);
    }

    /// Evicts what is too much as soon as the bytes that were inserted since are a sixteenth of the limit. By itself, moka waits for 64
    /// insertions or 300 ms, which may be as many bytes as the store has.
    fn settle(&self, inserted: u64) {
        if self.unsettled.fetch_add(inserted, Ordering::Relaxed) + inserted > self.max_bytes / 16 {
            self.unsettled.store(0, Ordering::Relaxed);
            self.entries.run_pending_tasks();
        }
    }

    pub(super) fn remove(&self, key: &[u8]) {
        if self.entries.remove(key).is_some() {
            self.removals.removed.count();
        }
    }

    pub(super) fn has_room_for(&self, key: &[u8], stored: &Stored) -> bool {
        weight(key, stored, RECORD) <= self.max_bytes.min(LARGEST)
    }

    pub(super) fn size(&self) -> (u64, u64) {
        self.entries.run_pending_tasks();
        (self.entries.entry_count(), self.entries.weighted_size())
    }

    pub(super) fn remove_expired(&self, now: Timestamp) -> Option<Timestamp> {
        let mut next = None;
        for (key, stored) in &self.entries {
            let expires = stored.expires();
            if now < expires {
                next = Some(next.map_or(expires, |next: Timestamp| next.min(expires)));
            } else if self.entries.remove(&key[..]).is_some() {
                self.removals.expired.count();
            }
        }
        self.entries.run_pending_tasks();
        next
    }

    pub(super) fn removals(&self) -> &Removals {
        &self.removals
    }

    pub(super) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }
}

fn count(removals: &Removals, cause: RemovalCause) {
    match cause {
        RemovalCause::Size => removals.evicted.count(),
        RemovalCause::Replaced => removals.replaced.count(),
        // By a `time_to_live` or `time_to_idle` of the application.
        RemovalCause::Expired => removals.expired.count(),
        // Counted where it is removed, by the reason for it.
        RemovalCause::Explicit => {}
    }
}

/// What moka keeps of an entry besides key and value: measured by `tests/limits/bounds.rs`.
const RECORD: usize = 300;

/// moka counts weights in 32 bits.
const LARGEST: u64 = u32::MAX as u64;

fn short_weight(key: &[u8], stored: &Stored) -> u32 {
    u32::try_from(weight(key, stored, RECORD)).unwrap_or(u32::MAX)
}
