//! Why entries have left the map.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the entries that have left the map, by cause.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    /// Because the map was full, including new entries that it did not admit.
    pub(crate) evicted: Counter,
    pub(crate) expired: Counter,
    /// By another entry under the same key.
    pub(crate) replaced: Counter,
    /// By the store itself.
    pub(crate) removed: Counter,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
