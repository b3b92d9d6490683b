//! The invalidations of tags, in memory.
//!
//! The file imports its locks and atomics from `super::sync`, so that the model checker can run it unchanged (`tests/model`).

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, PoisonError},
};

use foldhash::fast::RandomState;

use super::{
    sync::{AtomicU64, Mutex, MutexGuard, Ordering, RwLock, RwLockReadGuard, RwLockWriteGuard},
    tag_counts::TagCounts,
};
use crate::backend::{
    tag_record::TagRecord,
    validity::{Strength, Validity, worst},
};

/// The logical clock and the record of each invalidated tag, in bounded memory.
///
/// Tags are identified by their hashes: two that share one are invalidated together, which costs a miss.
#[derive(Debug)]
pub(crate) struct TagTable {
    /// The latest invalidation that a reader can rely on having been recorded.
    epoch: AtomicU64,
    /// Entries that were born before it are dead.
    floor: AtomicU64,
    /// Entries that were born before it and are not stored yet are dead, too.
    fetch_floor: AtomicU64,
    /// The tags of stored entries.
    counts: Arc<TagCounts>,
    shards: Box<[RwLock<Records>]>,
    /// Locked by writers only: the order in which they take the lock is the order of epochs.
    by_age: Mutex<Ages>,
    pub(super) capacity: usize,
}

/// The record of each invalidated tag.
type Records = HashMap<u64, TagRecord, RandomState>;

/// The records by age. Those of tags that no stored entry carries concern only entries that are being fetched.
#[derive(Debug, Default)]
struct Ages {
    of_stored: ByAge,
    of_fetched: ByAge,
}

/// The latest epoch and the tag of every record, the oldest first.
#[derive(Debug, Default)]
struct ByAge(BTreeSet<(u64, u64)>);

impl TagTable {
    /// Creates a table for at most `capacity` tags of stored entries and as many others, in `shards` parts that are locked
    /// independently.
    pub(crate) fn new(capacity: usize, shards: usize, counts: Arc<TagCounts>) -> Self {
        Self {
            epoch: AtomicU64::new(1),
            floor: AtomicU64::new(0),
            fetch_floor: AtomicU64::new(0),
            counts,
            shards: (0..shards).map(|_| RwLock::new(Records::default())).collect(),
            by_age: Mutex::new(Ages::default()),
            capacity,
        }
    }

    /// Returns the current epoch: every invalidation up to it is in the table.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Returns the validity of an entry that was born at `born` with these tags, taking into account every invalidation that returned
    /// before this call; `None` if it is dead.
    pub(crate) fn validity(&self, born: u64, tags: impl Iterator<Item = u64>) -> Option<Validity> {
        let by_tags = worst(tags.map(|tag| self.validity_by(born, tag)));
        // The floor is read after the tags: dropping a record raises the floor first.
        let floor = self.floor.load(Ordering::Acquire);
        by_tags.filter(|_| floor <= born)
    }

    /// Returns the validity of an entry that is not stored yet.
    pub(crate) fn validity_of_fetched(&self, born: u64, tags: impl Iterator<Item = u64>) -> Option<Validity> {
        let validity = self.validity(born, tags);
        // Read after the tags, as the other floor is.
        let floor = self.fetch_floor.load(Ordering::Acquire);
        validity.filter(|_| floor <= born)
    }

    /// Returns the same for an entry that is about to be stored, whose tags have been counted.
    pub(crate) fn validity_to_store(&self, born: u64, tags: impl Iterator<Item = u64> + Clone) -> Option<Validity> {
        // An invalidation writes its record before it reads the counts, so that a record is found here, or the count is found there.
        if tags.clone().any(|tag| read(self.shard(tag)).contains_key(&tag)) {
            self.keep_records(tags.clone());
            return self.validity_of_fetched(born, tags);
        }
        let floor = self.floor.load(Ordering::Acquire).max(self.fetch_floor.load(Ordering::Acquire));
        (floor <= born).then_some(Validity::Valid)
    }

