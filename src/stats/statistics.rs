//! The statistics of a cache, as requests write them.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{
    counters::OwnCounters,
    fill_result::{FillResult, Trigger},
    hot::{HIT_SAMPLE, Hot, WAIT_SAMPLE},
    invalidations::Invalidations,
    route_table::{CountedName, RouteId, RouteTable},
    verification::Verification,
};
use crate::{
    clock::Timestamp,
    counting::histogram::Histogram,
    http::{cache_status::CacheStatus, outcome::Outcome},
    key::Key,
    tag::Tag,
};

/// The statistics of a cache and its clones.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    pub(super) routes: RouteTable,
    pub(super) values: ValueTable,
    pub(super) waits: Histogram,
    pub(super) stale_ages: Histogram,
    pub(super) waiting: AtomicU64,
    pub(super) fetching: AtomicU64,
    pub(super) outage_hits: AtomicU64,
    pub(crate) hot: Hot,
    pub(crate) invalidations: Invalidations,
}

/// The labels of values, counted like routes.
#[derive(Debug)]
pub(super) struct ValueTable(pub(super) RouteTable);

impl Default for ValueTable {
    fn default() -> Self {
        Self(RouteTable::with_others("value (others)"))
    }
}

/// A request that a stored response answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hit<'h> {
    pub(crate) key: &'h Key,
    pub(crate) tags: &'h [Tag],
    pub(crate) now: Timestamp,
}

impl Statistics {
    #[inline]
    pub(crate) fn route(&self, name: Option<&str>) -> RouteId {
        name.map_or(RouteId::UNROUTED, |name| self.routes.id(name))
    }

    /// Counts a response with a body of `bytes` bytes.
    #[inline]
    pub(crate) fn answered(&self, route: RouteId, status: &CacheStatus, bytes: u64) {
        self.count(route, status, bytes);
    }

    #[inline]
    fn count(&self, route: RouteId, status: &CacheStatus, bytes: u64) -> &OwnCounters {
        let outcome = status.outcome();
        let own = self.routes.counters(route).answered(status, outcome, bytes);
        if outcome == Outcome::Stale {
            let seconds = status.ttl().map_or(0, |ttl| ttl.min(0).unsigned_abs());
            self.stale_ages.record(Duration::from_secs(seconds));
        }
        own
    }

    /// Counts a response that is made at once from a stored response with these tags.
    #[inline]
    pub(crate) fn answered_at_once(&self, route: RouteId, status: &CacheStatus, bytes: u64, hit: Hit<'_>) {
        if self.count(route, status, bytes).hits_to_sample.is_sampled(HIT_SAMPLE) {
            self.sample(hit, HIT_SAMPLE);
        }
    }

    #[cold]
    fn sample(&self, Hit { key, tags, now }: Hit<'_>, weight: u64) {
        self.hot.hit(now, key, weight);
        self.hot.hit_tags(now, tags, weight);
    }

    /// Returns the place of a label of values.
    #[inline]
    pub(crate) fn value_label(&self, label: &CountedName) -> RouteId {
        self.values.0.id_of(label)
    }

    /// Counts a call that returns a value.
    #[inline]
    pub(crate) fn value_returned(&self, label: RouteId, status: &CacheStatus) {
        self.values.0.counters(label).answered(status, status.outcome(), 0);
    }

    /// Counts a call that returns a fresh value, whose computation took so many milliseconds.
    #[inline]
    pub(crate) fn value_hit(&self, label: &CountedName, compute_millis: u32) {
        let values = &self.values.0;
        values.counters(values.id_of(label)).hit(0, compute_millis);
    }

    /// Counts a call that returns an error, or panics.
    pub(crate) fn value_failed(&self, label: RouteId) {
        self.values.0.counters(label).own().outcomes[Outcome::Error as usize].add(1);
    }

    /// Counts a computation of a value.
    pub(crate) fn value_computed(&self, label: RouteId, trigger: Trigger, result: FillResult, took: Duration) {
        let counters = self.values.0.counters(label);
        counters.filled(trigger, result);
        counters.fill_duration.record(took);
    }

    /// Counts a request that ended without a response.
    pub(super) fn failed(&self, route: RouteId, outcome: Outcome) {
        self.routes.counters(route).own().outcomes[outcome as usize].add(1);
    }

    /// Counts a request that waits; returns whether it is sampled.
    pub(super) fn started(&self, route: RouteId) -> bool {
        let own = self.routes.counters(route).own();
        own.started.add(1);
        own.waits_to_sample.is_sampled(WAIT_SAMPLE)
    }

    pub(crate) fn route_name(&self, route: RouteId) -> &str {
        self.routes.name(route)
    }

    pub(super) fn ended(&self, route: RouteId) {
        self.routes.counters(route).own().ended.add(1);
    }

    pub(super) fn fetched(&self, route: RouteId, trigger: Trigger, result: FillResult, handler_time: Option<Duration>) {
        let counters = self.routes.counters(route);
        counters.filled(trigger, result);
        if let Some(handler_time) = handler_time {
            counters.fill_duration.record(handler_time);
        }
    }

    /// Counts a hit that was verified.
    pub(crate) fn verified(&self, route: RouteId, verification: Verification) {
        self.routes.counters(route).verifications[verification as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a hit on a near copy while the store cannot be reached.
    pub(crate) fn hit_in_outage(&self) {
        self.outage_hits.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn fetch_began(&self) {
        self.fetching.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn fetch_ended(&self) {
        self.fetching.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn wait_began(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn wait_ended(&self, waited: Duration) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.waits.record(waited);
    }
}
