//! Which events are sampled.

use std::sync::atomic::{AtomicU32, Ordering};

/// Counts down to the next event that is sampled: one of an average, at random distances, so that events that repeat in a fixed order are
/// all sampled. Only one thread uses it.
#[derive(Debug, Default)]
pub(crate) struct Countdown(AtomicU32);

impl Countdown {
    /// Returns whether this event is sampled, one of `average`.
    #[inline]
    pub(crate) fn is_sampled(&self, average: u64) -> bool {
        let left = self.0.load(Ordering::Relaxed);
        if left > 0 {
            self.0.store(left - 1, Ordering::Relaxed);
            return false;
        }
        // As many before the next one; 0 to 2 * average - 2.
        self.0.store(fastrand::u32(0..=2 * average as u32 - 2), Ordering::Relaxed);
        true
    }
}
