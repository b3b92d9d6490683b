//! The circuit breaker of a remote store.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

/// Decides whether operations reach the store.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    open: AtomicBool,
    failures: AtomicU32,
    /// Held while the breaker opens or closes, so that the two do not interleave.
    change: Mutex<()>,
}

impl Breaker {
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Counts a failure; returns whether the breaker must open.
    pub(super) fn failed(&self, limit: u32) -> bool {
        self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= limit
    }

    /// Counts a success.
    pub(super) fn worked(&self) {
        // Usually there is nothing to write.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn open(&self) {
        let _changing = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.open.swap(true, Ordering::AcqRel) {
            tracing::warn!("the cache's store failed and is not used until it answers again; handlers answer meanwhile");
        }
    }

    /// Closes the breaker if `nothing_is_owed`; returns whether it is closed now.
    pub(super) fn close(&self, nothing_is_owed: impl FnOnce() -> bool) -> bool {
        let _changing = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        if !nothing_is_owed() {
            return false;
        }
        self.failures.store(0, Ordering::Relaxed);
        self.open.store(false, Ordering::Release);
        tracing::info!("the cache's store answers again");
        true
    }
}
