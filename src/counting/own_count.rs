//! A counter that one thread writes.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that only one thread writes: a load and a store, where an atomic addition would lock the line.
#[derive(Debug, Default)]
pub(crate) struct OwnCount(AtomicU64);

impl OwnCount {
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        // Release: a reader that has seen an outcome has also seen the request end and start, on whichever threads it did.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Release);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
