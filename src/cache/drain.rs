//! The wait for unfinished work before the process exits.

use std::time::Duration;

use tokio::{
    task::yield_now,
    time::{Instant, sleep_until},
};

use super::{Cache, jobs::JobStop, limits::LONGEST, work::WorkCount};
use crate::timer;

/// The result of [`Cache::drain`]. It may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// The work that has ended during the call.
    pub completed: WorkCount,
    /// The work that had not ended at the limit.
    pub unfinished: WorkCount,
}

impl DrainReport {
    /// Returns whether all work has ended, so that the process may exit.
    pub fn is_complete(&self) -> bool {
        self.unfinished.is_zero()
    }
}

impl Cache {
    /// Waits for the end of all work that a shutdown must not interrupt, at most for `limit`: for writes and their invalidations, also
    /// those whose clients have left; for invalidations that a remote store has missed; and for responses that are being stored.
    ///
    /// Call it after the server has ended and before the process exits. Otherwise a write may be committed and never invalidated, and
    /// other nodes serve the old response until its lifetime ends. From the call on, background refreshes are no longer started, and
    /// warm-ups and schedules end; everything else works as before. It concerns all handles to the same store. A `limit` of more than a year counts as a year.
    ///
    /// ```no_run
    /// # #[tokio::main]
    /// # async fn main() -> std::io::Result<()> {
    /// use std::time::Duration;
    /// use axum::Router;
    /// use larder::Cache;
    ///
    /// # async fn terminated() {}
    /// let cache = Cache::in_memory(64 << 20);
    /// let app: Router = Router::new(); // with layers of the cache
    /// let listener = tokio::net::TcpListener::bind("0.0.0.0:3000").await?;
    /// axum::serve(listener, app).with_graceful_shutdown(terminated()).await?;
    ///
    /// let report = cache.drain(Duration::from_secs(10)).await;
    /// if !report.is_complete() {
    ///     eprintln!("the cache has unfinished work: {:?}", report.unfinished);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn drain(&self, limit: Duration) -> DrainReport {
        /// A store announces no end of its work, so that it is asked this often.
        const PERIOD: Duration = Duration::from_millis(10);
        let work = &self.inner.work;
        work.begin_draining();
        self.inner.jobs.stop_all(JobStop::Drain);
        self.inner.rewarmed.clear();
        let deadline = Instant::now() + limit.min(LONGEST);
        let (ended, owed) = (work.ended(), self.inner.backend.owed());
        let mut unfinished = self.unfinished_work();
        while !unfinished.is_zero() && Instant::now() < deadline {
            match timer::is_on() {
                true => sleep_until(deadline.min(Instant::now() + PERIOD)).await,
                false => yield_now().await,
            }
            unfinished = self.unfinished_work();
        }
        let completed = WorkCount { owed: owed.saturating_sub(unfinished.owed), ..work.ended().since(ended) };
        DrainReport { completed, unfinished }
    }

    /// Returns the amount of work that [`drain`](Self::drain) would wait for now. It does not wait.
    pub fn unfinished_work(&self) -> WorkCount {
        // Read in this order: a write ends after its invalidation, and an invalidation after the store has taken it over.
        let work = self.inner.work.unfinished();
        WorkCount { owed: self.inner.backend.owed(), ..work }
    }
}
