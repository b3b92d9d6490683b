//! The work of a cache that a shutdown must not interrupt, counted.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// Amounts of a cache's work, returned by [`Cache::unfinished_work`](crate::Cache::unfinished_work) and in a
/// [`DrainReport`](crate::DrainReport). It may grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkCount {
    /// Requests with an unsafe method whose handler or invalidation has not ended, whether their clients wait or have left.
    pub writes: usize,
    /// Calls that invalidate or expire, those of the `writes` included.
    pub invalidations: usize,
    /// Tags that a remote store has yet to invalidate, because it has failed or has not replied yet; an invalidation of everything
    /// counts as one. Other nodes serve the responses with these tags until it has.
    pub owed: usize,
    /// Responses that are being stored. If they are lost, later requests miss.
    pub stores: usize,
    /// Content codings that are being made ([`CacheLayer::compress`](crate::CacheLayer)). A shutdown ends them.
    pub codings: usize,
}

impl WorkCount {
    /// Returns whether there is no work.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            writes: self.writes.wrapping_sub(before.writes),
            invalidations: self.invalidations.wrapping_sub(before.invalidations),
            owed: self.owed.saturating_sub(before.owed),
            stores: self.stores.wrapping_sub(before.stores),
            codings: self.codings.wrapping_sub(before.codings),
        }
    }
}

/// The work of all handles to one store.
#[derive(Debug, Default)]
pub(crate) struct Work {
    draining: AtomicBool,
    writes: Counter,
    invalidations: Counter,
    stores: Counter,
    codings: Counter,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum WorkKind {
    Write,
    Invalidation,
    Store,
    Coding,
}

/// A piece of work, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct WorkInProgress {
    work: Arc<Work>,
    kind: WorkKind,
}

#[derive(Debug, Default)]
struct Counter {
    begun: AtomicUsize,
    ended: AtomicUsize,
}

impl Work {
    pub(crate) fn begin(self: &Arc<Self>, kind: WorkKind) -> WorkInProgress {
        self.counter(kind).begun.fetch_add(1, Ordering::Relaxed);
        WorkInProgress { work: Arc::clone(self), kind }
    }

    pub(crate) fn begin_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Returns whether background refreshes are no longer started.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn counter(&self, kind: WorkKind) -> &Counter {
        match kind {
            WorkKind::Write => &self.writes,
            WorkKind::Invalidation => &self.invalidations,
            WorkKind::Store => &self.stores,
            WorkKind::Coding => &self.codings,
        }
    }

    fn count(&self, count: impl Fn(&Counter) -> usize) -> WorkCount {
        let kinds = [&self.writes, &self.invalidations, &self.stores, &self.codings];
        let [writes, invalidations, stores, codings] = kinds.map(count);
        WorkCount { writes, invalidations, owed: 0, stores, codings }
    }

    pub(crate) fn ended(&self) -> WorkCount {
        self.count(|counter| counter.ended.load(Ordering::Acquire))
    }

    /// Reads what has ended first: work that begins or ends in between is counted as unfinished.
    pub(crate) fn unfinished(&self) -> WorkCount {
        let ended = self.ended();
        self.count(|counter| counter.begun.load(Ordering::Acquire)).since(ended)
    }
}

impl Drop for WorkInProgress {
    fn drop(&mut self) {
        self.work.counter(self.kind).ended.fetch_add(1, Ordering::Release);
    }
}
