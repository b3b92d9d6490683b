//! The circuit breaker of a remote store.

use std::{
    error::Error as StdError,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{error::Error, throttle::Throttle};

/// Decides whether operations reach the store.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    open: AtomicBool,
    failures: AtomicU32,
    /// The time at which it opened, if it is open. Held while it opens or closes, so that the two do not interleave.
    since: Mutex<Option<Instant>>,
    last_error: Mutex<Option<Error>>,
    /// Whether it was logged that it has opened. A store that fails again and again is logged once a minute.
    is_reported: AtomicBool,
    openings: Throttle,
    reminders: Throttle,
}

impl Breaker {
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Returns how long ago it opened, if it is open.
    pub(super) fn open_for(&self) -> Option<Duration> {
        self.since().map(|since| since.elapsed())
    }

    /// Remembers the error of an operation, if it is one of the store.
    pub(super) fn note<T>(&self, outcome: &Result<T, Error>) {
        if let Err(error) = outcome
            && !error.is_invalid_input()
        {
            *self.last() = Some(error.clone());
        }
    }

    /// Returns the last failure of the store.
    pub(super) fn last_error(&self) -> Option<Error> {
        self.last().clone()
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
        let mut since = self.since();
        if self.open.swap(true, Ordering::AcqRel) {
            return;
        }
        *since = Some(Instant::now());
        let unreported = self.openings.pass();
        self.is_reported.store(unreported.is_some(), Ordering::Relaxed);
        self.reminders.restart();
        if let Some(unreported) = unreported {
            let error = self.last_error();
            let error = error.as_ref().map(|error| error as &(dyn StdError + 'static));
            tracing::warn!(
                error,
                unreported,
                "the cache's store failed and is not used until it answers again; handlers answer meanwhile"
            );
        }
    }

    /// Logs once a minute that it is still open, after another attempt to use the store has failed; `owed` is the number of tags that are
    /// still to be invalidated.
    pub(super) fn remind(&self, owed: usize) {
        let (Some(open_for), Some(attempts)) = (self.open_for(), self.reminders.pass()) else { return };
        self.is_reported.store(true, Ordering::Relaxed);
        let error = self.last_error();
        let error = error.as_ref().map(|error| error as &(dyn StdError + 'static));
        let (seconds, attempts) = (open_for.as_secs(), attempts + 1);
        tracing::warn!(
            error,
            seconds,
            attempts,
            owed,
            "the cache's store still fails and is not used; handlers answer meanwhile"
        );
    }

    /// Closes the breaker if `nothing_is_owed`; returns whether it is closed now.
    pub(super) fn close(&self, nothing_is_owed: impl FnOnce() -> bool) -> bool {
        let mut since = self.since();
        if !nothing_is_owed() {
            return false;
        }
        let seconds = since.take().map_or(0, |since| since.elapsed().as_secs());
        self.failures.store(0, Ordering::Relaxed);
        self.open.store(false, Ordering::Release);
        if self.is_reported.swap(false, Ordering::Relaxed) {
            tracing::info!(seconds, "the cache's store answers again");
        }
        true
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self) -> MutexGuard<'_, Option<Error>> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
