//! Warm-ups and schedules: how far they are, and how they are stopped.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use crate::clock::Timestamp;

/// The most jobs that are listed; those that have ended are dropped first.
const MOST: usize = 256;

/// How many jobs that have ended are listed.
const ENDED: usize = 32;

/// How far a warm-up is. It may grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WarmProgress {
    /// The requests that have ended.
    pub done: u64,
    /// All requests, if their number is known: that of a stream is not.
    pub total: Option<u64>,
    /// Responses that were stored, or validated with a 304.
    pub stored: u64,
    /// Responses that were there already, and fresh.
    pub fresh: u64,
    /// Responses that were not stored.
    pub not_stored: u64,
    /// Requests that failed: errors, panics and responses with a status of 500 or more.
    pub failed: u64,
    /// How many requests may run at once at present.
    pub concurrency: usize,
}

/// A warm-up or a schedule of this process, as [`Cache::jobs`](crate::Cache::jobs) lists it. It may grow.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobStatus {
    /// The number by which [`Cache::cancel_job`](crate::Cache::cancel_job) finds it.
    pub id: u64,
    /// What it is.
    pub kind: JobKind,
    /// Its name, or what larder calls it.
    pub name: String,
    /// When it began, in milliseconds since the start of 1970, by the cache's clock.
    pub began_millis: u64,
    /// How far the warm-up is, or the latest run of the schedule.
    pub progress: WarmProgress,
    /// The runs of a schedule on this node that have ended.
    pub runs: u64,
    /// The latest report, as text.
    pub report: Option<String>,
    /// Whether it has ended.
    pub has_ended: bool,
}

/// The kind of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobKind {
    /// A warm-up: [`Cache::warm`](crate::Cache::warm).
    WarmUp,
    /// A schedule: [`Cache::every`](crate::Cache::every), or `Cache::cron`.
    Schedule,
}

impl JobKind {
    /// Returns the name, such as `warm-up`. Names do not change between versions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WarmUp => "warm-up",
            Self::Schedule => "schedule",
        }
    }
}

/// Why a job was stopped from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobStop {
    Cancel,
    Drain,
}

/// A warm-up or a schedule.
#[derive(Debug)]
pub(crate) struct Job {
    id: u64,
    kind: JobKind,
    pub(crate) name: String,
    began: Timestamp,
    state: Mutex<JobState>,
    stop: OnceLock<JobStop>,
    stopped: Notify,
}

/// What a job has done so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct JobState {
    pub(crate) progress: WarmProgress,
    /// The runs of a schedule on this node.
    pub(crate) runs: u64,
    /// The latest report, as text.
    pub(crate) report: Option<String>,
    pub(crate) has_ended: bool,
}

/// The jobs of all handles to one store in this process, the latest last.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    jobs: Mutex<VecDeque<Arc<Job>>>,
    last_id: AtomicU64,
}

impl Jobs {
    pub(crate) fn begin(&self, kind: JobKind, name: String, began: Timestamp) -> Arc<Job> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let (state, stop, stopped) = (Mutex::default(), OnceLock::new(), Notify::new());
        let job = Arc::new(Job { id, kind, name, began, state, stop, stopped });
        let mut jobs = self.lock();
        let mut ended = jobs.iter().filter(|job| job.state().has_ended).count();
        jobs.retain(|job| {
            let is_dropped = ended >= ENDED && job.state().has_ended;
            ended -= usize::from(is_dropped);
            !is_dropped
        });
        if jobs.len() >= MOST {
            // Not listed, and still ended by its handle.
            jobs.pop_front();
        }
        jobs.push_back(Arc::clone(&job));
        job
    }

    /// Returns the state of each job, the latest first.
    pub(crate) fn statuses(&self) -> Vec<JobStatus> {
        self.lock().iter().rev().map(|job| job.status()).collect()
    }

    /// Cancels a job; `false` if there is none with this number, or it has ended.
    pub(crate) fn cancel(&self, id: u64) -> bool {
        let jobs = self.lock();
        let job = jobs.iter().find(|job| job.id == id && !job.state().has_ended);
        job.is_some_and(|job| {
            job.stop(JobStop::Cancel);
            true
        })
    }

    pub(crate) fn stop_all(&self, why: JobStop) {
        self.lock().iter().for_each(|job| job.stop(why));
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    fn status(&self) -> JobStatus {
        let JobState { progress, runs, report, has_ended } = self.state();
        let (name, began_millis) = (self.name.clone(), self.began.as_millis());
        JobStatus { id: self.id, kind: self.kind, name, began_millis, progress, runs, report, has_ended }
    }

    /// Stops the job; the first reason counts.
    pub(crate) fn stop(&self, why: JobStop) {
        if self.stop.set(why).is_ok() {
            self.stopped.notify_waiters();
        }
    }

    /// Waits until the job is stopped, and returns why.
    pub(crate) async fn stopped(&self) -> JobStop {
        loop {
            // Created first: it notices a stop from here on.
            let stopped = self.stopped.notified();
            if let Some(why) = self.stop.get() {
                return *why;
            }
            stopped.await;
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.get().is_some()
    }

    pub(crate) fn state(&self) -> JobState {
        self.lock().clone()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut JobState)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, JobState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
