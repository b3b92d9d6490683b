//! The counters of one route.

use std::sync::atomic::{AtomicU64, Ordering};

use thread_local::ThreadLocal;

use super::{
    fill_result::{FillResult, Trigger},
    not_stored::NotStored,
    verification::Verification,
};
use crate::{
    counting::{countdown::Countdown, histogram::Histogram, own_count::OwnCount},
    http::{
        cache_status::{CacheStatus, Forward, Reason},
        outcome::Outcome,
    },
};

/// What one thread has counted for one route. Aligned to cache lines, so that threads do not slow each other.
///
/// The fields that a hit writes are in the first line.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(super) struct OwnCounters {
    pub(super) bytes_from_cache: OwnCount,
    pub(super) saved_millis: OwnCount,
    /// How many requests are not sampled before the next one that is: those that are answered at once, and those that wait.
    pub(super) hits_to_sample: Countdown,
    pub(super) waits_to_sample: Countdown,
    pub(super) outcomes: [OwnCount; Outcome::ALL.len()],
    /// Requests that had to wait for something, and those of them that have ended.
    pub(super) started: OwnCount,
    pub(super) ended: OwnCount,
    pub(super) bytes_from_handler: OwnCount,
    pub(super) forwarded: [OwnCount; Forward::ALL.len()],
}

/// The counters of one route.
#[derive(Debug)]
pub(super) struct RouteCounters {
    pub(super) name: Box<str>,
    threads: ThreadLocal<OwnCounters>,
    /// The handler's responses that were to be stored, by trigger and result; on the path of a handler run, which costs far more than
    /// a shared counter.
    pub(super) fills: [[AtomicU64; FillResult::COUNT]; Trigger::ALL.len()],
    /// Why requests were not looked up.
    pub(super) bypassed: [AtomicU64; Reason::ALL.len()],
    pub(super) fill_duration: Histogram,
    /// What shadow verification has found.
    pub(super) verifications: [AtomicU64; Verification::ALL.len()],
    pub(super) not_stored: NotStored,
}

impl RouteCounters {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            threads: ThreadLocal::new(),
            fills: [const { [const { AtomicU64::new(0) }; FillResult::COUNT] }; Trigger::ALL.len()],
            bypassed: [const { AtomicU64::new(0) }; Reason::ALL.len()],
            fill_duration: Histogram::default(),
            verifications: [const { AtomicU64::new(0) }; Verification::ALL.len()],
            not_stored: NotStored::default(),
        }
    }

    /// The counters of this thread.
    #[inline]
    pub(super) fn own(&self) -> &OwnCounters {
        self.threads.get_or_default()
    }

    pub(super) fn threads(&self) -> impl Iterator<Item = &OwnCounters> {
        self.threads.iter()
    }

    /// Counts a response of `bytes` bytes, and returns the counters of this thread.
    #[inline]
    pub(super) fn answered(&self, status: &CacheStatus, outcome: Outcome, bytes: u64) -> &OwnCounters {
        if outcome == Outcome::Hit {
            return self.hit(bytes, status.handler_millis());
        }
        let own = self.own();
        self.answered_otherwise(own, status, outcome, bytes);
        own
    }

    /// Counts a hit of `bytes` bytes, which saves a run of so many milliseconds, and returns the counters of this thread.
    #[inline]
    pub(super) fn hit(&self, bytes: u64, saved_millis: u32) -> &OwnCounters {
        let own = self.own();
        own.outcomes[Outcome::Hit as usize].add(1);
        own.bytes_from_cache.add(bytes);
        own.saved_millis.add(u64::from(saved_millis));
        own
    }

    #[inline(never)]
    fn answered_otherwise(&self, own: &OwnCounters, status: &CacheStatus, outcome: Outcome, bytes: u64) {
        own.outcomes[outcome as usize].add(1);
        if outcome.is_from_cache() {
            own.bytes_from_cache.add(bytes);
            own.saved_millis.add(u64::from(status.saved_millis()));
        }
        if let Some(why) = status.forward() {
            own.forwarded[why as usize].add(1);
        }
        match outcome {
            Outcome::Revalidated => own.bytes_from_cache.add(bytes),
            Outcome::Miss | Outcome::Uncached | Outcome::Bypass => own.bytes_from_handler.add(bytes),
            _ => {}
        }
        if let (Outcome::Bypass | Outcome::Unsatisfied, Some(reason)) = (outcome, status.reason()) {
            self.bypassed[reason as usize].fetch_add(1, Ordering::Relaxed);
            self.not_stored.note(&self.name, reason, || self.hits());
        }
    }

    /// Counts a handler run that has ended.
    pub(super) fn filled(&self, trigger: Trigger, result: FillResult) {
        self.fills[trigger as usize][result.index()].fetch_add(1, Ordering::Relaxed);
        match result {
            FillResult::Stored | FillResult::Revalidated => self.not_stored.end_row(),
            FillResult::NotStored(reason) => self.not_stored.note(&self.name, reason, || self.hits()),
        }
    }

    fn hits(&self) -> u64 {
        self.threads().map(|own| own.outcomes[Outcome::Hit as usize].get()).sum()
    }
}
