//! Who fetches and who waits: one fetch per key, and everybody else is told how it ended.
//!
//! The file names its locks and atomics through `super::sync`, so that the model checker runs it as it stands
//! (`tests/model`).

use std::{
    collections::HashMap,
    future::Future,
    hash::BuildHasher,
    mem,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
};

use foldhash::quality::RandomState;

use crate::sync::{AtomicUsize, Mutex, MutexGuard, Ordering};

/// The fetches that are under way.
#[derive(Debug)]
pub(crate) struct Flights {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    /// Of all flights together.
    waiting: AtomicUsize,
    limits: WaiterLimits,
}

type Shard = HashMap<Arc<[u8]>, Arc<Flight>, RandomState>;

/// How many may wait, for one key and for all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WaiterLimits {
    pub(crate) per_key: usize,
    pub(crate) total: usize,
}

impl Default for WaiterLimits {
    fn default() -> Self {
        Self { per_key: 10_000, total: 100_000 }
    }
}

/// One fetch, and those who wait for it.
#[derive(Debug)]
struct Flight {
    /// Read before its handler was called: what it brings is of that time.
    epoch: u64,
    waiters: Mutex<Waiters>,
}

#[derive(Debug, Default)]
struct Waiters {
    landing: Option<FetchOutcome>,
    wakers: HashMap<u64, Waker>,
    next: u64,
    count: usize,
}

/// How a fetch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FetchOutcome {
    /// Its response is stored: look again.
    Stored,
    /// Its response was for its own request only: each must fetch for itself.
    Uncacheable,
    /// Its response was a server error, which is not stored: each must fetch for itself, or do with what is stale.
    ServerError,
    /// It brought nothing: somebody else must try.
    Failed,
}

/// What a request is to do.
#[derive(Debug)]
pub(crate) enum Joined {
    /// Fetch, and tell the others.
    Leader(LeaderGuard),
    /// Wait for the one that fetches.
    Follower(Follower),
    /// A fetch is under way that began at this earlier epoch: it may bring what has been invalidated since.
    Outdated(u64),
    /// As many wait as may.
    Full,
}

impl Flights {
    /// `shards` parts, which are locked independently.
    pub(crate) fn new(shards: usize, limits: WaiterLimits) -> Arc<Self> {
        let shards = (0..shards).map(|_| Mutex::default()).collect();
        Arc::new(Self { shards, hasher: RandomState::default(), waiting: AtomicUsize::new(0), limits })
    }

    /// Joins the fetch of `key` if it began at `accept` or later; begins one at `epoch` if there is none.
    pub(crate) fn join(self: &Arc<Self>, key: &[u8], epoch: u64, accept: u64) -> Joined {
        let mut shard = lock(self.shard(key));
        match shard.get(key) {
            Some(flight) if flight.epoch >= accept => self.follow(flight),
            Some(flight) => Joined::Outdated(flight.epoch),
            None => Joined::Leader(self.begin(&mut shard, key, epoch)),
        }
    }

    /// Begins a fetch at `epoch` in place of one that began earlier; whoever waits for that one goes on waiting.
    pub(crate) fn supersede(self: &Arc<Self>, key: &[u8], epoch: u64) -> Joined {
        let mut shard = lock(self.shard(key));
        match shard.get(key) {
            Some(flight) if flight.epoch >= epoch => self.follow(flight),
            _ => Joined::Leader(self.begin(&mut shard, key, epoch)),
        }
    }

    /// Begins a fetch beside the one that `follower` waits for, unless another request has done so since; `None` if no fetch of `key`
    /// is running.
    pub(crate) fn overtake(self: &Arc<Self>, key: &[u8], epoch: u64, follower: &Follower) -> Option<Joined> {
        let mut shard = lock(self.shard(key));
        let flight = shard.get(key)?;
        if !Arc::ptr_eq(flight, &follower.flight) && flight.epoch >= epoch {
            return Some(self.follow(flight));
        }
        Some(Joined::Leader(self.begin(&mut shard, key, epoch)))
    }

    /// Begins a fetch unless one is under way.
    pub(crate) fn lead(self: &Arc<Self>, key: &[u8], epoch: u64) -> Option<LeaderGuard> {
        let mut shard = lock(self.shard(key));
        (!shard.contains_key(key)).then(|| self.begin(&mut shard, key, epoch))
    }

    fn begin(self: &Arc<Self>, shard: &mut Shard, key: &[u8], epoch: u64) -> LeaderGuard {
        let flight = Arc::new(Flight { epoch, waiters: Mutex::default() });
        let key: Arc<[u8]> = key.into();
        shard.insert(Arc::clone(&key), Arc::clone(&flight));
        LeaderGuard { flights: Arc::clone(self), key, flight, landing: FetchOutcome::Failed }
    }

    fn follow(self: &Arc<Self>, flight: &Arc<Flight>) -> Joined {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.limits.total {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Joined::Full;
        }
        let mut waiters = lock(&flight.waiters);
        if waiters.count >= self.limits.per_key {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Joined::Full;
        }
        waiters.count += 1;
        waiters.next += 1;
        let id = waiters.next;
        Joined::Follower(Follower { flights: Arc::clone(self), flight: Arc::clone(flight), id })
    }

    fn shard(&self, key: &[u8]) -> &Mutex<Shard> {
        let hash = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or(0);
        &self.shards[hash % self.shards.len()]
    }
}

/// The duty to fetch. Dropped without [`finish`](Self::finish), it lets somebody else try.
#[derive(Debug)]
#[must_use]
pub(crate) struct LeaderGuard {
    flights: Arc<Flights>,
    key: Arc<[u8]>,
    flight: Arc<Flight>,
    landing: FetchOutcome,
}

impl LeaderGuard {
    /// Tells everybody who waits how it ended. What was stored must be visible by now.
    pub(crate) fn finish(mut self, landing: FetchOutcome) {
        self.landing = landing;
    }
}

impl Drop for LeaderGuard {
    fn drop(&mut self) {
        let mut shard = lock(self.flights.shard(&self.key));
        if shard.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            shard.remove(&self.key);
        }
        drop(shard);
        // Nobody joins from here on; those who have are woken, without a lock held.
        let mut waiters = lock(&self.flight.waiters);
        waiters.landing = Some(self.landing);
        let wakers = mem::take(&mut waiters.wakers);
        drop(waiters);
        wakers.into_values().for_each(Waker::wake);
    }
}

/// The wait for somebody else's fetch.
#[derive(Debug)]
#[must_use]
pub(crate) struct Follower {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    id: u64,
}

impl Future for Follower {
    type Output = FetchOutcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<FetchOutcome> {
        let mut waiters = lock(&self.flight.waiters);
        match waiters.landing {
            Some(landing) => Poll::Ready(landing),
            None => {
                waiters.wakers.insert(self.id, cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut waiters = lock(&self.flight.waiters);
        waiters.count -= 1;
        let waker = waiters.wakers.remove(&self.id);
        drop(waiters);
        drop(waker);
        self.flights.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A panic while such a lock is held is out of reach of any caller's code; what it guards is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
