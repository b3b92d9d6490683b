//! Warnings about a store that fails, one in a while.

use std::{
    error::Error as StdError,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{clock::Clock, error::Error};

/// What came of it that the store failed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Effect {
    HandlerAnswers,
    NotStored,
    NotInvalidated,
}

/// Logs that the store failed, of each consequence at most once in a second: an outage must not flood the log.
pub(crate) fn report(error: &Error, consequence: Effect) {
    static THROTTLES: [Throttle; 3] = [const { Throttle::new() }; 3];
    let Some(unreported) = THROTTLES[consequence as usize].pass(Clock::default().now().as_millis()) else { return };
    let error = error as &dyn StdError;
    match consequence {
        Effect::HandlerAnswers => tracing::warn!(error, unreported, "the cache's store failed; the handler answers"),
        Effect::NotStored => tracing::warn!(error, unreported, "the cache's store failed; the response is not stored"),
        Effect::NotInvalidated => tracing::error!(error, unreported, "an invalidation that a response asked for failed"),
    }
}

/// Lets one through in a second.
#[derive(Debug)]
struct Throttle {
    /// When the next one may pass, in milliseconds.
    next: AtomicU64,
    held_back: AtomicU64,
}

impl Throttle {
    const fn new() -> Self {
        Self { next: AtomicU64::new(0), held_back: AtomicU64::new(0) }
    }

    /// Whether this one may pass, and how many have not since the last that did.
    fn pass(&self, now: u64) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        let passes = now >= next && self.next.compare_exchange(next, now + 1000, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !passes {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.held_back.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_passes_in_a_second_and_tells_of_the_others() {
        let throttle = Throttle::new();
        assert_eq!(throttle.pass(5000), Some(0));
        assert_eq!(throttle.pass(5001), None);
        assert_eq!(throttle.pass(5999), None);
        assert_eq!(throttle.pass(6000), Some(2));
        assert_eq!(throttle.pass(6001), None);
        assert_eq!(throttle.pass(7001), Some(1));
    }
}
