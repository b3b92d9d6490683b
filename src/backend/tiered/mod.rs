//! Memory in front of a remote store.

mod copies;
mod follower;
mod grace;
#[cfg(feature = "memory")]
pub(crate) mod lease;
mod pace;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;

use super::lone_task::{LoneTask, Running};
use super::{
    cache_mode::CacheMode,
    contract::{Backend, FetchLock, Invalidation, PutOutcome, ReadOutcome, Receipt, Scope, within},
    feed::{InvalidationFeed, SharedStore},
    health::Health,
    memory::Memory,
    store_stats::StoreStats,
    validity::Validity,
};
use crate::{
    clock::{Clock, Timestamp},
    entry::{epoch::Epoch, stored::Stored},
    error::Error,
    key::Key,
    tag::Tag,
};
use copies::{NEVER_VALIDATED, NearCopies};
use follower::{FeedFollower, follow};
use grace::{Grace, Reading};

/// Memory in front of a store that all nodes share.
///
/// Entries that this node has read are kept in its memory. Such a copy is used only while the far store would return the entry:
///
/// | made by | cost of a hit from memory | scope of the promise |
/// |---|---|---|
/// | [`Tiered::new`] | one read of the far store's clock, a few bytes | all nodes, immediately |
/// | [`Tiered::lease`] | nothing | the node that invalidates, immediately; other nodes, within the lease |
///
/// A copy is fresh for its response's whole lifetime at most, from the moment at which this node took it and by this node's monotonic
/// clock, whatever the wall clock of the node that stored it showed.
///
/// If the far store cannot be reached, the handler answers. Copies are not used after their lease has ended, since invalidations may
/// have been missed. With an [`outage_grace`](Self::outage_grace), copies answer for some time nevertheless.
///
/// A lease needs a store that publishes its invalidations, as Redis does. memcached does not, so a lease in front of it does not
/// compile.
///
/// ```no_run
/// # #[cfg(not(feature = "redis"))]
/// # fn main() {}
/// # #[cfg(feature = "redis")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), larder::Error> {
/// use std::time::Duration;
/// use larder::{Cache, Memory, Redis, Tiered};
///
/// let redis = Redis::connect("redis://localhost").await?;
/// let cache = Cache::new(Tiered::new(Memory::new(64 << 20), redis).lease(Duration::from_secs(1)));
/// # let _ = cache;
/// # Ok(())
/// # }
/// ```
pub struct Tiered<F> {
    near: Arc<NearCopies>,
    far: Arc<F>,
    validation: Validation,
    /// `None` if copies never answer while the far store cannot be reached.
    grace: Option<Grace>,
    /// Measures the lease and the grace.
    clock: Clock,
    /// Measures the lifetimes of copies.
    cache_clock: RwLock<Clock>,
}

/// How a copy is validated before it is used.
enum Validation {
    /// By a read of the far store's clock before each use.
    Strict,
    /// By a lease, without contacting the far store.
    Leased(Following),
}

/// The task that follows the feed, and the lease that it renews.
struct Following {
    follower: Arc<FeedFollower>,
    task: LoneTask,
    /// Creates the task's future. The task is spawned by a request: a cache may be created outside of a runtime, and may outlive one.
    start: Box<dyn Fn(Running) -> TaskFuture + Send + Sync>,
}

type TaskFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<F: SharedStore> Tiered<F> {
    /// Creates a store that reads the clock of `far` before each use of a copy. Copies take as many bytes as `near` may.
    pub fn new(near: Memory, far: F) -> Self {
        Self {
            near: Arc::new(NearCopies::new(near)),
            far: Arc::new(far),
            validation: Validation::Strict,
            grace: None,
            clock: Clock::default(),
            cache_clock: RwLock::default(),
        }
    }

    /// Answers from copies while the far store cannot be reached, for at most `grace` after the store was last known to agree with
    /// them. Off by default, and with a duration of zero: the handler answers all requests during an outage.
    ///
    /// What it costs is a part of the promise, during an outage only: what *other* nodes invalidate meanwhile is not seen here until the
    /// store is reached again, or until `grace` has passed. Choose the longest time for which an outdated response does less harm than
    /// the load of all requests on the handlers. A grace that is shorter than the lease has no effect.
    ///
    /// - What *this* node invalidates, expires or clears is not served again, whether the call succeeds or fails and is
    ///   repeated later. "This node" is this cache with its clones: not another cache over the same store.
    /// - A copy answers while it is fresh. A stale one answers only where a handler fails and the route or the response allows that
    ///   (`stale_if_error`); nothing is refreshed.
    /// - The mode that all nodes share, as this node has read it last, is obeyed.
    /// - If there is no copy, the handler answers. Its response is not stored, neither in the far store nor near.
    /// - When the store answers again, it decides about every copy before the copy is used. After a restart without its data, or with
    ///   another clock, no copy is used.
    ///
    /// With a lease, the time counts from the last complete poll of the feed. Otherwise it counts for each copy from the latest moment at
    /// which it was known to be valid, by reads of the store's clock, and up to a sixteenth of it may be lost. Both are measured by
    /// this node's monotonic clock. Copies are lost when the process ends: a node that starts during an outage has none.
    ///
    /// No request waits longer than without it: each is answered from a copy after the failure or the timeout after which the handler would have
    /// run. Such a response is a hit with the reason [`StoreOutage`](crate::Reason::StoreOutage), and
    /// [`Stats::outage_hits`](crate::Stats::outage_hits) counts it.
    /// [`Health::grace_left`](crate::Health::grace_left) shows how long copies will answer.
    #[must_use]
    pub fn outage_grace(self, grace: Duration) -> Self {
        Self { grace: (!grace.is_zero()).then(|| Grace::new(grace)), ..self }
    }
}

