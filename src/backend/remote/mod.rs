//! Time timeouts, a circuit breaker and the retry of failed invalidations, for every store over the network.

pub(crate) mod breaker;
pub(crate) mod deadline;
pub(crate) mod outbox;
#[allow(dead_code, reason = "for stores on other machines")]
pub(crate) mod registers;

use std::{
    fmt,
    future::Future,
    sync::{Arc, Weak},
    time::Duration,
};

use breaker::Breaker;
use outbox::Outbox;
use tokio::time::sleep;

use super::{
    contract::{Invalidation, PutOutcome, ReadOutcome, Receipt},
    lone_task::{LoneTask, Running},
};
use crate::{
    entry::{epoch::Epoch, stored::Stored},
    error::Error,
    key::Key,
    tag::Tag,
};

#[cfg(feature = "redis")]
use tokio::time::timeout;

#[cfg(feature = "redis")]
use super::contract::FetchLock;
pub(crate) use deadline::{Timeouts, with_deadline};
#[cfg(feature = "redis")]
pub(crate) use deadline::{deadline_exceeded, with_deadline_since};

/// A store over the network: it does what a [`Backend`](super::Backend) does, without a box around each future. Its operations may
/// wait for as long as they like, but for a look-up.
pub(crate) trait RemoteStore: Send + Sync + 'static {
    /// Looks up within `limit`: a store that asks for many at once keeps the time for all of them, at a fraction of what it costs
    /// to keep it for each.
    fn get(&self, key: &Key, known: &[Tag], limit: Duration) -> impl Future<Output = Result<ReadOutcome, Error>> + Send;

    fn put(&self, key: &Key, stored: Arc<Stored>) -> impl Future<Output = Result<PutOutcome, Error>> + Send;

    fn is_alive(&self, born: Epoch, tags: &[Tag]) -> impl Future<Output = Result<bool, Error>> + Send;

    fn invalidate(&self, invalidation: &Invalidation) -> impl Future<Output = Result<Receipt, Error>> + Send;

    /// Reads the clock: the cheapest sign of life.
    fn epoch(&self) -> impl Future<Output = Result<Epoch, Error>> + Send;

    /// Gives up connections that no longer answer; the next operation makes new ones.
    fn reset(&self);
}

/// A remote store by which nodes can agree on who fetches.
#[cfg(feature = "redis")]
pub(crate) trait FetchLocks: RemoteStore {
    fn lock_fetch(&self, key: &Key, life: Duration) -> impl Future<Output = Result<FetchLock, Error>> + Send;

    fn unlock_fetch(&self, key: &Key) -> impl Future<Output = ()> + Send;
}

/// A remote store that fails fast and forgets no invalidation.
///
/// The breaker opens after some consecutive failures, and after any failed invalidation: reads then miss immediately, and nothing
/// is stored. A spawned task retries the store. Once the store answers, every failed invalidation is repeated, and only then does
/// the breaker close. If that task ends with its runtime, the next operation starts another one.
pub(crate) struct Resilient<R> {
    inner: Arc<Inner<R>>,
}

struct Inner<R> {
    remote: R,
    timeouts: Timeouts,
    breaker: Breaker,
    outbox: Outbox,
    recovery: LoneTask,
}

/// The number of tags that are invalidated in one command. 1,000 keep Redis busy for about 5 ms; other nodes' commands run in between.
const MAX_TAGS_PER_PART: usize = 1000;

fn suspended() -> Error {
    Error::unavailable("the store was unreachable a moment ago, and is not asked until it answers again")
}

impl<R: RemoteStore> Resilient<R> {
    pub(crate) fn new(remote: R, timeouts: Timeouts) -> Self {
        let (breaker, outbox, recovery) = Default::default();
        Self { inner: Arc::new(Inner { remote, timeouts, breaker, outbox, recovery }) }
    }

    pub(crate) fn remote(&self) -> &R {
        &self.inner.remote
    }

    /// Returns whether the breaker is open.
    pub(crate) fn is_open(&self) -> bool {
        self.inner.breaker.is_open()
    }

    /// Runs an operation within the limit for reads, unless the breaker is open.
    pub(crate) async fn read<T>(&self, what: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.within(self.inner.timeouts.read, what).await
    }

    /// Runs an operation that no request waits for, unless the breaker is open. A failure does not concern reads, and is not
    /// counted.
    #[cfg(feature = "redis")]
    pub(crate) async fn read_in_background<T>(
        &self,
        limit: Duration,
        what: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if Inner::is_open(&self.inner) {
            return Err(suspended());
        }
        with_deadline(limit, what).await
    }

    /// Opens the breaker until the store has answered and received the invalidations that it missed.
    pub(crate) fn trip(&self) {
        Inner::open(&self.inner);
    }

    async fn within<T>(&self, limit: Duration, what: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        if Inner::is_open(&self.inner) {
            return Err(suspended());
        }
        self.noted(with_deadline(limit, what).await)
    }

    /// Updates the breaker by the outcome of an operation.
    fn noted<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        if Inner::note(&self.inner, &outcome) {
            Inner::open(&self.inner);
        }
        outcome
    }
}

