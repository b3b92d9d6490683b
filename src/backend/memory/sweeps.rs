//! When expired entries are removed.

use std::{
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::map::EntryMap;
use crate::{
    backend::lone_task::LoneTask,
    clock::{Clock, Timestamp},
};

/// Removes expired entries as responses are stored: after a time in proportion to what it takes, and only if there are any.
///
/// Times are those of the cache's clock, so that no entry is removed that the cache may still use.
#[derive(Debug)]
pub(super) struct Sweeps {
    clock: RwLock<Clock>,
    /// When the first entry expires, or earlier.
    next_expiry: AtomicU64,
    /// When the next sweep may begin.
    not_before: AtomicU64,
    task: LoneTask,
}

impl Default for Sweeps {
    fn default() -> Self {
        Self {
            clock: RwLock::default(),
            next_expiry: AtomicU64::new(u64::MAX),
            not_before: AtomicU64::new(0),
            task: LoneTask::default(),
        }
    }
}

impl Sweeps {
    pub(super) fn use_clock(&self, clock: &Clock) {
        clock.clone_into(&mut self.clock.write().unwrap_or_else(PoisonError::into_inner));
        self.not_before.store(0, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.read().unwrap_or_else(PoisonError::into_inner).now()
    }

    /// Notes that an entry was stored which expires at `expires`; returns whether a sweep is due.
    pub(super) fn is_due_after(&self, expires: Timestamp) -> bool {
        self.note_expiry(expires);
        let now = self.now().as_millis();
        self.next_expiry.load(Ordering::Relaxed) <= now && self.not_before.load(Ordering::Relaxed) <= now
    }

    fn note_expiry(&self, expires: Timestamp) {
        let expires = expires.as_millis();
        // Most entries expire after the first one does, and there is nothing to write.
        if expires < self.next_expiry.load(Ordering::Relaxed) {
            self.next_expiry.fetch_min(expires, Ordering::Relaxed);
        }
    }

    /// Removes the expired entries, and sets the time of the next sweep.
    pub(super) fn sweep(&self, entries: &EntryMap) {
        let began = Instant::now();
        // Entries that are stored from here on lower it again.
        self.next_expiry.store(u64::MAX, Ordering::Relaxed);
        if let Some(next) = entries.remove_expired(self.now()) {
            self.note_expiry(next);
        }
        let not_before = self.now() + pause_after(began.elapsed());
        self.not_before.store(not_before.as_millis(), Ordering::Relaxed);
    }

    pub(super) fn task(&self) -> &LoneTask {
        &self.task
    }
}

/// Returns the pause after a sweep that took so long: sweeps take 1 % of a core at most.
fn pause_after(sweep: Duration) -> Duration {
    const SHORTEST: Duration = Duration::from_secs(1);
    sweep.saturating_mul(100).max(SHORTEST)
}
