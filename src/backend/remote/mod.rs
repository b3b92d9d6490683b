//! What the stores over the network share: time limits, a circuit breaker, the retry of failed invalidations, and the rules for
//! records that change one at a time.

pub(crate) mod breaker;
pub(crate) mod deadline;
pub(crate) mod decoded;
pub(crate) mod options;
pub(crate) mod outbox;
#[allow(dead_code, reason = "only Redis Cluster and memcached use it")]
pub(crate) mod registers;
pub(crate) mod shared_mode;
#[allow(dead_code, reason = "Redis and memcached use different parts of it")]
pub(crate) mod shared_read;
#[cfg(test)]
mod tests;
#[allow(dead_code, reason = "only memcached uses all of it")]
pub(crate) mod validated;
#[allow(dead_code, reason = "only Redis Cluster and memcached use it")]
pub(crate) mod write_marks;

use std::{
    future::{Future, ready},
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use breaker::Breaker;
use outbox::{Outbox, owed_tags};
use shared_mode::SharedMode;
use tokio::time::{Instant, sleep};

use super::{
    cache_mode::CacheMode,
    contract::{FetchLock, Invalidation, PutOutcome, ReadOutcome, Receipt, Scope},
    health::Health,
    lone_task::{LoneTask, Running},
    store_stats::{Operation, OperationCounts, StoreServer, StoreStats},
};
use crate::{
    entry::{epoch::Epoch, stored::Stored},
    error::Error,
    key::Key,
    tag::Tag,
    throttle::Throttle,
};

pub(crate) use deadline::{TimeLimit, Timeouts, with_deadline};
#[cfg(feature = "redis")]
pub(crate) use deadline::{deadline_exceeded, with_deadline_since};

/// A store over the network. Its operations are those of a [`Backend`](super::Backend), but their futures are not boxed, and only
/// lookups limit their own time.
pub(crate) trait RemoteStore: Send + Sync + 'static {
    /// Looks up within `limit`. A store that batches lookups keeps one timer for the batch, which costs a fraction of one for each.
    fn get(&self, key: &Key, known: &[Tag], limit: Duration) -> impl Future<Output = Result<ReadOutcome, Error>> + Send;

    fn put(&self, key: &Key, stored: Arc<Stored>) -> impl Future<Output = Result<PutOutcome, Error>> + Send;

    /// Stores an entry in place of `present` in one step.
    fn replace(&self, key: &Key, present: &Stored, stored: Arc<Stored>)
    -> impl Future<Output = Result<PutOutcome, Error>> + Send;

    fn is_alive(&self, born: Epoch, tags: &[Tag]) -> impl Future<Output = Result<bool, Error>> + Send;

    fn invalidate(&self, invalidation: &Invalidation) -> impl Future<Output = Result<Receipt, Error>> + Send;

    /// Marks the tags in the name of a writer for some time.
    fn hold_tags(&self, tags: &[Tag], writer: u64, life: Duration) -> impl Future<Output = Result<(), Error>> + Send;

    /// Removes the marks of a writer.
    fn release_tags(&self, tags: &[Tag], writer: u64) -> impl Future<Output = Result<(), Error>> + Send;

    /// Sets the mode of all nodes.
    fn set_mode(&self, mode: CacheMode) -> impl Future<Output = Result<(), Error>> + Send;

    /// Returns the mode of all nodes, which every read of the clock updates.
    fn mode(&self) -> &SharedMode;

    /// Reads the clock, as a health check.
    fn epoch(&self) -> impl Future<Output = Result<Epoch, Error>> + Send;

    /// Closes connections that may be broken; the next operation opens new ones.
    fn reset(&self);

    /// Returns the servers that are known, without waiting.
    fn servers(&self) -> Vec<StoreServer>;

    /// Asks which servers there are, for [`servers`](Self::servers). Provided: they are known already.
    fn find_servers(&self) -> impl Future<Output = Result<(), Error>> + Send {
        ready(Ok(()))
    }

    /// Returns whether clock and records change together: see [`Backend::reads_are_exact`](crate::backend::Backend::reads_are_exact).
    fn reads_are_exact(&self) -> bool;
}

