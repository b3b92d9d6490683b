//! Memory near, a remote store far.

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
use copies::Copies;
use follower::{FeedFollower, follow};

/// Memory in front of a store that all nodes share.
///
/// What this node has met is kept in its memory, as copies that are used only as long as the far store would have them used:
///
/// | made by | a hit from memory costs | the promise holds |
/// |---|---|---|
/// | [`Tiered::new`] | a look at the far store's clock, some bytes | on all nodes, at once |
/// | [`Tiered::lease`] | nothing | on the node that invalidates, at once; on the others, after so long at the latest |
///
/// When the far store cannot be reached, handlers answer: copies are not used beyond their lease, since nobody can tell what was
/// invalidated meanwhile.
///
/// A lease takes a store that announces what is invalidated, as Redis does. memcached does not: in front of it, a lease does not
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
    near: Arc<Copies>,
    far: Arc<F>,
    mode: Mode,
}

enum Mode {
    /// Each use of a copy is preceded by a look at the clock.
    Strict,
    /// Copies are used without asking while the lease is valid.
    Lease(Lease),
}

struct Lease {
    follower: Arc<FeedFollower>,
    following: LoneTask,
    /// What follows, in the runtime of a request: there may be none where a cache is made, and it may end before the cache does.
    follow: Box<dyn Fn(Running) -> Following + Send + Sync>,
}

type Following = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<F: SharedStore> Tiered<F> {
    /// Memory in front of `far`, each use of which is preceded by a look at the far store's clock. Copies take as many bytes as `near`
    /// may.
    pub fn new(near: Memory, far: F) -> Self {
        Self { near: Arc::new(Copies::new(near)), far: Arc::new(far), mode: Mode::Strict }
    }
}

impl<F: InvalidationFeed> Tiered<F> {
    /// Uses copies without asking, for at most `span` after they may have been invalidated by another node; a second is usual.
    ///
    /// The node reads the far store's announcements four times in a span. That costs Redis one small script each time, and may take a
    /// second: slow announcements are not counted among the failures that suspend a store.
    ///
    /// Two kinds of bursts make a node drop all its copies: an invalidation of more than 500 tags (or 16,000 bytes of them), which is
    /// announced without its tags, and announcements of more than 256 KiB since the node last read them, which it skips. Each dropped
    /// copy costs one round trip when its page is next requested; no handler runs.
    ///
    /// What this node invalidates itself, it gives up at once. The time
    /// is measured by this node's own monotonic clock, and counts from before a reading was asked for: neither a slow network nor a
    /// process that was suspended makes it longer.
    #[must_use]
    pub fn lease(self, span: Duration) -> Self {
        let follower = Arc::new(FeedFollower::new(span, Clock::default()));
        let (near, far, follows) = (Arc::downgrade(&self.near), Arc::clone(&self.far), Arc::clone(&follower));
        let follow = move |running| -> Following {
            let following = follow(near.clone(), Arc::clone(&far), Arc::clone(&follows));
            Box::pin(async move {
                let _running: Running = running;
                following.await;
            })
        };
        let lease = Lease { follower, following: LoneTask::default(), follow: Box::new(follow) };
        Self { mode: Mode::Lease(lease), ..self }
    }
}

impl<F: SharedStore> Tiered<F> {
    /// Answers from a copy that the far store, asked for its clock, says is usable still.
    async fn get_strictly(&self, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        // Before anything else is read: whatever is invalidated from here on shows in a later epoch.
        let epoch = self.far.epoch().await?;
        if let Some(copy) = self.near.any(key) {
            let is_proven = copy.born().incarnation() == epoch.incarnation() && copy.validated_at() == epoch;
            if is_proven || self.far.is_alive(copy.born(), copy.tags()).await? {
                copy.set_validated_at(proof(&copy, epoch));
                return Ok(ReadOutcome { found: Some((copy, Validity::Valid)), epoch: Some(epoch) });
            }
        }
        let read = self.far.get(key, known).await?;
        if let Some((stored, Validity::Valid)) = &read.found {
            self.near.keep(key, stored, proof(stored, epoch));
        }
        Ok(read)
    }

    /// Asks the far store, and keeps a copy that is good as long as nothing is announced about it.
    async fn get_from_afar(&self, lease: &Lease, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        lease.following.start(|running| (lease.follow)(running));
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

/// No clock stands there.
const UNPROVEN: Epoch = Epoch::new(0);

/// What a copy that was found usable after `epoch` may be noted to be usable at. A copy has the number alone noted: that of another
/// incarnation, which ended in between, would be taken for one of its own that is yet to come.
fn proof(copy: &Stored, epoch: Epoch) -> Epoch {
    if copy.born().incarnation() == epoch.incarnation() { epoch } else { UNPROVEN }
}

#[async_trait]
impl<F: SharedStore> Backend for Tiered<F> {
    fn get_now(&self, key: &Key) -> Option<ReadOutcome> {
        let Mode::Lease(lease) = &self.mode else { return None };
        // The lease is looked at first: what is announced in between has been applied when the copy is judged.
        let epoch = lease.follower.is_current()?;
        let copy = self.near.usable(key)?;
        Some(ReadOutcome { found: Some((copy, Validity::Valid)), epoch: Some(epoch) })
    }

    async fn get(&self, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        match &self.mode {
            Mode::Strict => self.get_strictly(key, known).await,
            Mode::Lease(lease) => self.get_from_afar(lease, key, known).await,
        }
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        let put = self.far.put(key, Arc::clone(&stored)).await;
        match (&put, &self.mode) {
            // Proven by the first who uses it.
            (Ok(PutOutcome::Stored), Mode::Strict) => self.near.keep(key, &stored, UNPROVEN),
            // What was expired while its handler ran is kept, too, and only the far store can tell: the next read copies it. In any
            // other case, what was there before is not what the handler says now.
            _ => self.near.forget(key),
        }
        put
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        self.far.is_alive(born, tags).await
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        // First here, where it cannot fail.
        self.near.invalidate(invalidation);
        let receipt = self.far.invalidate(invalidation).await;
        // And again: until now, others of this node could read and keep what was there before.
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
        let mode = match &self.mode {
            Mode::Strict => "strict",
            Mode::Lease(_) => "lease",
        };
        f.debug_struct("Tiered").field("far", &self.far).field("mode", &mode).finish_non_exhaustive()
    }
}
