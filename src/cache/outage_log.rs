//! Rate-limited warnings about a store that fails.

use std::{
    error::Error as StdError,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{clock::Clock, error::Error};

/// The effect of a store failure.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Effect {
    HandlerAnswers,
    NotStored,
    NotInvalidated,
}

/// Logs a store failure, at most once per second for each effect: an outage must not flood the log.
pub(crate) fn report(error: &Error, effect: Effect) {
    static THROTTLES: [Throttle; 3] = [const { Throttle::new() }; 3];
    let Some(unreported) = THROTTLES[effect as usize].pass(Clock::default().now().as_millis()) else { return };
    let error = error as &dyn StdError;
    match effect {
        Effect::HandlerAnswers => tracing::warn!(error, unreported, "the cache's store failed; the handler answers"),
        Effect::NotStored => tracing::warn!(error, unreported, "the cache's store failed; the response is not stored"),
        Effect::NotInvalidated => tracing::error!(error, unreported, "an invalidation that a response requested has failed"),
    }
}

/// A limit of one event per second.
#[derive(Debug)]
struct Throttle {
    /// The time from which the next event may pass, in milliseconds.
    next: AtomicU64,
    suppressed: AtomicU64,
}

impl Throttle {
    const fn new() -> Self {
        Self { next: AtomicU64::new(0), suppressed: AtomicU64::new(0) }
    }

    /// Returns the number of events that were suppressed since the last one that passed; `None` if this one may not pass.
    fn pass(&self, now: u64) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        let passes = now >= next && self.next.compare_exchange(next, now + 1000, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !passes {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.suppressed.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_per_second_passes_and_counts_the_others() {
        let throttle = Throttle::new();
        assert_eq!(throttle.pass(5000), Some(0));
        assert_eq!(throttle.pass(5001), None);
        assert_eq!(throttle.pass(5999), None);
        assert_eq!(throttle.pass(6000), Some(2));
        assert_eq!(throttle.pass(6001), None);
        assert_eq!(throttle.pass(7001), Some(1));
    }
}
