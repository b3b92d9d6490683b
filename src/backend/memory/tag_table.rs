//! Which tags were invalidated, and when.
//!
//! The file names its locks and atomics through `super::sync`, so that the model checker runs it as it stands
//! (`tests/model`).

use std::{
    collections::{BTreeSet, HashMap},
    sync::PoisonError,
};

use super::{
    sync::{AtomicU64, Mutex, MutexGuard, Ordering, RwLock, RwLockReadGuard, RwLockWriteGuard},
    validity::{Judgement, Strength},
};
use crate::backend::expiries::Expiries;

/// The logical clock and the latest invalidation of each tag, in bounded memory.
///
/// Tags are known by their hash: two that share one are invalidated together, which costs a miss.
#[derive(Debug)]
pub(crate) struct TagTable {
    /// The latest invalidation that a reader can rely on having been recorded.
    epoch: AtomicU64,
    /// What was born before it is dead.
    floor: AtomicU64,
    shards: Box<[RwLock<HashMap<u64, Mark>>]>,
    /// Held by writers only: their order is the order of epochs.
    records: Mutex<Records>,
    capacity: usize,
}

/// The invalidations of one tag that still matter.
#[derive(Debug, Default)]
struct Mark {
    hard: u64,
    /// Those that came after `hard`, in a box: most tags are never expired.
    expired: Option<Box<Expiries>>,
}

/// Every record, the oldest first.
#[derive(Debug, Default)]
struct Records(BTreeSet<(u64, u64)>);

impl TagTable {
    /// A table for at most `capacity` tags, in `shards` parts that are read independently.
    pub(crate) fn new(capacity: usize, shards: usize) -> Self {
        Self {
            epoch: AtomicU64::new(1),
            floor: AtomicU64::new(0),
            shards: (0..shards).map(|_| RwLock::new(HashMap::new())).collect(),
            records: Mutex::new(Records::default()),
            capacity,
        }
    }

    /// The current epoch: every invalidation up to it is in the table.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Whether something born at `born` with these tags may be used, judged by every invalidation that returned before
    /// this call.
    pub(crate) fn judge(&self, born: u64, tags: impl Iterator<Item = u64>) -> Judgement {
        let by_tags = tags.fold(Judgement::Alive, |judgement, tag| judgement.and(self.judge_by(born, tag)));
        // The floor is read after the tags: a record that was dropped meanwhile has raised it before.
        let floor = self.floor.load(Ordering::Acquire);
        if born < floor { Judgement::Dead } else { by_tags }
    }

    /// Invalidates the tags and returns the epoch of it.
    pub(crate) fn invalidate(&self, tags: &[u64], force: Strength) -> u64 {
        let mut records = lock(&self.records);
        let epoch = self.next_epoch();
        self.record(&mut records, tags, force, epoch);
        // Published last. The other way round, a reader could note "usable at `epoch`" on something whose record is not
        // written yet, and would never look again.
        self.publish(epoch);
        epoch
    }

    /// Invalidates everything and returns the epoch of it.
    pub(crate) fn invalidate_everything(&self) -> u64 {
        let _writer = lock(&self.records);
        let epoch = self.next_epoch();
        self.floor.store(epoch, Ordering::Release);
        self.publish(epoch);
        epoch
    }

    /// How many tags have a record.
    pub(crate) fn len(&self) -> usize {
        lock(&self.records).0.len()
    }

    fn next_epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed) + 1
    }

    fn publish(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Release);
    }

    fn record(&self, records: &mut Records, tags: &[u64], force: Strength, epoch: u64) {
        for &tag in tags {
            let mut shard = write(self.shard(tag));
            let mark = shard.entry(tag).or_default();
            records.0.remove(&(mark.latest(), tag));
            records.0.insert((epoch, tag));
            mark.raise(force, epoch);
        }
        while records.0.len() > self.capacity {
            self.drop_oldest(records);
        }
    }

    /// The floor takes over what the record said, first, so that no reader finds neither.
    fn drop_oldest(&self, records: &mut Records) {
        let Some((_, tag)) = records.0.pop_first() else { return };
        let latest = read(self.shard(tag)).get(&tag).map_or(0, Mark::latest);
        raise(&self.floor, latest);
        write(self.shard(tag)).remove(&tag);
    }

    fn judge_by(&self, born: u64, tag: u64) -> Judgement {
        read(self.shard(tag)).get(&tag).map_or(Judgement::Alive, |mark| mark.judge(born))
    }

    fn shard(&self, tag: u64) -> &RwLock<HashMap<u64, Mark>> {
        &self.shards[usize::try_from(tag % self.shards.len() as u64).unwrap_or(0)]
    }
}

impl Mark {
    fn latest(&self) -> u64 {
        self.expired.as_ref().and_then(|expired| expired.latest()).unwrap_or(self.hard)
    }

    fn judge(&self, born: u64) -> Judgement {
        Judgement::by(born < self.hard, self.expired.as_ref().and_then(|expired| expired.since(born)))
    }

    /// What the earlier expiries say, a later hard invalidation says for good.
    fn raise(&mut self, force: Strength, epoch: u64) {
        match force {
            Strength::Hard => *self = Self { hard: epoch, expired: None },
            Strength::Soft { at } => self.expired.get_or_insert_default().add(epoch, at),
        }
    }
}

/// Only writers call it, and they hold the lock of the records: a plain store is enough.
fn raise(floor: &AtomicU64, to: u64) {
    if floor.load(Ordering::Relaxed) < to {
        floor.store(to, Ordering::Release);
    }
}

// A writer that panicked has at worst recorded without publishing, which makes a reader stricter, never laxer: the locks
// may be taken over.

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
