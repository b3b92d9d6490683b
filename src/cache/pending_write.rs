//! Writes that are pending: from before the commit until after the invalidation, responses with their tags are not stored.

use std::{fmt, mem, sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::oneshot};

use super::{
    Cache,
    limits::LONGEST,
    outage_log::{Effect, report},
    work::{WorkInProgress, WorkKind},
};
use crate::{
    backend::contract::{Invalidation, Receipt},
    error::Error,
    lists::IntoTags,
    tag::Tag,
    timer,
};

/// How long the store holds the tags of a writer that no longer renews its mark. Long enough for a process that is suspended for a moment.
const LEASE: Duration = Duration::from_secs(30);
/// How often the mark is renewed.
const RENEWAL: Duration = Duration::from_secs(10);
/// The pause before an invalidation is repeated that has failed, and the number of attempts. Stores over the network repeat it themselves.
const PAUSE: Duration = Duration::from_secs(1);
const ATTEMPTS: usize = 10;

impl Cache {
    /// Announces a write to what responses with `tags` are made of. From here on, no response with one of them is stored, and stored ones
    /// are stale: a route serves them only where it allows stale responses. Commit the write, then call [`PendingWrite::done`].
    ///
    /// ```
    /// # use larder::Cache;
    /// # struct Transaction;
    /// # impl Transaction { async fn commit(self) -> Result<(), larder::Error> { Ok(()) } }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder::Error> {
    /// # let (cache, id, transaction) = (Cache::in_memory(1 << 20), 7, Transaction);
    /// let write = cache.begin_write((format!("post:{id}"), "posts")).await?;
    /// transaction.commit().await?;
    /// write.done().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`invalidate_tags`](Self::invalidate_tags) alone removes what was stored before it. It does not remove what a handler that starts after
    /// it makes of old data, as from a replica of the database that lags behind; and it is lost if the process ends between the commit and the call.
    /// This closes both gaps.
    ///
    /// # What is promised
    ///
    /// On one node, and on all that share a store:
    ///
    /// - After `begin_write` has returned, until `done` returns, no response with the tags is stored, and none whose handler started before is served as
    ///   fresh.
    /// - After `done` has returned, what [`invalidate_tags`](Self::invalidate_tags) promises: no response whose handler started before the call is served. During
    ///   the [`hold`](PendingWrite::hold) that follows, none is stored either. So if each replica lags by less than the hold, no stored response is older than the
    ///   write. Handlers that read an old row answer their own requests with it.
    ///
    /// A node that answers from copies under a lease (`Tiered::lease`) follows within that lease, as after every invalidation.
    ///
    /// # When the writer does not get to the end
    ///
    /// | the writer ends | what follows |
    /// |---|---|
    /// | by dropping the guard, as when the commit has failed or the client has left | the tags are invalidated in the background, and then held for the hold |
    /// | with its process, before or after the commit | a shared store holds the tags until the end of the lease: for up to 30 seconds, since a living process renews it every 10 seconds. The first response with a tag that is to be stored after that is not stored, and invalidates the tag. No response whose handler started before the end of the lease is ever served as fresh; what was stored before is stale, and gone from that invalidation on |
    /// | with its process, during the hold | the same: the lease ends 30 seconds after the hold |
    /// | with its runtime | the same as with its process; also with a store in memory |
    ///
    /// So a lease that ends only costs misses. A process that is suspended for longer than its lease and goes on invalidates at its end, as always.
    ///
    /// # When a store forgets
    ///
    /// A store may evict its mark of a tag, or lose it in a failover. Responses can be stored then until the mark is renewed; `done` and the end of
    /// the hold invalidate them. What is lost is the promise for the time of the hold, and that for a process that ends just then. The same holds for a
    /// [`Backend`](crate::backend::Backend) that does not implement `hold_tags`. On Redis Cluster and memcached the lease is measured by the nodes' clocks: keep
    /// them within seconds of each other.
    ///
    /// # Cost
    ///
    /// A hit costs nothing more, in no store. The call costs an [`expire_tags`](Self::expire_tags) and a command that marks the tags; `done`, an
    /// `invalidate_tags` and another one. Requests for pages with these tags run their handlers meanwhile, each its own: keep the time short. Storing a
    /// response reads the marks of its tags in the command that reads the tags themselves.
    ///
    /// # Errors
    /// If a tag is empty or over 256 bytes, or if the store failed. Nothing is pending then; the write may go on, with `invalidate_tags` after it.
    pub async fn begin_write<S>(&self, tags: impl IntoTags<S>) -> Result<PendingWrite, Error> {
        let (tags, all_valid) = self.valid_tags(tags)?;
        all_valid?;
        // Made first: dropped from here on, it releases the tags.
        let write = PendingWrite::new(self.clone(), tags);
        write.written.hold_for(LEASE).await?;
        // Afterwards: a fetch that did not find the mark when it stored its response was born before this.
        self.expire(write.written.tags.clone()).await?;
        Ok(write)
    }
}

/// A write that is pending ([`Cache::begin_write`]). Dropped without [`done`](Self::done), it invalidates its tags in the background.
///
/// It must not be leaked (`mem::forget`): its tags would stay held.
#[must_use = "dropped at once, the write is over before it has begun"]
pub struct PendingWrite {
    written: Arc<Written>,
    hold: Duration,
    /// Tells the task that renews the mark how the write has ended.
    end: Option<oneshot::Sender<End>>,
}

