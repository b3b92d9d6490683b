//! Warm-ups on a schedule, by one node for all.

use std::{
    fmt,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, timeout_at};

use super::{
    builder::Warm,
    handle::EndOfJob,
    report::WarmReport,
    run::run,
    timetable::{Timetable, Turn},
};
use crate::{
    backend::contract::FetchLock,
    cache::{
        Cache,
        jobs::{Job, JobKind, JobStop},
        limits::LONGEST,
    },
    clock::Timestamp,
    key::Key,
};

/// The life of the lock of a turn covers how much the clocks of nodes differ, within these bounds.
const SHORTEST_LOCK: Duration = Duration::from_secs(10);
const LONGEST_LOCK: Duration = Duration::from_secs(600);

/// A schedule that has not been started, made by [`Cache::every`], or by `Cache::cron` with the feature `cron`.
#[derive(Debug)]
#[must_use = "a schedule does nothing until it is started"]
pub struct Schedule {
    cache: Cache,
    timetable: Timetable,
    name: Option<String>,
    jitter: Duration,
}

/// A schedule that runs, made by [`Schedule::start`]. It ends when this is dropped, and with [`Cache::drain`].
#[must_use = "the schedule ends when its guard is dropped"]
pub struct ScheduleGuard {
    job: Arc<Job>,
    latest: Arc<Mutex<Option<WarmReport>>>,
}

impl Cache {
    /// Begins to describe a schedule: a warm-up that runs once in each `period` (a millisecond at least, a year at most), at the multiples
    /// of the period since the start of 1970 (UTC), so that the first run comes within a period. It keeps slow pages fresh: give them a lifetime
    /// that is longer than the period, or a stale window.
    ///
    /// Of all nodes that share a Redis or memcached, one runs it in each period: the first that takes the turn, by a fetch lock in the store. If
    /// it is killed, another one takes the next turn; while it runs, it takes further turns, so that runs do not overlap. Nodes need clocks
    /// that agree within the period. If a store evicts or loses the lock, two nodes may run the same period. With a store in memory, each process
    /// runs it for itself. If the store does not answer, the run is left out. A turn costs one round trip on each node.
    ///
    /// If a handler fails, the stored response stays, with its lifetime.
    ///
    /// A run replaces responses and invalidates nothing: in a tiered store, a node that has a copy of the former response
    /// answers with it until the copy's lifetime ends. A lifetime that is little longer than the period bounds how old it can be.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # use std::time::Duration;
    /// # let cache = larder::Cache::in_memory(1 << 20);
    /// # let app = axum::Router::new();
    /// let warmed = cache.clone();
    /// let guard = cache
    ///     .every(Duration::from_secs(60))
    ///     .name("report")
    ///     .start(move || warmed.warm(app.clone()).host("example.com").paths(["/report"]));
    /// # drop(guard);
    /// # }
    /// ```
    pub fn every(&self, period: Duration) -> Schedule {
        Schedule::new(self, Timetable::Every(period.clamp(Duration::from_millis(1), LONGEST)))
    }
}

impl Schedule {
    pub(super) fn new(cache: &Cache, timetable: Timetable) -> Self {
        let jitter = timetable.default_jitter();
        Self { cache: cache.clone(), timetable, name: None, jitter }
    }

    /// Names the schedule. Nodes share the turns of schedules with the same name, in the namespace of the handle. Default: a name made of
    /// the period or pattern and of the first requests, without those of streams; set one if nodes request different pages.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Delays each run by a random time of up to `longest`, so that schedules with the same period do not run at the same moment. Default: a
    /// tenth of the period, at most 10 seconds; none for cron patterns.
    pub fn jitter(mut self, longest: Duration) -> Self {
        self.jitter = longest.min(LONGEST);
        self
    }