/// A remote store with fetch locks.
pub(crate) trait FetchLocks: RemoteStore {
    fn lock_fetch(&self, key: &Key, life: Duration) -> impl Future<Output = Result<FetchLock, Error>> + Send;

    fn unlock_fetch(&self, key: &Key) -> impl Future<Output = Result<(), Error>> + Send;
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

            async fn replace(
                &self,
                key: &$crate::key::Key,
                present: &$crate::backend::Stored,
                stored: ::std::sync::Arc<$crate::backend::Stored>,
            ) -> Result<$crate::backend::PutOutcome, $crate::error::Error> {
                self.store.replace(key, present, stored).await
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

            async fn lock_fetch(
                &self,
                key: &$crate::key::Key,
                life: ::std::time::Duration,
            ) -> Result<$crate::backend::FetchLock, $crate::error::Error> {
                self.store.lock_fetch(key, life).await
            }

            async fn unlock_fetch(&self, key: &$crate::key::Key) {
                self.store.unlock_fetch(key).await;
            }

            async fn hold_tags(
                &self,
                tags: &[$crate::tag::Tag],
                writer: u64,
                life: ::std::time::Duration,
            ) -> Result<(), $crate::error::Error> {
                self.store.hold_tags(tags, writer, life).await
            }

            async fn release_tags(&self, tags: &[$crate::tag::Tag], writer: u64) -> Result<(), $crate::error::Error> {
                self.store.release_tags(tags, writer).await
            }

            async fn health(&self) -> $crate::backend::Health {
                self.store.health().await
            }

            fn copy_in_outage(&self, _key: &$crate::key::Key) -> Option<::std::sync::Arc<$crate::backend::Stored>> {
                None
            }

            fn reads_are_exact(&self) -> bool {
                self.store.reads_are_exact()
            }

            fn lookup_limit(&self) -> Option<::std::time::Duration> {
                Some(self.store.lookup_limit())
            }

            fn use_clock(&self, _clock: &$crate::clock::Clock) {}

            fn owed(&self) -> usize {
                self.store.owed()
            }

            fn shared_mode(&self) -> $crate::CacheMode {
                self.store.shared_mode()
            }

            async fn set_shared_mode(
                &self,
                mode: $crate::CacheMode,
            ) -> Result<$crate::backend::Scope, $crate::error::Error> {
                self.store.set_shared_mode(mode).await
            }

            fn stats(&self) -> Vec<$crate::backend::StoreStats> {
                vec![$crate::backend::StoreStats {
                    corrupt_values: Some(self.corrupt_values()),
                    ..self.store.stats(stringify!($store))
                }]
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
    /// The number of tags of the invalidations that have begun and not ended.
    under_way: AtomicUsize,
    recovery: LoneTask,
    /// Reads the mode while the cache is bypassed, and reads nothing else.
    mode_reads: LoneTask,
    operations: OperationCounts,
    owed_reports: Throttle,
}

/// The number of tags that are invalidated in one command. 1,000 keep Redis busy for about 5 ms; other nodes' commands run in between.
const MAX_TAGS_PER_PART: usize = 1000;

/// Returns the error for an operation on a suspended store; `last` is the last failure.
fn suspended(last: Option<Error>) -> Error {
    let error = Error::suspended();
    last.into_iter().fold(error, Error::with_source)
}

impl<R: RemoteStore> Resilient<R> {
    pub(crate) fn new(remote: R, timeouts: Timeouts) -> Self {
        let (breaker, under_way, recovery, mode_reads, operations, owed_reports) = Default::default();
        let outbox = Outbox::new(timeouts.owed_tags);
        Self {
            inner: Arc::new(Inner {
                remote,
                timeouts,
                breaker,
                outbox,
                under_way,
                recovery,
                mode_reads,
                operations,
                owed_reports,
            }),
        }
    }

    pub(crate) fn remote(&self) -> &R {
        &self.inner.remote
    }

    pub(crate) fn reads_are_exact(&self) -> bool {
        self.inner.remote.reads_are_exact()
    }

    /// Returns whether the breaker is open; if so, makes sure that a task retries the store.
    pub(crate) fn is_open(&self) -> bool {
        Inner::is_open(&self.inner)
    }

    /// Reads the clock, whether the breaker is open or not. The outcome has no effect on the breaker.
    pub(crate) async fn health(&self) -> Health {
        let began = Instant::now();
        let outcome = with_deadline(self.inner.timeouts.of_invalidations(), self.inner.remote.epoch()).await;
        let round_trip = outcome.as_ref().is_ok().then(|| began.elapsed());
        if outcome.is_ok() {
            // They are for people: the ones known before are shown if this fails.
            _ = with_deadline(self.inner.timeouts.of_reads(), self.inner.remote.find_servers()).await;
        }
        self.inner.breaker.note(&outcome);
        Inner::is_open(&self.inner);
        let Inner { breaker, outbox, .. } = &*self.inner;
        Health {
            round_trip,
            suspended_for: breaker.open_for(),
            owed: outbox.len(),
            grace_left: None,
            last_error: breaker.last_error(),
        }
    }

    pub(crate) fn lookup_limit(&self) -> Duration {
        self.inner.timeouts.read
    }

    /// Runs an operation within the limit for reads, unless the breaker is open.
    pub(crate) async fn read<T>(&self, operation: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.within(self.inner.timeouts.of_reads(), operation).await
    }

    /// Runs an operation that no request waits for, unless the breaker is open. A failure does not count: it says little about reads.
    #[cfg(feature = "redis")]
    pub(crate) async fn read_in_background<T>(
        &self,
        limit: Duration,
        operation: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if Inner::is_open(&self.inner) {
            return Err(suspended(self.inner.breaker.last_error()));
        }
        let outcome = with_deadline(TimeLimit::fixed(limit), operation).await;
        self.inner.breaker.note(&outcome);
        outcome
    }

    /// Returns the mode of all nodes as it was read last. While it is `Bypass`, requests read nothing, and a task reads the mode instead.
    pub(crate) fn shared_mode(&self) -> CacheMode {
        let mode = self.inner.remote.mode().get();
        if mode == CacheMode::Bypass {
            let limit = self.inner.timeouts.of_invalidations();
            self.inner.mode_reads.start(|running| read_mode(Arc::downgrade(&self.inner), limit, running));
        }
        mode
    }

    /// Sets the mode of all nodes, whether the breaker is open or not: the kill switch is not kept from a store that may answer.
    pub(crate) async fn set_shared_mode(&self, mode: CacheMode) -> Result<Scope, Error> {
        let outcome = with_deadline(self.inner.timeouts.of_invalidations(), self.inner.remote.set_mode(mode)).await;
        self.inner.breaker.note(&outcome);
        outcome?;
        self.inner.remote.mode().observe(Some(mode));
        Ok(Scope::NodesWithin(MODE_PERIOD))
    }

    /// Opens the breaker until the store has answered and received the invalidations that it missed.
    pub(crate) fn trip(&self) {
        Inner::trip(&self.inner);
    }

    async fn within<T>(&self, limit: TimeLimit, operation: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.unless_open(with_deadline(limit, operation)).await
    }

    async fn unless_open<T>(&self, operation: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        if Inner::is_open(&self.inner) {
            return Err(suspended(self.inner.breaker.last_error()));
        }
        self.counted(operation.await)
    }

    /// Returns the statistics; `kind` is the name of the store's type.
    pub(crate) fn stats(&self, kind: &'static str) -> StoreStats {
        let store = match kind {
            "Redis" => "redis",
            "Memcached" => "memcached",
            other => other,
        };
        StoreStats {
            suspended: Some(self.inner.breaker.is_open()),
            outbox_tags: Some(self.inner.outbox.owed() as u64),
            operations: self.inner.operations.stats(),
            servers: self.inner.remote.servers(),
            ..StoreStats::new(store)
        }
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
    /// Counts an operation, and how long it takes.
    async fn timed<T>(&self, operation: Operation, running: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let began = Instant::now();
        let outcome = running.await;
        self.operations.ended(operation, began, &outcome);
        outcome
    }

    /// Counts a failure or a success; returns whether there were too many consecutive failures.
    fn count<T>(inner: &Arc<Self>, outcome: &Result<T, Error>) -> bool {
        inner.breaker.note(outcome);
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
        let answer = with_deadline(self.timeouts.of_invalidations(), self.remote.epoch()).await;
        self.breaker.note(&answer);
        if answer.is_err() {
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
        if with_deadline(self.timeouts.of_reads(), self.remote.epoch()).await.is_err() {
            return false;
        }
        // An invalidation that failed meanwhile is in the outbox by now, or opens the breaker again.
        self.breaker.close(|| self.outbox.is_empty())
    }

    /// Invalidates part by part, each within the limit. After a failure, some parts may have taken effect, and all must be repeated;
    /// all parts have taken effect if the error is that replicas did not confirm one.
    async fn carry_out(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        let (mut receipt, mut unconfirmed) = (None::<Receipt>, None);
        for part in invalidation.parts(MAX_TAGS_PER_PART) {
            let invalidating = with_deadline(self.timeouts.of_invalidations(), self.remote.invalidate(&part));
            let outcome = self.timed(Operation::Invalidate, invalidating).await;
            self.breaker.note(&outcome);
            match outcome {
                // The earliest epoch and the weakest scope are those that hold for the tags of every part.
                Ok(next) => receipt = Some(receipt.map_or(next, |first| Receipt { scope: first.scope.and(next.scope), ..first })),
                Err(error) if error.is_unconfirmed() => unconfirmed = Some(error),
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = unconfirmed {
            return Err(error);
        }
        let receipt = receipt.ok_or_else(|| Error::unavailable("an invalidation has at least one part"))?;
        Ok(Receipt { tag_count: invalidation.tags().len(), ..receipt })
    }

    /// Logs that the store owes invalidations, once and then once a minute.
    fn report_owed(&self) {
        if let Some(unreported) = self.owed_reports.pass() {
            let owed = self.outbox.owed();
            tracing::warn!(owed, unreported, "an invalidation failed, and is repeated when the cache's store answers again");
        }
    }

    /// Invalidates now, or adds the invalidation to the outbox.
    async fn invalidate(inner: Arc<Self>, invalidation: Invalidation) -> Result<Receipt, Error> {
        let outcome = match Self::is_open(&inner) {
            true => Err(suspended(inner.breaker.last_error())),
            false => inner.carry_out(&invalidation).await,
        };
        // An unconfirmed invalidation holds on this server. If another server takes over without it, that one's clock is behind the
        // epoch that this node has seen, and begins a new incarnation.
        if outcome.as_ref().is_err_and(|error| !error.is_invalid_input() && !error.is_unconfirmed()) {
            inner.outbox.add(invalidation);
            inner.report_owed();
            Self::trip(&inner);
        }
        outcome
    }
}

/// How often the mode is read while the cache is bypassed.
const MODE_PERIOD: Duration = Duration::from_secs(1);

/// Reads the clock once, and with it the mode. The next read can begin a period later.
async fn read_mode<R: RemoteStore>(store: Weak<Inner<R>>, limit: TimeLimit, running: Running) {
    if let Some(inner) = store.upgrade() {
        let outcome = with_deadline(limit, inner.remote.epoch()).await;
        inner.breaker.note(&outcome);
    }
    sleep(MODE_PERIOD).await;
    drop(running);
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
        inner.breaker.remind(inner.outbox.owed());
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
        let getting = self.inner.remote.get(key, known, self.inner.timeouts.read);
        let read = self.counted(self.inner.timed(Operation::Get, getting).await)?;
        // The lookup that reads the mode obeys it.
        match self.inner.remote.mode().get() {
            CacheMode::Bypass => Ok(ReadOutcome { found: None, epoch: None }),
            CacheMode::Enabled | CacheMode::ReadOnly => Ok(read),
        }
    }

    pub(crate) async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        let putting = with_deadline(self.inner.timeouts.of_stores(), self.inner.remote.put(key, stored));
        self.unless_open(self.inner.timed(Operation::Put, putting)).await
    }

    pub(crate) async fn replace(&self, key: &Key, present: &Stored, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        let putting = with_deadline(self.inner.timeouts.of_stores(), self.inner.remote.replace(key, present, stored));
        self.unless_open(self.inner.timed(Operation::Put, putting)).await
    }

    pub(crate) async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        let asking = with_deadline(self.inner.timeouts.of_reads(), self.inner.remote.is_alive(born, tags));
        self.unless_open(self.inner.timed(Operation::IsAlive, asking)).await
    }

    /// Marks the tags, unless the breaker is open; nothing is stored then.
    pub(crate) async fn hold_tags(&self, tags: &[Tag], writer: u64, life: Duration) -> Result<(), Error> {
        for part in tags.chunks(MAX_TAGS_PER_PART) {
            self.within(self.inner.timeouts.of_invalidations(), self.inner.remote.hold_tags(part, writer, life)).await?;
        }
        Ok(())
    }

    pub(crate) async fn release_tags(&self, tags: &[Tag], writer: u64) -> Result<(), Error> {
        for part in tags.chunks(MAX_TAGS_PER_PART) {
            self.within(self.inner.timeouts.of_invalidations(), self.inner.remote.release_tags(part, writer)).await?;
        }
        Ok(())
    }

    /// Spawned: if the caller is dropped, the invalidation is completed, or put into the outbox.
    pub(crate) async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        let under_way = UnderWay::begin(&self.inner, owed_tags(invalidation));
        let invalidating = Inner::invalidate(Arc::clone(&self.inner), invalidation.clone());
        let task = tokio::spawn(async move {
            let _under_way = under_way;
            invalidating.await
        });
        task.await.unwrap_or_else(|failure| Err(Error::unavailable("the invalidation did not finish").with_source(failure)))
    }
}

impl<R: RemoteStore> Resilient<R> {
    /// Returns the number of tags that the store has yet to invalidate, and makes sure that a task retries it.
    pub(crate) fn owed(&self) -> usize {
        Inner::is_open(&self.inner);
        // Read in this order: an invalidation that fails is added to the outbox before it is no longer under way.
        let under_way = self.inner.under_way.load(Ordering::Acquire);
        under_way + self.inner.outbox.owed()
    }
}

/// An invalidation that has begun, counted until this is dropped.
struct UnderWay<R> {
    store: Arc<Inner<R>>,
    tags: usize,
}

impl<R> UnderWay<R> {
    fn begin(store: &Arc<Inner<R>>, tags: usize) -> Self {
        store.under_way.fetch_add(tags, Ordering::Relaxed);
        Self { store: Arc::clone(store), tags }
    }
}

impl<R> Drop for UnderWay<R> {
    fn drop(&mut self) {
        self.store.under_way.fetch_sub(self.tags, Ordering::Release);
    }
}

impl<R: FetchLocks> Resilient<R> {
    pub(crate) async fn lock_fetch(&self, key: &Key, life: Duration) -> Result<FetchLock, Error> {
        self.within(self.inner.timeouts.of_reads(), self.inner.remote.lock_fetch(key, life)).await
    }

    pub(crate) async fn unlock_fetch(&self, key: &Key) {
        // An error has no effect: a lock that cannot be released expires.
        let outcome = with_deadline(self.inner.timeouts.of_reads(), self.inner.remote.unlock_fetch(key)).await;
        self.inner.breaker.note(&outcome);
    }
}

impl<R> Clone for Resilient<R> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}
