//! A limit on how often something is logged.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Clock;

/// Lets the first event pass, and then one a minute, with the number of those that were suppressed.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// The time from which the next event may pass, in milliseconds.
    next: AtomicU64,
    suppressed: AtomicU64,
}

/// The time between two events that pass, in milliseconds.
const PAUSE: u64 = 60_000;

impl Throttle {
    pub(crate) const fn new() -> Self {
        Self { next: AtomicU64::new(0), suppressed: AtomicU64::new(0) }
    }

    /// Returns the number of events that were suppressed since the last one that passed; `None` if this one may not pass.
    pub(crate) fn pass(&self) -> Option<u64> {
        self.pass_at(now())
    }

    /// Starts again: the next event may pass in a minute, and none was suppressed.
    #[allow(dead_code, reason = "only remote stores remind")]
    pub(crate) fn restart(&self) {
        self.next.store(now() + PAUSE, Ordering::Relaxed);
        self.suppressed.store(0, Ordering::Relaxed);
    }

    fn pass_at(&self, now: u64) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        let passes = now >= next && self.next.compare_exchange(next, now + PAUSE, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !passes {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.suppressed.swap(0, Ordering::Relaxed))
    }
}

fn now() -> u64 {
    Clock::default().now().as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_per_minute_passes_and_counts_the_others() {
        let throttle = Throttle::new();
        assert_eq!(throttle.pass_at(500_000), Some(0));
        assert_eq!(throttle.pass_at(500_001), None);
        assert_eq!(throttle.pass_at(559_999), None);
        assert_eq!(throttle.pass_at(560_000), Some(2));
        assert_eq!(throttle.pass_at(560_001), None);
        assert_eq!(throttle.pass_at(660_000), Some(1));
    }

    #[test]
    fn a_throttle_that_begins_anew_lets_nothing_pass_for_a_minute() {
        let throttle = Throttle::new();
        throttle.restart();
        assert_eq!(throttle.pass(), None);
        assert_eq!(throttle.pass_at(now() + PAUSE), Some(1));
    }
}
