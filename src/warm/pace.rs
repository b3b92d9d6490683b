//! How many requests of a warm-up run at once: fewer while handlers are slower than at its start.

use std::{collections::HashMap, time::Duration};

use crate::stats::route_table::RouteId;

/// The runs of a route that say how fast it is, and the runs after which the pace may change.
const WINDOW: usize = 20;
/// So many slow runs in a window slow the warm-up down; a single one is an accident.
const SLOW_RUNS: usize = 2;
/// After so many slow windows in a row, with one request at a time, the warm-up ends.
const SLOW_WINDOWS: usize = 5;
/// A handler that is faster than this is never slow.
const FAST: Duration = Duration::from_millis(10);
/// The longest pause after a request.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The pace of a warm-up.
#[derive(Debug)]
pub(super) struct Pace {
    most: usize,
    concurrency: usize,
    budget: f64,
    starts: HashMap<RouteId, Start>,
    runs: usize,
    slow_runs: usize,
    slow_windows: usize,
}

/// The first runs of a route.
#[derive(Debug, Default)]
struct Start {
    runs: usize,
    /// The 99th percentile of so few is the slowest.
    slowest: Duration,
}

impl Pace {
    pub(super) fn new(most: usize, budget: f64) -> Self {
        Self { most, concurrency: most, budget, starts: HashMap::new(), runs: 0, slow_runs: 0, slow_windows: 0 }
    }

    /// The requests that may run or pause at once.
    pub(super) fn concurrency(&self) -> usize {
        self.concurrency
    }

    /// Whether handlers stay slow although only one request runs.
    pub(super) fn is_hopeless(&self) -> bool {
        self.slow_windows >= SLOW_WINDOWS
    }

    /// The pause after a request that took `time`.
    pub(super) fn pause(&self, time: Duration) -> Duration {
        time.mul_f64((1.0 - self.budget) / self.budget).min(LONGEST_PAUSE)
    }

    /// Notes a run of a handler.
    pub(super) fn note(&mut self, route: RouteId, time: Duration) {
        let start = self.starts.entry(route).or_default();
        if start.runs < WINDOW {
            start.runs += 1;
            start.slowest = start.slowest.max(time);
            return;
        }
        self.runs += 1;
        self.slow_runs += usize::from(time > FAST && time > 2 * start.slowest);
        if self.runs >= WINDOW {
            self.end_window();
        }
    }

    fn end_window(&mut self) {
        if self.slow_runs >= SLOW_RUNS {
            self.slow_windows = if self.concurrency == 1 { self.slow_windows + 1 } else { 0 };
            self.concurrency = (self.concurrency / 2).max(1);
        } else {
            self.slow_windows = 0;
            if self.slow_runs == 0 {
                self.concurrency = (self.concurrency + 1).min(self.most);
            }
        }
        (self.runs, self.slow_runs) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::statistics::Statistics;

    fn window(pace: &mut Pace, route: RouteId, slow: usize) {
        for run in 0..WINDOW {
            pace.note(route, Duration::from_millis(if run < slow { 90 } else { 30 }));
        }
    }

    #[test]
    fn slow_handlers_halve_the_pace_and_fast_ones_restore_it() {
        let statistics = Statistics::default();
        let (route, slow_route) = (statistics.route(Some("/a")), statistics.route(Some("/b")));
        let mut pace = Pace::new(4, 1.0);
        window(&mut pace, route, 0);
        assert_eq!(pace.concurrency(), 4);
        for (slow, concurrency) in [(1, 4), (2, 2), (20, 1), (1, 1), (0, 2), (0, 3), (0, 4), (0, 4)] {
            window(&mut pace, route, slow);
            assert_eq!(pace.concurrency(), concurrency, "{slow} slow runs");
        }
        // Another route may be slower from its start.
        window(&mut pace, slow_route, WINDOW);
        window(&mut pace, slow_route, WINDOW);
        assert_eq!(pace.concurrency(), 4);
    }

    #[test]
    fn a_pace_is_hopeless_after_five_slow_windows_with_one_request() {
        let route = Statistics::default().route(Some("/a"));
        let mut pace = Pace::new(1, 1.0);
        window(&mut pace, route, 0);
        for _ in 0..SLOW_WINDOWS {
            assert!(!pace.is_hopeless());
            window(&mut pace, route, WINDOW);
        }
        assert!(pace.is_hopeless());
    }

    #[test]
    fn a_quarter_of_the_time_is_a_pause_of_three_times_the_request() {
        assert_eq!(Pace::new(1, 0.25).pause(Duration::from_secs(1)), Duration::from_secs(3));
        assert_eq!(Pace::new(1, 1.0).pause(Duration::from_secs(1)), Duration::ZERO);
        assert_eq!(Pace::new(1, 0.01).pause(Duration::from_secs(9)), LONGEST_PAUSE);
    }
}