    /// Starts the schedule in a task of its own. `warm_up` describes the warm-up of each run, and is called for each.
    ///
    /// A run with failures is logged at the level `WARN`, others at `DEBUG`.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self, warm_up: impl FnMut() -> Warm + Send + 'static) -> ScheduleGuard {
        let name = self.name.clone().unwrap_or_else(|| self.timetable.describe());
        let job = self.cache.inner.jobs.begin(JobKind::Schedule, name, self.cache.now());
        let guard = ScheduleGuard { job: Arc::clone(&job), latest: Arc::default() };
        if self.cache.inner.work.is_draining() {
            job.stop(JobStop::Drain);
        }
        let latest = Arc::clone(&guard.latest);
        tokio::spawn(async move {
            let ending = EndOfJob(job);
            keep(self, warm_up, &ending.0, &latest).await;
        });
        guard
    }

    /// The lock of a schedule's turns: no key of a request begins like it.
    fn lock(&self, warm: &Warm) -> Key {
        let mut key = Key::from_bytes(b"schedule");
        key.push(self.cache.inner.namespace.as_bytes());
        match &self.name {
            Some(name) => key.push(name.as_bytes()),
            None => key.push(format!("{} {}", self.timetable.describe(), warm.requests.identity()).as_bytes()),
        }
        key
    }

    /// Takes a turn for this node, unless another has taken it.
    async fn take(&self, lock: &Key, turn: Turn, gap: Duration) -> bool {
        if !self.cache.inner.turns.take(lock.digest(), turn.number) {
            return false;
        }
        let mut key = lock.clone();
        key.push(&turn.number.to_le_bytes());
        let life = (2 * gap).clamp(SHORTEST_LOCK, LONGEST_LOCK) + self.jitter;
        match self.cache.inner.backend.lock_fetch(&key, life).await {
            Ok(FetchLock::Acquired) => true,
            Ok(FetchLock::Held) => false,
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "a run of a schedule was left out: the store did not answer"
                );
                false
            }
        }
    }

    /// The time from a turn to the next one.
    fn gap(&self, turn: Turn) -> Option<(Turn, Duration)> {
        let next = self.timetable.after(turn.at)?;
        Some((next, next.at.since(turn.at)))
    }
}

/// The time of the cache, as tokio's clock goes on.
#[derive(Debug, Clone, Copy)]
struct Time {
    started: Timestamp,
    instant: Instant,
}

impl Time {
    fn now(self) -> Timestamp {
        self.started + self.instant.elapsed()
    }

    /// The instant of a time, at most a year ahead.
    fn instant(self, at: Timestamp) -> Instant {
        Instant::now() + at.since(self.now()).min(LONGEST)
    }
}

/// Runs the warm-up at each turn that this node takes, until the job is stopped.
async fn keep(schedule: Schedule, mut warm_up: impl FnMut() -> Warm, job: &Job, latest: &Mutex<Option<WarmReport>>) {
    let time = Time { started: schedule.cache.now(), instant: Instant::now() };
    let mut last = time.started;
    while let Some(mut turn) = schedule.timetable.after(last.max(time.now())) {
        let delay = schedule.jitter.mul_f64(fastrand::f64());
        loop {
            if timeout_at(time.instant(turn.at) + delay, job.stopped()).await.is_ok() {
                return;
            }
            // A turn may be more than a year ahead.
            if time.now() >= turn.at {
                break;
            }
        }
        let warm = warm_up();
        let lock = schedule.lock(&warm);
        let next = schedule.gap(turn);
        if schedule.take(&lock, turn, next.map_or(LONGEST_LOCK, |(_, gap)| gap)).await {
            let mut running = pin!(run(warm, job));
            // While it runs, this node takes further turns early, before any other one does.
            let report = loop {
                let Some((next, gap)) = schedule.gap(turn) else { break running.await };
                match timeout_at(time.instant(next.at - gap / 4), running.as_mut()).await {
                    Ok(report) => break report,
                    Err(_) => {
                        schedule.take(&lock, next, gap).await;
                        turn = next;
                    }
                }
            };
            note(report, job, latest);
        }
        last = turn.at;
        if job.is_stopped() {
            return;
        }
    }
    // Nothing more to do until the guard is dropped.
    job.stopped().await;
}

fn note(report: WarmReport, job: &Job, latest: &Mutex<Option<WarmReport>>) {
    if report.failed() > 0 {
        tracing::warn!(name = job.name, "a run of a schedule had failures: {report}");
    } else {
        tracing::debug!(name = job.name, "a run of a schedule has ended: {report}");
    }
    job.change(|state| (state.runs, state.report) = (state.runs + 1, Some(report.to_string())));
    *latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
}

impl ScheduleGuard {
    /// Returns how many runs on this node have ended.
    pub fn runs(&self) -> u64 {
        self.job.state().runs
    }

    /// Returns the report of the latest run on this node; `None` before the first one has ended.
    pub fn latest_report(&self) -> Option<WarmReport> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns whether the schedule has ended: by [`Cache::drain`], or from the operator's page.
    pub fn has_ended(&self) -> bool {
        self.job.state().has_ended
    }
}

impl Drop for ScheduleGuard {
    fn drop(&mut self) {
        self.job.stop(JobStop::Cancel);
    }
}

impl fmt::Debug for ScheduleGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScheduleGuard").field("name", &self.job.name).field("runs", &self.runs()).finish_non_exhaustive()
    }
}
