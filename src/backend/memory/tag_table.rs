//! The invalidations of tags, in memory.
//!
//! The file imports its locks and atomics from `super::sync`, so that the model checker can run it unchanged (`tests/model`).

use std::{
    collections::{BTreeSet, HashMap},
    sync::PoisonError,
};

use super::sync::{AtomicU64, Mutex, MutexGuard, Ordering, RwLock, RwLockReadGuard, RwLockWriteGuard};
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
    shards: Box<[RwLock<HashMap<u64, TagRecord>>]>,
    /// Locked by writers only: the order in which they take the lock is the order of epochs.
    by_age: Mutex<ByAge>,
    capacity: usize,
}

/// The latest epoch and the tag of every record, the oldest first.
#[derive(Debug, Default)]
struct ByAge(BTreeSet<(u64, u64)>);

impl TagTable {
    /// Creates a table for at most `capacity` tags, in `shards` parts that are locked independently.
    pub(crate) fn new(capacity: usize, shards: usize) -> Self {
        Self {
            epoch: AtomicU64::new(1),
            floor: AtomicU64::new(0),
            shards: (0..shards).map(|_| RwLock::new(HashMap::new())).collect(),
            by_age: Mutex::new(ByAge::default()),
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

    /// Returns the number of tags that have a record.
    pub(crate) fn len(&self) -> usize {
        lock(&self.by_age).0.len()
    }

    fn next_epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed) + 1
    }

    fn publish(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Release);
    }

    fn record(&self, by_age: &mut ByAge, tags: &[u64], strength: Strength, epoch: u64) {
        for &tag in tags {
            let mut shard = write(self.shard(tag));
            let record = shard.entry(tag).or_default();
            by_age.0.remove(&(record.latest(), tag));
            by_age.0.insert((epoch, tag));
            record.raise(epoch, strength);
        }
        while by_age.0.len() > self.capacity {
            self.drop_oldest(by_age);
        }
    }

    /// Raises the floor to the record's latest epoch before it removes the record, so that every reader finds one of the two.
    fn drop_oldest(&self, by_age: &mut ByAge) {
        let Some((_, tag)) = by_age.0.pop_first() else { return };
        let latest = read(self.shard(tag)).get(&tag).map_or(0, TagRecord::latest);
        raise(&self.floor, latest);
        write(self.shard(tag)).remove(&tag);
    }

    /// A tag without a record was never invalidated, or not after the floor.
    fn validity_by(&self, born: u64, tag: u64) -> Option<Validity> {
        read(self.shard(tag)).get(&tag).map_or(Some(Validity::Valid), |record| record.validity(born))
    }

    fn shard(&self, tag: u64) -> &RwLock<HashMap<u64, TagRecord>> {
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
