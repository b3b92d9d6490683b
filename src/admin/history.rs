//! The figures of the last minutes and hours, from a ring in the process.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};

use crate::{cache::Cache, http::outcome::Outcome, stats::snapshot::Stats};

/// How long one point of the short history is.
pub(super) const TICK: Duration = Duration::from_secs(5);

/// Ten minutes of points of five seconds, and six hours of points of two minutes.
const MINUTES: usize = 120;
const HOURS: usize = 180;
const TICKS_PER_LONG_POINT: usize = 24;

/// The counts of one interval.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Point {
    pub(super) requests: u64,
    pub(super) from_cache: u64,
    /// The requests that count in the hit ratio.
    pub(super) countable: u64,
    pub(super) stale: u64,
    pub(super) errors: u64,
    pub(super) saved: Duration,
}

#[derive(Debug, Default)]
pub(super) struct History(Mutex<Rings>);

#[derive(Debug, Default)]
struct Rings {
    minutes: VecDeque<Point>,
    hours: VecDeque<Point>,
    /// The ticks since the last long point.
    pending: Vec<Point>,
}

impl Point {
    fn of(stats: &Stats) -> Self {
        let total = stats.total();
        let sum = |counts: fn(Outcome) -> bool| {
            Outcome::ALL.iter().filter(|outcome| counts(**outcome)).map(|outcome| total.outcome(*outcome)).sum()
        };
        Self {
            requests: sum(|_| true),
            from_cache: sum(Outcome::is_from_cache),
            countable: sum(Outcome::counts_in_ratio),
            stale: total.outcome(Outcome::Stale),
            errors: total.outcome(Outcome::Error),
            saved: total.saved(),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            from_cache: self.from_cache + other.from_cache,
            countable: self.countable + other.countable,
            stale: self.stale + other.stale,
            errors: self.errors + other.errors,
            saved: self.saved + other.saved,
        }
    }

    pub(super) fn hit_ratio(&self) -> Option<f64> {
        (self.countable > 0).then(|| self.from_cache as f64 / self.countable as f64)
    }
}

impl History {
    /// Begins a history that a task continues until it is dropped.
    pub(super) fn begin(cache: &Cache) -> Arc<Self> {
        let history = Arc::new(Self::default());
        let (weak, cache) = (Arc::downgrade(&history), cache.clone());
        tokio::spawn(async move {
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            ticks.tick().await;
            let mut last = cache.stats();
            loop {
                ticks.tick().await;
                let Some(history) = weak.upgrade() else { return };
                let now = cache.stats();
                history.add(Point::of(&now.since(&last)));
                last = now;
            }
        });
        history
    }

    fn add(&self, point: Point) {
        let Rings { minutes, hours, pending } = &mut *self.rings();
        push(minutes, point, MINUTES);
        pending.push(point);
        if pending.len() == TICKS_PER_LONG_POINT {
            let sum = pending.drain(..).fold(Point::default(), Point::and);
            push(hours, sum, HOURS);
        }
    }

    /// Returns the points of the last ten minutes, the oldest first.
    pub(super) fn minutes(&self) -> Vec<Point> {
        self.rings().minutes.iter().copied().collect()
    }

    /// Returns the points of the last six hours, the oldest first.
    pub(super) fn hours(&self) -> Vec<Point> {
        self.rings().hours.iter().copied().collect()
    }

    /// Returns the sum of the last minute, and its length; `None` if nothing has been sampled yet.
    pub(super) fn last_minute(&self) -> Option<(Point, Duration)> {
        let rings = self.rings();
        let last: Vec<_> = rings.minutes.iter().rev().take(12).copied().collect();
        let length = TICK * u32::try_from(last.len()).unwrap_or(1);
        (!last.is_empty()).then(|| (last.into_iter().fold(Point::default(), Point::and), length))
    }

    fn rings(&self) -> MutexGuard<'_, Rings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn push(ring: &mut VecDeque<Point>, point: Point, most: usize) {
    if ring.len() == most {
        ring.pop_front();
    }
    ring.push_back(point);
}