/// What is written, and by whom.
struct Written {
    cache: Cache,
    tags: Vec<Tag>,
    writer: u64,
}

enum End {
    /// The tags are invalidated and released.
    Released,
    /// The tags are invalidated, and held for this time.
    Held(Duration),
    /// The guard was dropped.
    Dropped(Duration, WorkInProgress),
}

impl PendingWrite {
    fn new(cache: Cache, tags: Vec<Tag>) -> Self {
        let written = Arc::new(Written { cache, tags, writer: fastrand::u64(1..) });
        let (end, ended) = oneshot::channel();
        // Without a runtime, the mark is not renewed, and the store ends it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(Arc::clone(&written).renew(ended));
        }
        Self { written, hold: Duration::ZERO, end: Some(end) }
    }

    /// Keeps responses with the tags from being stored for this time after the invalidation; default: zero. It is for handlers that read
    /// from replicas: choose the longest lag that is to be expected. The tags are invalidated once more at its end.
    ///
    /// Meanwhile, each request for a page with the tags runs its handler. More than a year counts as a year. In a runtime without a timer, the store
    /// ends the hold, 30 seconds late.
    pub fn hold(mut self, after: Duration) -> Self {
        self.hold = after.min(LONGEST);
        self
    }

    /// Ends the write: invalidates the tags, as [`Cache::invalidate_tags`] does, and lets responses with them be stored again, after the
    /// [`hold`](Self::hold) if there is one. Call it after the commit.
    ///
    /// # Errors
    /// If the store failed: the promise does not hold yet. The invalidation is repeated in the background.
    pub async fn done(mut self) -> Result<Receipt, Error> {
        let held = self.written.hold_after(self.hold).await;
        let receipt = self.written.invalidate().await?;
        held?;
        if self.hold.is_zero() {
            self.written.release().await;
            self.end_by(End::Released);
        } else {
            self.end_by(End::Held(self.hold));
        }
        Ok(receipt)
    }

    fn end_by(&mut self, end: End) {
        // Without the task, which ends with its runtime, the lease ends by itself.
        if let Some(task) = self.end.take() {
            _ = task.send(end);
        }
    }
}

impl Drop for PendingWrite {
    fn drop(&mut self) {
        if self.end.is_some() {
            let work = self.written.cache.inner.work.begin(WorkKind::Invalidation);
            let hold = mem::take(&mut self.hold);
            self.end_by(End::Dropped(hold, work));
        }
    }
}

impl fmt::Debug for PendingWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingWrite").field("tags", &self.written.tags).field("hold", &self.hold).finish_non_exhaustive()
    }
}

impl Written {
    /// Renews the mark until the write has ended, and does what is left to do then.
    async fn renew(self: Arc<Self>, mut ended: oneshot::Receiver<End>) {
        let end = loop {
            match timer::timeout(RENEWAL, &mut ended).await {
                Ok(Ok(end)) => break end,
                // The guard sends an end before it is dropped.
                Ok(Err(_)) => return,
                Err(_) => {
                    if let Err(error) = self.hold_for(LEASE).await {
                        tracing::debug!(%error, "the mark of a pending write was not renewed");
                    }
                }
            }
        };
        let hold = match end {
            End::Released => return,
            End::Held(hold) => hold,
            End::Dropped(hold, work) => {
                if self.hold_after(hold).await.is_err() {
                    // The lease that is left has to do.
                    tracing::debug!("a hold after a write that was dropped is shorter than requested");
                }
                self.invalidate_at_last().await;
                drop(work);
                hold
            }
        };
        if !hold.is_zero() {
            if !timer::is_on() {
                return;
            }
            tokio::time::sleep(hold).await;
            self.invalidate_at_last().await;
        }
        self.release().await;
    }

    /// Marks the tags until a lease after the hold, if there is one, before they are invalidated: the mark may have lapsed, in a process that was
    /// suspended, and a response begun between the invalidation and the mark would be stored with an old row.
    async fn hold_after(&self, hold: Duration) -> Result<(), Error> {
        if hold.is_zero() { Ok(()) } else { self.hold_for(hold + LEASE).await }
    }

    async fn hold_for(&self, life: Duration) -> Result<(), Error> {
        self.cache.inner.backend.hold_tags(&self.tags, self.writer, life).await
    }

    /// A mark that cannot be removed lapses, which costs an invalidation more.
    async fn release(&self) {
        if let Err(error) = self.cache.inner.backend.release_tags(&self.tags, self.writer).await {
            tracing::debug!(%error, "the mark of a write that has ended was not removed");
        }
    }

    async fn invalidate(&self) -> Result<Receipt, Error> {
        self.cache.invalidate(Invalidation::Tags(self.tags.clone())).await
    }

    /// Invalidates without a caller that could repeat it.
    async fn invalidate_at_last(&self) {
        for _ in 0..ATTEMPTS {
            let Err(error) = self.invalidate().await else { return };
            report(&error, Effect::NotInvalidated);
            if !timer::is_on() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
