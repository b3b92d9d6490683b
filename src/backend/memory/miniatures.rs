//! Small copies of the memory store that show how many lookups a smaller or larger one would answer.
//!
//! Miniature simulation (Waldspurger et al., USENIX ATC 2017): of all keys, one in 64 is simulated, in maps with a 64th of the bytes; of stores
//! larger than 64 MiB, fewer, so that the miniature of the same size has 1 MiB.
//! A map keeps ghosts: entries without their content, with the weight of the real one. The same engine decides which of them stay.
//!
//! What is counted is whether a lookup finds its entry, fresh or not. A response that replaces a present one, a dead one or an expired one
//! was not missing for want of memory: it is stored in the miniatures, and counts for nothing.

use std::{
    hash::BuildHasher as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use foldhash::fast::FixedState;
use thread_local::ThreadLocal;

use super::map::EntryMap;
use crate::{
    backend::memory_curve::MemoryCurve,
    clock::Timestamp,
    counting::{countdown::Countdown, own_count::OwnCount},
    entry::stored::Stored,
    key::Key,
};

/// Of so many keys one is simulated, at least and at most.
const RATES: (u64, u64) = (64, 4096);

/// The size of the miniature of a large store, in bytes.
const ENOUGH: u64 = 1 << 20;

/// The sizes of the miniatures in halves of the real size.
const HALVES: [u64; 4] = [1, 2, 4, 8];

/// The key of a ghost: a hash, so that it takes 8 bytes.
type GhostKey = [u8; 8];

/// The simulated stores, and what they have counted.
#[derive(Debug)]
pub(super) struct Miniatures {
    maps: [EntryMap; HALVES.len()],
    /// Of so many keys one is simulated: a power of two.
    rate: u64,
    /// Sampled lookups that each map has answered, besides the repeated ones.
    hits: [AtomicU64; HALVES.len()],
    /// Sampled lookups that the real store has answered, besides the repeated ones, and those that it has not.
    real_hits: AtomicU64,
    real_misses: AtomicU64,
    /// All responses that were stored.
    insertions: AtomicU64,
    /// The ghost of the latest sampled lookup.
    latest: AtomicU64,
    /// All lookups that the real store has answered, estimated: one in so many is counted for all.
    all_hits: AtomicU64,
    threads: ThreadLocal<OwnCounters>,
}

/// What one thread counts: plain stores to a line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct OwnCounters {
    /// Sampled lookups of the same key as the sampled lookup before, which every map answers.
    repeated: OwnCount,
}

/// Why a response is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Present {
    /// There was no entry: it had been evicted, or there never was one.
    Nothing,
    /// There is an entry, alive or dead.
    Entry,
}

impl Miniatures {
    /// Creates the miniatures of a store with this map.
    pub(super) fn of(real: &EntryMap) -> Arc<Self> {
        let rate = (real.max_bytes() / ENOUGH).clamp(RATES.0, RATES.1).next_power_of_two();
        let maps = HALVES.map(|halves| real.smaller((real.max_bytes() / 2 / rate).saturating_mul(halves)));
        let (hits, real_hits, real_misses, insertions, latest, all_hits, threads) = Default::default();
        Arc::new(Self { maps, rate, hits, real_hits, real_misses, insertions, latest, all_hits, threads })
    }

    /// Returns the ghost's key if the key is sampled.
    pub(super) fn sampled(&self, key: &[u8]) -> Option<GhostKey> {
        let hash = FixedState::default().hash_one(key);
        (hash & (self.rate - 1) == 0).then(|| hash.to_le_bytes())
    }

    /// Counts a lookup that the real store has answered with `stored`. Costs a countdown of this thread, unless the key is sampled.
    #[inline]
    pub(super) fn answered(&self, key: &Key, stored: &Stored) {
        thread_local! {
            /// Of this thread, for all stores.
            static COUNTDOWN: Countdown = Countdown::default();
        }
        if COUNTDOWN.with(|countdown| countdown.is_sampled(COUNTED)) {
            self.all_hits.fetch_add(COUNTED, Ordering::Relaxed);
        }
        if stored.is_sampled() {
            self.simulate(key.as_bytes(), stored);
        }
    }