impl<F: InvalidationFeed> Tiered<F> {
    /// Uses copies without contacting the far store, for at most `span` after another node invalidated them; a second is usual.
    ///
    /// The node polls the far store's feed of invalidations four times per span, at most every 5 ms; a span of more than a year counts as a
    /// year, and with one of zero every read contacts the far store. Each poll costs Redis one small script. It may take
    /// up to a second: slow polls are not counted among the failures that suspend a store.
    ///
    /// Two kinds of bursts make a node drop all its copies: an invalidation of more than 500 tags (or 16,000 bytes of them), which is
    /// published without its tags, and more than 256 KiB of invalidations since the last poll, which the node skips. For each dropped
    /// copy, the next request costs one round trip; no handler runs.
    ///
    /// The node announces the lease in the far store, so that the [`Receipt::scope`](crate::Receipt::scope) of every node, also of one without
    /// copies such as a command-line tool, is [`Scope::NodesWithin`] the longest lease in use. An announcement costs one small script every 10
    /// seconds, and is forgotten 20 seconds after the last lease. Without an announcement, copies are not used.
    ///
    /// Invalidations by this node apply to its copies immediately. The lease is measured by this node's own monotonic clock, from the
    /// moment before a poll is sent: neither a slow network nor a suspended process makes it longer.
    #[must_use]
    pub fn lease(self, span: Duration) -> Self {
        /// A node that has not followed the feed for longer than a year will find a gap in it.
        const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
        let follower = Arc::new(FeedFollower::new(span.min(LONGEST), self.clock.clone()));
        let (near, far, followed) = (Arc::downgrade(&self.near), Arc::clone(&self.far), Arc::clone(&follower));
        let start = move |running| -> TaskFuture {
            let following = follow(near.clone(), Arc::clone(&far), Arc::clone(&followed));
            Box::pin(async move {
                let _running: Running = running;
                following.await;
            })
        };
        let following = Following { follower, task: LoneTask::default(), start: Box::new(start) };
        Self { validation: Validation::Leased(following), ..self }
    }

    /// Measures the lease and the grace by `clock`, for tests. The lifetimes of copies are measured by the clock of the cache
    /// ([`Cache::with_clock`](crate::Cache::with_clock)).
    #[must_use]
    pub fn with_clock(self, clock: impl Into<Clock>) -> Self {
        let tiered = Self { clock: clock.into(), ..self };
        match &tiered.validation {
            Validation::Strict => tiered,
            Validation::Leased(following) => {
                let span = following.follower.span();
                tiered.lease(span)
            }
        }
    }
}

impl<F: SharedStore> Tiered<F> {
    /// Returns the time by which the lifetimes of copies are measured.
    fn now(&self) -> Timestamp {
        self.cache_clock.read().unwrap_or_else(PoisonError::into_inner).now()
    }

    /// Returns a copy if the far store's clock shows that it is still valid.
    async fn get_strict(&self, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        let began = Instant::now();
        let (sent_at, near) = (self.clock.now(), self.near.epoch());
        // Read before anything else: every later invalidation shows in a later epoch.
        let epoch = self.far.epoch().await?;
        if let Some(grace) = &self.grace {
            grace.note(Reading { sent_at, near, far: epoch });
        }
        if self.far.shared_mode() == CacheMode::Bypass {
            // Read with the clock: the copies are not used from now on.
            return Ok(ReadOutcome::miss(None));
        }
        within(self.far.lookup_limit(), began, self.get_validated(key, known, epoch)).await
    }

