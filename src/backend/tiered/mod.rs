//! Memory in front of a remote store.

mod copies;
mod follower;
#[cfg(feature = "memory")]
pub(crate) mod lease;
mod pace;
#[cfg(test)]
mod tests;

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::lone_task::{LoneTask, Running};
use super::{
    contract::{Backend, FetchLock, Invalidation, PutOutcome, ReadOutcome, Receipt},
    feed::{InvalidationFeed, SharedStore},
    memory::Memory,
    validity::Validity,
};
use crate::{
    clock::Clock,
    entry::{epoch::Epoch, stored::Stored},
    error::Error,
    key::Key,
    tag::Tag,
};
use copies::NearCopies;
use follower::{FeedFollower, follow};

/// Memory in front of a store that all nodes share.
///
/// Entries that this node has read are kept in its memory. Such a copy is used only while the far store would return the entry:
///
/// | made by | cost of a hit from memory | scope of the promise |
/// |---|---|---|
/// | [`Tiered::new`] | one read of the far store's clock, a few bytes | all nodes, immediately |
/// | [`Tiered::lease`] | nothing | the node that invalidates, immediately; other nodes, within the lease |
///
/// If the far store cannot be reached, the handler answers. Copies are not used after their lease has ended, since invalidations may
/// have been missed.
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
    clock: Clock,
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
            clock: Clock::default(),
        }
    }
}

impl<F: InvalidationFeed> Tiered<F> {
    /// Uses copies without contacting the far store, for at most `span` after another node invalidated them; a second is usual.
    ///
    /// The node polls the far store's feed of invalidations four times per span. Each poll costs Redis one small script. It may take
    /// up to a second: slow polls are not counted among the failures that suspend a store.
    ///
    /// Two kinds of bursts make a node drop all its copies: an invalidation of more than 500 tags (or 16,000 bytes of them), which is
    /// published without its tags, and more than 256 KiB of invalidations since the last poll, which the node skips. For each dropped
    /// copy, the next request costs one round trip; no handler runs.
    ///
    /// Invalidations by this node apply to its copies immediately. The lease is measured by this node's own monotonic clock, from the
    /// moment before a poll is sent: neither a slow network nor a suspended process makes it longer.
    #[must_use]
    pub fn lease(self, span: Duration) -> Self {
        let follower = Arc::new(FeedFollower::new(span, self.clock.clone()));
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

    /// Measures the lease by `clock`, for tests. [`Cache::with_clock`](crate::Cache::with_clock) does not do so: its clock is that of one
    /// handle, and a store may have several.
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
    /// Returns a copy if the far store's clock shows that it is still valid.
    async fn get_strict(&self, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        // Read before anything else: every later invalidation shows in a later epoch.
        let epoch = self.far.epoch().await?;
        if let Some(copy) = self.near.any(key) {
            let is_validated = copy.born().incarnation() == epoch.incarnation() && copy.validated_at() == epoch;
            if is_validated || self.far.is_alive(copy.born(), copy.tags()).await? {
                copy.set_validated_at(validation_epoch(&copy, epoch));
                return Ok(ReadOutcome { found: Some((copy, Validity::Valid)), epoch: Some(epoch) });
            }
        }
        let read = self.far.get(key, known).await?;
        if let Some((stored, Validity::Valid)) = &read.found {
            self.near.keep(key, stored, validation_epoch(stored, epoch));
        }
        Ok(read)
    }

    /// Reads the far store, and keeps a copy that is valid until the feed invalidates it.
    async fn get_leased(&self, following: &Following, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        following.task.start(|running| (following.start)(running));
        if let Some(read) = self.get_now(key) {
            return Ok(read);
        }
        let before = self.near.epoch();
        let read = self.far.get(key, known).await?;
        if let Some((stored, Validity::Valid)) = &read.found {
            self.near.keep(key, stored, before);
        }
        Ok(read)
    }
}

/// The epoch of no clock.
const NEVER_VALIDATED: Epoch = Epoch::new(0);

/// Returns the epoch to remember for a copy that was found valid after `epoch`. Only the number is remembered: that of an incarnation
/// that has ended would be mistaken for a later number of the copy's own incarnation.
fn validation_epoch(copy: &Stored, epoch: Epoch) -> Epoch {
    if copy.born().incarnation() == epoch.incarnation() { epoch } else { NEVER_VALIDATED }
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
        match (&put, &self.validation) {
            // Validated when it is first used.
            (Ok(PutOutcome::Stored), Validation::Strict) => self.near.keep(key, &stored, NEVER_VALIDATED),
            // With a lease, the next read copies the entry: it may have been expired while its handler ran, which only the far store
            // knows. After a failure, the old copy is dropped, since the handler has returned a newer response.
            _ => self.near.forget(key),
        }
        put
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        self.far.is_alive(born, tags).await
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        // First on this node, where it cannot fail.
        self.near.invalidate(invalidation);
        let receipt = self.far.invalidate(invalidation).await;
        // And again: until now, concurrent requests of this node could read and copy the invalidated entries.
        self.near.invalidate(invalidation);
        receipt
    }

    async fn lock_fetch(&self, key: &Key, life: Duration) -> Result<FetchLock, Error> {
        self.far.lock_fetch(key, life).await
    }

    async fn unlock_fetch(&self, key: &Key) {
        self.far.unlock_fetch(key).await;
    }
}

impl<F: fmt::Debug> fmt::Debug for Tiered<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let validation = match &self.validation {
            Validation::Strict => "strict",
            Validation::Leased(_) => "leased",
        };
        f.debug_struct("Tiered").field("far", &self.far).field("validation", &validation).finish_non_exhaustive()
    }
}
