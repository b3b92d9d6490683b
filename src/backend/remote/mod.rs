//! What the stores over the network share: time limits, a circuit breaker, the retry of failed invalidations, and the rules for
//! records that change one at a time.

pub(crate) mod breaker;
pub(crate) mod deadline;
pub(crate) mod options;
pub(crate) mod outbox;
#[allow(dead_code, reason = "only Redis Cluster and memcached use it")]
pub(crate) mod registers;
#[allow(dead_code, reason = "Redis and memcached use different parts of it")]
pub(crate) mod shared_read;
#[cfg(test)]
mod tests;
#[allow(dead_code, reason = "only memcached uses all of it")]
pub(crate) mod validated;

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

/// A store over the network. Its operations are those of a [`Backend`](super::Backend), but their futures are not boxed, and only
/// lookups limit their own time.
pub(crate) trait RemoteStore: Send + Sync + 'static {
    /// Looks up within `limit`. A store that batches lookups keeps one timer for the batch, which costs a fraction of one for each.
    fn get(&self, key: &Key, known: &[Tag], limit: Duration) -> impl Future<Output = Result<ReadOutcome, Error>> + Send;

    fn put(&self, key: &Key, stored: Arc<Stored>) -> impl Future<Output = Result<PutOutcome, Error>> + Send;

    fn is_alive(&self, born: Epoch, tags: &[Tag]) -> impl Future<Output = Result<bool, Error>> + Send;

    fn invalidate(&self, invalidation: &Invalidation) -> impl Future<Output = Result<Receipt, Error>> + Send;

    /// Reads the clock, as a health check.
    fn epoch(&self) -> impl Future<Output = Result<Epoch, Error>> + Send;

    /// Closes connections that may be broken; the next operation opens new ones.
    fn reset(&self);
}

/// A remote store with fetch locks.
#[cfg(feature = "redis")]
pub(crate) trait FetchLocks: RemoteStore {
    fn lock_fetch(&self, key: &Key, life: Duration) -> impl Future<Output = Result<FetchLock, Error>> + Send;

    fn unlock_fetch(&self, key: &Key) -> impl Future<Output = ()> + Send;
}

/// Implements `Backend` for a type that only forwards to the [`Resilient`] store in its field `store`. The methods in braces are those
/// that not every remote store has; a method of `Backend` that is missing here fails the build.
macro_rules! forward_backend {
    ($store:ty { $($methods:tt)* }) => {
        #[::async_trait::async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl $crate::backend::Backend for $store {
            fn get_now(&self, _key: &$crate::key::Key) -> Option<$crate::backend::ReadOutcome> {
                None
            }

            async fn get(
                &self,
                key: &$crate::key::Key,
                known: &[$crate::tag::Tag],
            ) -> Result<$crate::backend::ReadOutcome, $crate::error::Error> {
                self.store.get(key, known).await
            }

            async fn put(
                &self,
                key: &$crate::key::Key,
                stored: ::std::sync::Arc<$crate::backend::Stored>,
            ) -> Result<$crate::backend::PutOutcome, $crate::error::Error> {
                self.store.put(key, stored).await
            }

            async fn is_alive(
                &self,
                born: $crate::backend::Epoch,
                tags: &[$crate::tag::Tag],
            ) -> Result<bool, $crate::error::Error> {
                self.store.is_alive(born, tags).await
            }

            async fn invalidate(
                &self,
                invalidation: &$crate::backend::Invalidation,
            ) -> Result<$crate::backend::Receipt, $crate::error::Error> {
                self.store.invalidate(invalidation).await
            }

            $($methods)*
        }
    };
}

pub(crate) use forward_backend;

