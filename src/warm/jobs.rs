//! The warm-ups and schedules of a cache, for its operators.

use crate::cache::{Cache, jobs::JobStatus};

/// Warm-ups and schedules.
impl Cache {
    /// Returns the warm-ups and schedules of all handles to the store in this process, the latest first: those under way, at most 256, and
    /// the last 32 that have ended.
    pub fn jobs(&self) -> Vec<JobStatus> {
        self.inner.jobs.statuses()
    }

    /// Cancels a warm-up or a schedule of this process, and returns whether there was one with this number that had not ended.
    pub fn cancel_job(&self, id: u64) -> bool {
        self.inner.jobs.cancel(id)
    }
}
