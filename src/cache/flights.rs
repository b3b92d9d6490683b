//! The fetches in progress, by key: each has one leader, and its followers.
//!
//! The file imports its locks and atomics from `crate::sync`, so that the model checker can run it unchanged (`tests/model`).

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

use crate::{
    entry::epoch::Epoch,
    sync::{AtomicUsize, Mutex, MutexGuard, Ordering},
};

/// The fetches in progress.
#[derive(Debug)]
pub(crate) struct Flights {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    /// The number of followers of all flights.
    waiting: AtomicUsize,
    limits: WaiterLimits,
}

type Shard = HashMap<Arc<[u8]>, Arc<Flight>, RandomState>;

/// The largest numbers of followers, for one key and in total.
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

/// One fetch and its followers.
#[derive(Debug)]
struct Flight {
    /// The epoch that was read before its handler was called. Epochs of different incarnations have no order, so that a request never
    /// joins a flight of another incarnation: its response would be dead.
    epoch: Epoch,
    waiters: Mutex<Waiters>,
}

#[derive(Debug, Default)]
struct Waiters {
    outcome: Option<FetchOutcome>,
    wakers: HashMap<u64, Waker>,
    next: u64,
    count: usize,
}

/// The outcome of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FetchOutcome {
    /// The response is stored: followers look it up again.
    Stored,
    /// The response was for one request only: each follower fetches separately.
    Uncacheable,
    /// The response was a server error, which is not stored: each follower fetches separately, or serves a stale response.
    ServerError,
    /// There was no response: a follower must fetch instead.
    Failed,
}

/// The role of a request that joined the flight of its key.
#[derive(Debug)]
pub(crate) enum Joined {
    /// The request fetches, and reports the outcome to its followers.
    Leader(LeaderGuard),
    /// The request waits for the leader.
    Follower(Follower),
    /// A fetch is in progress that started at this earlier epoch: its response may have been invalidated since.
    Outdated(Epoch),
    /// There are as many followers as the limits allow.
    Full,
}

impl Flights {
    /// Creates an empty map of `shards` parts, which are locked independently.
    pub(crate) fn new(shards: usize, limits: WaiterLimits) -> Arc<Self> {
        let shards = (0..shards).map(|_| Mutex::default()).collect();
        Arc::new(Self { shards, hasher: RandomState::default(), waiting: AtomicUsize::new(0), limits })
    }

    /// Joins the fetch of `key` if it started at `accept` or later; starts one at `epoch` if there is none.
    pub(crate) fn join(self: &Arc<Self>, key: &[u8], epoch: Epoch, accept: Epoch) -> Joined {
        let mut shard = lock(self.shard(key));
        match shard.get(key) {
            Some(flight) if flight.epoch >= accept => self.follow(flight),
            Some(flight) => Joined::Outdated(flight.epoch),
            None => Joined::Leader(self.begin(&mut shard, key, epoch)),
        }
    }

    /// Starts a fetch at `epoch` in place of one that started earlier, or in another incarnation. Its followers keep waiting for it.
    pub(crate) fn supersede(self: &Arc<Self>, key: &[u8], epoch: Epoch) -> Joined {
        let mut shard = lock(self.shard(key));
        match shard.get(key) {
            Some(flight) if flight.epoch >= epoch => self.follow(flight),
            _ => Joined::Leader(self.begin(&mut shard, key, epoch)),
        }
    }

    /// Begins a fetch beside the one that `follower` waits for, unless another request has done so since; `None` if no fetch of `key`
    /// is running.
    pub(crate) fn overtake(self: &Arc<Self>, key: &[u8], epoch: Epoch, follower: &Follower) -> Option<Joined> {
        let mut shard = lock(self.shard(key));
        let flight = shard.get(key)?;
        if !Arc::ptr_eq(flight, &follower.flight) && flight.epoch >= epoch {
            return Some(self.follow(flight));
        }
        Some(Joined::Leader(self.begin(&mut shard, key, epoch)))
    }

    /// Starts a fetch unless one is in progress.
    pub(crate) fn lead(self: &Arc<Self>, key: &[u8], epoch: Epoch) -> Option<LeaderGuard> {
        let mut shard = lock(self.shard(key));
        (!shard.contains_key(key)).then(|| self.begin(&mut shard, key, epoch))
    }

    fn begin(self: &Arc<Self>, shard: &mut Shard, key: &[u8], epoch: Epoch) -> LeaderGuard {
        let flight = Arc::new(Flight { epoch, waiters: Mutex::default() });
        let key: Arc<[u8]> = key.into();
        shard.insert(Arc::clone(&key), Arc::clone(&flight));
        LeaderGuard { flights: Arc::clone(self), key, flight, outcome: FetchOutcome::Failed }
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

/// The role of the leader. If it is dropped without [`finish`](Self::finish), a follower fetches instead.
#[derive(Debug)]
#[must_use]
pub(crate) struct LeaderGuard {
    flights: Arc<Flights>,
    key: Arc<[u8]>,
    flight: Arc<Flight>,
    outcome: FetchOutcome,
}

impl LeaderGuard {
    /// Reports the outcome to all followers. A stored response must be visible by now.
    pub(crate) fn finish(mut self, outcome: FetchOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for LeaderGuard {
    fn drop(&mut self) {
        let mut shard = lock(self.flights.shard(&self.key));
        if shard.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            shard.remove(&self.key);
        }
        drop(shard);
        // No request joins from here on. The followers are woken without a lock held.
        let mut waiters = lock(&self.flight.waiters);
        waiters.outcome = Some(self.outcome);
        let wakers = mem::take(&mut waiters.wakers);
        drop(waiters);
        wakers.into_values().for_each(Waker::wake);
    }
}

/// The future of a follower, which waits for the leader's outcome.
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
        match waiters.outcome {
            Some(outcome) => Poll::Ready(outcome),
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

/// No caller's code runs while such a lock is held, so that a poisoned lock guards consistent data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