    /// Returns a copy if it is valid at `epoch`; otherwise reads the far store.
    async fn get_validated(&self, key: &Key, known: &[Tag], epoch: Epoch) -> Result<ReadOutcome, Error> {
        if let Some(copy) = self.near.any(key) {
            let is_validated = copy.born().incarnation() == epoch.incarnation() && copy.validated_at() == epoch;
            if is_validated || self.far.is_alive(copy.born(), copy.tags()).await? {
                copy.set_validated_at(validation_epoch(&copy, epoch));
                self.near.answered(key, &copy);
                return Ok(ReadOutcome { found: Some((copy, Validity::Valid)), epoch: Some(epoch) });
            }
        }
        let mut read = self.far.get(key, known).await?;
        match &mut read.found {
            Some((stored, Validity::Valid)) => {
                *stored = self.near.keep(key, stored, validation_epoch(stored, epoch), self.now());
            }
            _ => self.forget_refuted(key, &read),
        }
        Ok(read)
    }

    /// Reads the far store, and keeps a copy that is valid until the feed invalidates it.
    async fn get_leased(&self, following: &Following, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        following.task.start(|running| (following.start)(running));
        if let Some(read) = self.get_now(key) {
            return Ok(read);
        }
        // A suspended store would find nothing, which is no error; the copies are used only after an error.
        if self.grace.is_some() && self.far.is_suspended() {
            return Err(Error::suspended());
        }
        let before = self.near.epoch();
        let mut read = self.far.get(key, known).await?;
        match &mut read.found {
            Some((stored, Validity::Valid)) => *stored = self.near.keep(key, stored, before, self.now()),
            _ => self.forget_refuted(key, &read),
        }
        Ok(read)
    }

    /// Drops a copy of what the far store has looked up and not found valid, so that it does not answer in a later outage.
    fn forget_refuted(&self, key: &Key, read: &ReadOutcome) {
        if self.grace.is_some() && read.epoch.is_some() {
            self.near.forget(key);
        }
    }

    /// Returns for how long copies may still answer without the far store; `None` if they never do.
    fn grace_left(&self) -> Option<Duration> {
        let grace = self.grace.as_ref()?;
        let agreed_at = match &self.validation {
            Validation::Strict => grace.latest(),
            Validation::Leased(following) => following.follower.lease().agreed_at(),
        };
        Some(agreed_at.map_or(Duration::ZERO, |agreed_at| (agreed_at + grace.span()).since(self.clock.now())))
    }

    /// Spawned: if the caller is dropped, copies that were taken while the far store was invalidating are invalidated as well. Without a
    /// grace, they would not outlive their validation by the far store.
    async fn invalidate_to_the_end(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        let (near, far, invalidation) = (Arc::clone(&self.near), Arc::clone(&self.far), invalidation.clone());
        let task = tokio::spawn(async move {
            let receipt = far.invalidate(&invalidation).await;
            near.invalidate(&invalidation);
            receipt
        });
        task.await.unwrap_or_else(|failure| Err(Error::unavailable("the invalidation did not finish").with_source(failure)))
    }
}

/// Returns the epoch to remember for a copy that was found valid after `epoch`. Only the number is remembered: that of an incarnation
/// that has ended would be mistaken for a later number of the copy's own incarnation.
fn validation_epoch(copy: &Stored, epoch: Epoch) -> Epoch {
    if copy.born().incarnation() == epoch.incarnation() { epoch } else { NEVER_VALIDATED }
}

impl<F: SharedStore> Tiered<F> {
    /// Keeps a copy of what was put into the far store, or drops the present copy.
    fn keep_or_forget(&self, key: &Key, stored: &Arc<Stored>, put: &Result<PutOutcome, Error>) {
        match (put, &self.validation) {
            // Validated when it is first used.
            (Ok(PutOutcome::Stored), Validation::Strict) => _ = self.near.keep(key, stored, NEVER_VALIDATED, self.now()),
            // With a lease, the next read copies the entry: it may have been expired while its handler ran, which only the far store
            // knows. After a failure, the old copy is dropped, since the handler has returned a newer response.
            _ => self.near.forget(key),
        }
    }
}

#[async_trait]
impl<F: SharedStore> Backend for Tiered<F> {
    fn get_now(&self, key: &Key) -> Option<ReadOutcome> {
        let Validation::Leased(following) = &self.validation else { return None };
        // The lease is checked first: invalidations that are applied in between are then taken into account for the copy.
        let epoch = following.follower.leased_epoch()?;
        let copy = self.near.usable(key)?;
        Some(ReadOutcome { found: Some((copy, Validity::Valid)), epoch: Some(epoch) })
    }