/// A remote store that fails fast and never loses an invalidation.
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
    Error::unavailable("the store failed, and is not used until it answers again")
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
    pub(crate) async fn read<T>(&self, operation: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.within(self.inner.timeouts.read, operation).await
    }

    /// Runs an operation that no request waits for, unless the breaker is open. A failure does not count: it says little about reads.
    #[cfg(feature = "redis")]
    pub(crate) async fn read_in_background<T>(
        &self,
        limit: Duration,
        operation: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if Inner::is_open(&self.inner) {
            return Err(suspended());
        }
        with_deadline(limit, operation).await
    }

    /// Opens the breaker until the store has answered and received the invalidations that it missed.
    pub(crate) fn trip(&self) {
        Inner::trip(&self.inner);
    }

    async fn within<T>(&self, limit: Duration, operation: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        if Inner::is_open(&self.inner) {
            return Err(suspended());
        }
        self.counted(with_deadline(limit, operation).await)
    }

    /// Updates the breaker by the outcome of an operation.
    fn counted<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        if Inner::count(&self.inner, &outcome) {
            Inner::trip(&self.inner);
        }
        outcome
    }
}

impl<R: RemoteStore> Inner<R> {
    /// Counts a failure or a success; returns whether there were too many consecutive failures.
    fn count<T>(inner: &Arc<Self>, outcome: &Result<T, Error>) -> bool {
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

    fn trip(inner: &Arc<Self>) {
        inner.breaker.open();
        Self::begin_recovery(inner);
    }

    fn begin_recovery(inner: &Arc<Self>) {
        inner.recovery.start(|running| keep_trying(Arc::downgrade(inner), inner.timeouts.clone(), running));
    }

    /// Closes the breaker if the store answers and every failed invalidation was repeated.
    async fn recover(&self) -> bool {
        if with_deadline(self.timeouts.invalidate, self.remote.epoch()).await.is_err() {
            self.remote.reset();
            return false;
        }
        while let Some(owed) = self.outbox.take() {
            if self.carry_out(&owed).await.is_err_and(|error| !error.is_unconfirmed()) {
                return false;
            }
            owed.settle();
        }
        // The connection is established by now: a store that is still too slow for a read would open the breaker again.
        if with_deadline(self.timeouts.read, self.remote.epoch()).await.is_err() {
            return false;
        }
        // An invalidation that failed meanwhile is in the outbox by now, or opens the breaker again.
        self.breaker.close(|| self.outbox.is_empty())
    }

    /// Invalidates part by part, each within the limit. After a failure, some parts may have taken effect, and all must be repeated;
    /// all parts have taken effect if the error is that replicas did not confirm one.
    async fn carry_out(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        let (mut first, mut unconfirmed) = (None, None);
        for part in invalidation.parts(MAX_TAGS_PER_PART) {
            match with_deadline(self.timeouts.invalidate, self.remote.invalidate(&part)).await {
                // The receipt with the earliest epoch is kept: it is the one that holds for the tags of every part.
                Ok(receipt) => _ = first.get_or_insert(receipt),
                Err(error) if error.is_unconfirmed() => unconfirmed = Some(error),
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = unconfirmed {
            return Err(error);
        }
        let receipt = first.ok_or_else(|| Error::unavailable("an invalidation has at least one part"))?;
        Ok(Receipt { tag_count: invalidation.tags().len(), ..receipt })
    }

    async fn invalidate(inner: Arc<Self>, invalidation: Invalidation) -> Result<Receipt, Error> {
        let outcome = match Self::is_open(&inner) {
            true => Err(Error::unavailable("the store is unreachable: the invalidation is carried out when it answers again")),
            false => inner.carry_out(&invalidation).await,
        };
        // An unconfirmed invalidation holds on this server. If another server takes over without it, that one's clock is behind the
        // epoch that this node has seen, and begins a new incarnation.
        if outcome.as_ref().is_err_and(|error| !error.is_invalid_input() && !error.is_unconfirmed()) {
            inner.outbox.add(invalidation);
            Self::trip(&inner);
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
            // The breaker may have opened again while this task was running, when no other could be started.
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
        self.counted(self.inner.remote.get(key, known, self.inner.timeouts.read).await)
    }

    pub(crate) async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        self.within(self.inner.timeouts.store, self.inner.remote.put(key, stored)).await
    }

    pub(crate) async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        self.within(self.inner.timeouts.read, self.inner.remote.is_alive(born, tags)).await
    }

    /// Spawned: if the caller is dropped, the invalidation is completed, or put into the outbox.
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