    #[cold]
    fn simulate(&self, key: &[u8], stored: &Stored) {
        let Some(ghost_key) = self.sampled(key) else { return };
        let hash = u64::from_le_bytes(ghost_key);
        if self.latest.load(Ordering::Relaxed) == hash {
            // It is the most recently used entry of each map. So a popular key that is sampled does not cost more than others.
            return self.threads.get_or_default().repeated.add(1);
        }
        self.real_hits.fetch_add(1, Ordering::Relaxed);
        let found: [_; HALVES.len()] = std::array::from_fn(|size| self.maps[size].get(&ghost_key));
        let ghost = found.iter().flatten().next().map_or_else(|| ghost_of(key, stored), Arc::clone);
        for (size, found) in found.iter().enumerate() {
            match found {
                Some(_) => _ = self.hits[size].fetch_add(1, Ordering::Relaxed),
                None => self.insert(size, ghost_key, &ghost),
            }
        }
        self.latest.store(hash, Ordering::Relaxed);
    }

    /// Counts a response that is stored; returns the key of its ghost if its key is sampled.
    pub(super) fn inserted(&self, key: &[u8]) -> Option<GhostKey> {
        self.insertions.fetch_add(1, Ordering::Relaxed);
        self.sampled(key)
    }

    /// Simulates that a response is stored under a sampled key; `is_usable` says of a ghost whether it is neither dead nor expired.
    #[cold]
    pub(super) fn stored(
        &self,
        ghost_key: GhostKey,
        key: &[u8],
        stored: &Stored,
        present: Present,
        is_usable: impl Fn(&Stored) -> bool,
    ) {
        if present == Present::Nothing {
            let found: [_; HALVES.len()] = std::array::from_fn(|size| self.maps[size].get(&ghost_key));
            // With an unusable ghost, more memory would not have made it a hit.
            if found.iter().flatten().all(|ghost| is_usable(ghost)) {
                self.real_misses.fetch_add(1, Ordering::Relaxed);
                for (hits, _) in self.hits.iter().zip(&found).filter(|(_, found)| found.is_some()) {
                    hits.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        let ghost = ghost_of(key, stored);
        (0..HALVES.len()).for_each(|size| self.insert(size, ghost_key, &ghost));
        self.latest.store(u64::from_le_bytes(ghost_key), Ordering::Relaxed);
    }

    /// Simulates that an entry is removed.
    pub(super) fn removed(&self, key: &[u8]) {
        if let Some(ghost_key) = self.sampled(key) {
            self.maps.iter().for_each(|map| map.remove(&ghost_key));
        }
    }

    /// Removes the ghosts of entries that have expired.
    pub(super) fn remove_expired(&self, now: Timestamp) {
        self.maps.iter().for_each(|map| _ = map.remove_expired(now));
    }

    fn insert(&self, size: usize, ghost_key: GhostKey, ghost: &Arc<Stored>) {
        if self.maps[size].has_room_for(&ghost_key, ghost) {
            self.maps[size].insert(&ghost_key, Arc::clone(ghost));
        }
    }

    /// Returns the curve of the store with this map.
    pub(super) fn curve(&self, real: &EntryMap) -> MemoryCurve {
        let repeated: u64 = self.threads.iter().map(|own| own.repeated.get()).sum();
        MemoryCurve {
            limit_bytes: real.max_bytes(),
            rate: self.rate,
            misses: self.insertions.load(Ordering::Relaxed).saturating_sub(real.removals().replaced.get()),
            hits: self.all_hits.load(Ordering::Relaxed),
            sampled_hits: self.real_hits.load(Ordering::Relaxed) + repeated,
            sampled_misses: self.real_misses.load(Ordering::Relaxed),
            simulated_hits: std::array::from_fn(|size| self.hits[size].load(Ordering::Relaxed) + repeated),
        }
    }
}

/// One of so many lookups is counted, on average: a count of each would cost more than all the rest.
const COUNTED: u64 = 64;

/// Returns an entry without content that weighs what the real one does with its key.
fn ghost_of(key: &[u8], stored: &Stored) -> Arc<Stored> {
    Arc::new(stored.ghost((stored.weight() + key.len()).saturating_sub(size_of::<GhostKey>())))
}