    /// Returns whether no record was dropped since `epoch` that an entry which is being fetched might need.
    pub(crate) fn remembers_since(&self, epoch: u64) -> bool {
        self.fetch_floor.load(Ordering::Acquire) <= epoch
    }

    /// Keeps the records of tags that a stored entry now carries as long as those of other stored entries.
    pub(crate) fn keep_records(&self, tags: impl Iterator<Item = u64>) {
        for tag in tags {
            if !read(self.shard(tag)).contains_key(&tag) {
                continue;
            }
            let mut by_age = lock(&self.by_age);
            let latest = read(self.shard(tag)).get(&tag).map(TagRecord::latest);
            if let Some(latest) = latest
                && by_age.of_fetched.0.remove(&(latest, tag))
            {
                by_age.of_stored.0.insert((latest, tag));
                self.drop_oldest(&mut by_age);
            }
        }
    }

    /// Invalidates the tags, and returns the epoch of the invalidation.
    pub(crate) fn invalidate(&self, tags: &[u64], strength: Strength) -> u64 {
        let mut by_age = lock(&self.by_age);
        let epoch = self.next_epoch();
        self.record(&mut by_age, tags, strength, epoch);
        // Published last. Otherwise a reader could mark an entry as validated at `epoch` before the record is written, and would
        // never check it again.
        self.publish(epoch);
        epoch
    }

    /// Invalidates everything, and returns the epoch of the invalidation.
    pub(crate) fn invalidate_everything(&self) -> u64 {
        let _writer = lock(&self.by_age);
        let epoch = self.next_epoch();
        self.floor.store(epoch, Ordering::Release);
        self.publish(epoch);
        epoch
    }

    /// Returns whether a further tag would replace the oldest record.
    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.capacity
    }

    /// Returns the number of tags that have a record.
    pub(crate) fn len(&self) -> usize {
        let by_age = lock(&self.by_age);
        by_age.of_stored.0.len() + by_age.of_fetched.0.len()
    }

    fn next_epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed) + 1
    }

    fn publish(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Release);
    }

    fn record(&self, by_age: &mut Ages, tags: &[u64], strength: Strength, epoch: u64) {
        for &tag in tags {
            let mut shard = write(self.shard(tag));
            let record = shard.entry(tag).or_default();
            let before = (record.latest(), tag);
            record.raise(epoch, strength);
            drop(shard);
            by_age.of_stored.0.remove(&before);
            by_age.of_fetched.0.remove(&before);
            // Read after the record is written: see `validity_of_fetched`.
            let list = if self.counts.has(tag) { &mut by_age.of_stored } else { &mut by_age.of_fetched };
            list.0.insert((epoch, tag));
        }
        self.drop_oldest(by_age);
    }

    /// Drops the oldest records beyond the capacity. Raises the floor to a record's latest epoch before it removes the record, so that
    /// every reader finds one of the two.
    fn drop_oldest(&self, by_age: &mut Ages) {
        for (list, floor) in [(&mut by_age.of_stored, &self.floor), (&mut by_age.of_fetched, &self.fetch_floor)] {
            while list.0.len() > self.capacity {
                let Some((_, tag)) = list.0.pop_first() else { break };
                let latest = read(self.shard(tag)).get(&tag).map_or(0, TagRecord::latest);
                raise(floor, latest);
                write(self.shard(tag)).remove(&tag);
            }
        }
    }

    /// A tag without a record was never invalidated, or not after the floor.
    fn validity_by(&self, born: u64, tag: u64) -> Option<Validity> {
        read(self.shard(tag)).get(&tag).map_or(Some(Validity::Valid), |record| record.validity(born))
    }

    fn shard(&self, tag: u64) -> &RwLock<Records> {
        &self.shards[usize::try_from(tag % self.shards.len() as u64).unwrap_or(0)]
    }
}

/// Called only by writers, which hold the lock: a plain store is enough.
fn raise(floor: &AtomicU64, to: u64) {
    if floor.load(Ordering::Relaxed) < to {
        floor.store(to, Ordering::Release);
    }
}

// A writer that panicked has at worst recorded an invalidation without publishing its epoch, which makes readers stricter, never
// laxer. So a poisoned lock can be used.

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