impl<R: RemoteStore> Inner<R> {
    /// Counts a failure or a success; returns whether there were too many consecutive failures.
    fn note<T>(inner: &Arc<Self>, outcome: &Result<T, Error>) -> bool {
        match outcome {
            Err(error) if !error.is_invalid_input() => inner.breaker.failed(inner.timeouts.failures),
            _ => {
                inner.breaker.worked();
                false
            }
        }
    }

    /// Returns whether the breaker is open; if so, makes sure that a task retries the store.
    fn is_open(inner: &Arc<Self>) -> bool {
        let is_open = inner.breaker.is_open();
        if is_open {
            Self::begin_recovery(inner);
        }
        is_open
    }

    fn open(inner: &Arc<Self>) {
        inner.breaker.open();
        Self::begin_recovery(inner);
    }

    fn begin_recovery(inner: &Arc<Self>) {
        inner.recovery.start(|running| keep_trying(Arc::downgrade(inner), inner.timeouts.clone(), running));
    }

    /// Closes the breaker if the store answers, and has taken every invalidation that it is owed.
    async fn recover(&self) -> bool {
        if with_deadline(self.timeouts.invalidate, self.remote.epoch()).await.is_err() {
            self.remote.reset();
            return false;
        }
        while let Some(owed) = self.outbox.take() {
            if self.carry_out(&owed).await.is_err() {
                return false;
            }
            owed.settle();
        }
        // A connection is there by now: a store that is still too slow for a read would only open the breaker again.
        if with_deadline(self.timeouts.read, self.remote.epoch()).await.is_err() {
            return false;
        }
        // Whatever failed to be invalidated since is noted before this looks, or opens the breaker again.
        self.breaker.close(|| self.outbox.is_empty())
    }

    /// Invalidates part by part, each within the limit. After a failure, some parts may have taken effect: all are to be repeated.
    async fn carry_out(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        let mut first = None;
        for part in invalidation.parts(MAX_TAGS_PER_PART) {
            let receipt = with_deadline(self.timeouts.invalidate, self.remote.invalidate(&part)).await?;
            // The earliest epoch: it is true of the tags of every part that what began before it is dead.
            first.get_or_insert(receipt);
        }
        let receipt = first.ok_or_else(|| Error::unavailable("an invalidation has at least one part"))?;
        Ok(Receipt { tag_count: invalidation.tags().len(), ..receipt })
    }

    async fn invalidate(inner: Arc<Self>, invalidation: Invalidation) -> Result<Receipt, Error> {
        let outcome = match Self::is_open(&inner) {
            true => {
                Err(Error::unavailable("the store is unreachable: the invalidation is kept, and carried out when it answers"))
            }
            false => inner.carry_out(&invalidation).await,
        };
        if outcome.as_ref().is_err_and(|error| !error.is_invalid_input()) {
            inner.outbox.add(invalidation);
            Self::open(&inner);
        }
        outcome
    }
}

/// Retries the store until the breaker closes, or until the last handle is dropped.
async fn keep_trying<R: RemoteStore>(store: Weak<Inner<R>>, timeouts: Timeouts, running: Running) {
    let mut pause = timeouts.first_pause;
    while let Some(inner) = store.upgrade() {
        if inner.recover().await {
            drop(running);
            // Opened again before another task could be started.
            Inner::is_open(&inner);
            return;
        }
        drop(inner);
        sleep(pause).await;
        pause = (pause * 2).min(timeouts.longest_pause);
    }
}

impl<R: RemoteStore> Resilient<R> {
    /// Misses immediately while the breaker is open: the request is not delayed, and nothing is stored.
    pub(crate) async fn get(&self, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        if Inner::is_open(&self.inner) {
            return Ok(ReadOutcome { found: None, epoch: None });
        }
        self.noted(self.inner.remote.get(key, known, self.inner.timeouts.read).await)
    }

    pub(crate) async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        self.within(self.inner.timeouts.store, self.inner.remote.put(key, stored)).await
    }

    pub(crate) async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        self.within(self.inner.timeouts.read, self.inner.remote.is_alive(born, tags)).await
    }

    /// Spawned: a caller that leaves must not leave an invalidation half done and unremembered.
    pub(crate) async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        let task = tokio::spawn(Inner::invalidate(Arc::clone(&self.inner), invalidation.clone()));
        task.await.unwrap_or_else(|failure| Err(Error::unavailable("the invalidation did not finish").with_source(failure)))
    }
}

#[cfg(feature = "redis")]
impl<R: FetchLocks> Resilient<R> {
    pub(crate) async fn lock_fetch(&self, key: &Key, life: Duration) -> Result<FetchLock, Error> {
        self.within(self.inner.timeouts.read, self.inner.remote.lock_fetch(key, life)).await
    }

    pub(crate) async fn unlock_fetch(&self, key: &Key) {
        // An error is ignored: a lock that cannot be released expires.
        let _ = timeout(self.inner.timeouts.read, self.inner.remote.unlock_fetch(key)).await;
    }
}

impl<R> Clone for Resilient<R> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<R: fmt::Debug> fmt::Debug for Resilient<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resilient")
            .field("remote", &self.inner.remote)
            .field("breaker", &self.inner.breaker)
            .field("owed", &self.inner.outbox.len())
            .finish_non_exhaustive()
    }
}