    async fn get(&self, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        match &self.validation {
            Validation::Strict => self.get_strict(key, known).await,
            Validation::Leased(following) => self.get_leased(following, key, known).await,
        }
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        let put = self.far.put(key, Arc::clone(&stored)).await;
        self.keep_or_forget(key, &stored, &put);
        put
    }

    async fn replace(&self, key: &Key, present: &Stored, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        let put = self.far.replace(key, present, stored).await;
        // Not kept here: the far store compares and stores in one step, and another response may have followed since.
        self.near.forget(key);
        put
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        self.far.is_alive(born, tags).await
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        // First on this node, where it cannot fail.
        self.near.invalidate(invalidation);
        let receipt = match &self.grace {
            None => {
                let receipt = self.far.invalidate(invalidation).await;
                // And again: until now, concurrent requests of this node could read and copy the invalidated entries.
                self.near.invalidate(invalidation);
                receipt
            }
            Some(_) => self.invalidate_to_the_end(invalidation).await,
        };
        match &self.validation {
            Validation::Strict => receipt,
            // Other nodes most likely have the same lease, whether the far store knows of them or not.
            Validation::Leased(following) => receipt.map(|receipt| {
                let scope = receipt.scope.and(Scope::NodesWithin(following.follower.span()));
                Receipt { scope, ..receipt }
            }),
        }
    }

    async fn hold_tags(&self, tags: &[Tag], writer: u64, life: Duration) -> Result<(), Error> {
        self.far.hold_tags(tags, writer, life).await
    }

    async fn release_tags(&self, tags: &[Tag], writer: u64) -> Result<(), Error> {
        self.far.release_tags(tags, writer).await
    }

    fn copy_in_outage(&self, key: &Key) -> Option<Arc<Stored>> {
        let grace = self.grace.as_ref()?;
        if self.far.shared_mode() == CacheMode::Bypass {
            return None;
        }
        // As with a lease, the time is read before the copy.
        let now = self.clock.now();
        match &self.validation {
            Validation::Strict => {
                let copy = self.near.any(key)?;
                let agreed = grace.agreed_since(copy.validated_at(), now)?;
                self.near.is_untouched_since(agreed, &copy).then(|| {
                    self.near.answered(key, &copy);
                    copy
                })
            }
            Validation::Leased(following) if following.follower.lease().is_in_grace(grace.span(), now) => self.near.usable(key),
            Validation::Leased(_) => None,
        }
    }

    /// A copy is read at the epoch of the far store's clock, or up to which its feed is applied.
    fn reads_are_exact(&self) -> bool {
        self.far.reads_are_exact()
    }

    fn lookup_limit(&self) -> Option<Duration> {
        self.far.lookup_limit()
    }

    fn use_clock(&self, clock: &Clock) {
        self.near.use_clock(clock);
        clock.clone_into(&mut self.cache_clock.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn owed(&self) -> usize {
        self.far.owed()
    }

    async fn lock_fetch(&self, key: &Key, life: Duration) -> Result<FetchLock, Error> {
        self.far.lock_fetch(key, life).await
    }

    async fn unlock_fetch(&self, key: &Key) {
        self.far.unlock_fetch(key).await;
    }

    async fn health(&self) -> Health {
        let health = self.far.health().await;
        let grace_left = self.grace_left().filter(|_| !health.is_healthy());
        Health { grace_left, ..health }
    }

    fn shared_mode(&self) -> CacheMode {
        self.far.shared_mode()
    }

    async fn set_shared_mode(&self, mode: CacheMode) -> Result<Scope, Error> {
        let scope = self.far.set_shared_mode(mode).await?;
        Ok(match (&self.validation, scope) {
            (_, Scope::Process) | (Validation::Strict, _) => scope,
            // Other nodes most likely have the same lease.
            (Validation::Leased(following), _) => scope.and(Scope::NodesWithin(following.follower.span())),
        })
    }

    fn stats(&self) -> Vec<StoreStats> {
        let mut stats = vec![self.near.stats()];
        stats.extend(self.far.stats());
        stats
    }

    async fn install_function(&self) -> Result<(), Error> {
        self.far.install_function().await
    }
}

impl<F: fmt::Debug> fmt::Debug for Tiered<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lease = match &self.validation {
            Validation::Strict => None,
            Validation::Leased(following) => Some(following.follower.span()),
        };
        f.debug_struct("Tiered")
            .field("near", &self.near)
            .field("far", &self.far)
            .field("lease", &lease)
            .field("outage_grace", &self.grace.as_ref().map(Grace::span))
            .finish_non_exhaustive()
    }
}
