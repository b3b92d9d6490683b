//! A snapshot of the statistics, for applications and exporters.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    counters::RouteCounters,
    fill_result::{FillResult, Trigger},
    invalidations::InvalidationStats,
    route_table::RouteTable,
    statistics::Statistics,
    verification::Verification,
};
use crate::{
    backend::store_stats::StoreStats,
    counting::histogram::Durations,
    http::{
        cache_status::{Forward, Reason},
        outcome::Outcome,
    },
};

/// What a cache has counted until one moment, made by [`Cache::stats`](crate::Cache::stats).
///
/// Counters begin at zero when the cache is created, and only grow. [`since`](Self::since) is the difference between two snapshots.
///
/// A request counts once for each layer that it enters. Requests that enter or end at this moment may be missing; none is counted twice.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    routes: BTreeMap<Box<str>, RouteStats>,
    total: RouteStats,
    waits: Durations,
    stale_ages: Durations,
    waiting: u64,
    fetching: u64,
    outage_hits: u64,
    invalidations: InvalidationStats,
    moment: Moment,
}

/// What only the cache knows, and what is not a counter.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moment {
    /// The name of the cache.
    pub(crate) cache: Arc<str>,
    /// The mode, by its number: 0 enabled, 1 read-only, 2 bypass.
    pub(crate) mode: u8,
    pub(crate) fetch_limit: usize,
    pub(crate) hottest_key_share: Option<f64>,
    pub(crate) stores: Vec<StoreStats>,
}

/// What a cache has counted for one route, or for all routes together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteStats {
    outcomes: [u64; Outcome::ALL.len()],
    in_flight: u64,
    forwarded: [u64; Forward::ALL.len()],
    bypassed: [u64; Reason::ALL.len()],
    fills: [[u64; FillResult::COUNT]; Trigger::ALL.len()],
    fill_duration: Durations,
    bytes_from_cache: u64,
    bytes_from_handler: u64,
    saved_millis: u64,
    verifications: [u64; Verification::ALL.len()],
}

impl Stats {
    pub(crate) fn of(statistics: &Statistics, moment: Moment) -> Self {
        let each = |table: &RouteTable| -> BTreeMap<_, _> {
            table.routes().map(|route| (route.name.clone(), RouteStats::of(route))).collect()
        };
        let mut routes = each(&statistics.routes);
        let total = routes.values().fold(RouteStats::default(), |sum, route| sum.combined(route, u64::saturating_add));
        routes.extend(each(&statistics.values.0));
        Self {
            routes,
            total,
            waits: statistics.waits.snapshot(),
            stale_ages: statistics.stale_ages.snapshot(),
            waiting: statistics.waiting.load(Ordering::Relaxed),
            fetching: statistics.fetching.load(Ordering::Relaxed),
            outage_hits: statistics.outage_hits.load(Ordering::Relaxed),
            invalidations: statistics.invalidations.snapshot(),
            moment,
        }
    }

    /// Returns the counts since `earlier`, a snapshot of the same cache. Numbers of a moment, such as the requests in flight, are those of
    /// this snapshot.
    ///
    /// ```
    /// # let cache = larder::Cache::in_memory(1 << 20);
    /// let before = cache.stats();
    /// // … a minute later
    /// let minute = cache.stats().since(&before);
    /// println!("{} requests, hit ratio {:?}", minute.requests(), minute.hit_ratio());
    /// ```
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let nothing = RouteStats::default();
        let since = |(name, route): (&str, &RouteStats)| {
            let before = earlier.route(name).unwrap_or(&nothing);
            (name.into(), route.combined(before, u64::saturating_sub).with_in_flight(route.in_flight))
        };
        Self {
            routes: self.routes().map(since).collect(),
            total: self.total.combined(&earlier.total, u64::saturating_sub).with_in_flight(self.total.in_flight),
            waits: self.waits.combined(&earlier.waits, u64::saturating_sub),
            stale_ages: self.stale_ages.combined(&earlier.stale_ages, u64::saturating_sub),
            waiting: self.waiting,
            fetching: self.fetching,
            outage_hits: self.outage_hits.saturating_sub(earlier.outage_hits),
            invalidations: self.invalidations.since(&earlier.invalidations),
            moment: self.moment.clone(),
        }
    }

    /// Returns the sum of all routes, without values.
    pub fn total(&self) -> &RouteStats {
        &self.total
    }

    /// Returns each route with its statistics, in the order of their names: routes as written in the router, with the prefixes of nested
    /// routers. The 256 routes that were met first are counted one by one, all further ones as `other`; requests without a route under
    /// the [name](crate::CacheLayer::name) of their layer, else as `no route`. Values
    /// ([`Cache::get_or_compute`](crate::Cache)) are counted in the same way, a call as a request, under `value` or
    /// `value LABEL`.
    pub fn routes(&self) -> impl Iterator<Item = (&str, &RouteStats)> {
        self.routes.iter().map(|(name, route)| (&**name, route))
    }

    /// Returns the statistics of one route, such as `/posts/{id}`; `None` if no request for it has been counted.
    pub fn route(&self, name: &str) -> Option<&RouteStats> {
        self.routes.get(name)
    }

    /// Returns the number of requests, as [`RouteStats::requests`].
    pub fn requests(&self) -> u64 {
        self.total.requests()
    }

    /// Returns the hit ratio of all routes together, as [`RouteStats::hit_ratio`].
    pub fn hit_ratio(&self) -> Option<f64> {
        self.total.hit_ratio()
    }

    /// Returns how often responses were not stored, as [`RouteStats::not_stored`].
    pub fn not_stored(&self) -> Vec<(Reason, u64)> {
        self.total.not_stored()
    }

    /// Returns the handlers' time that the cache has saved, as [`RouteStats::saved`].
    pub fn saved(&self) -> Duration {
        self.total.saved()
    }

    /// Returns how long requests waited for the fetches of others.
    pub fn waits(&self) -> &Durations {
        &self.waits
    }

    /// Returns how long the responses that were served stale had been stale, in whole seconds.
    pub fn stale_ages(&self) -> &Durations {
        &self.stale_ages
    }

    /// Returns the statistics of invalidations.
    pub fn invalidations(&self) -> &InvalidationStats {
        &self.invalidations
    }

    /// Returns what each store has counted since it was created, the nearest first.
    pub fn stores(&self) -> &[StoreStats] {
        &self.moment.stores
    }

    pub(super) fn moment(&self) -> &Moment {
        &self.moment
    }

    /// Returns the number of requests that wait for the fetch of another at this moment.
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Returns the number of hits on near copies while the store could not be reached (`Tiered::outage_grace`). They are hits in all other
    /// numbers as well.
    pub fn outage_hits(&self) -> u64 {
        self.outage_hits
    }

    /// Returns the number of handler runs whose response may be stored, with their bodies, at this moment.
    pub fn fetches_in_flight(&self) -> u64 {
        self.fetching
    }
}

impl RouteStats {
    fn of(counters: &RouteCounters) -> Self {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let mut stats = Self {
            bypassed: counters.bypassed.each_ref().map(load),
            fills: counters.fills.each_ref().map(|results| results.each_ref().map(load)),
            fill_duration: counters.fill_duration.snapshot(),
            verifications: counters.verifications.each_ref().map(load),
            ..Self::default()
        };
        for own in counters.threads() {
            stats.bytes_from_cache += own.bytes_from_cache.get();
            stats.bytes_from_handler += own.bytes_from_handler.get();
            stats.saved_millis += own.saved_millis.get();
            stats.outcomes.iter_mut().zip(&own.outcomes).for_each(|(sum, count)| *sum += count.get());
            stats.forwarded.iter_mut().zip(&own.forwarded).for_each(|(sum, count)| *sum += count.get());
        }
        // In this order: a request with an outcome has ended, and one that has ended has started. None is counted twice.
        let ended: u64 = counters.threads().map(|own| own.ended.get()).sum();
        let started: u64 = counters.threads().map(|own| own.started.get()).sum();
        stats.in_flight = started.saturating_sub(ended);
        stats
    }

    /// Returns the number of requests that have entered a layer: those with an outcome, and those in flight.
    pub fn requests(&self) -> u64 {
        self.outcomes.iter().sum::<u64>() + self.in_flight
    }

    /// Returns the number of requests that wait for a response at this moment. A response whose body is still sent is not in flight.
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Returns the number of requests with this outcome.
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// Returns the share of requests that were answered without a handler run of their own: hit, stale and collapsed among those and
    /// revalidated, miss and uncached. Requests that were never looked up, such as writes, do not count. `None` if there were none.
    pub fn hit_ratio(&self) -> Option<f64> {
        let count = |counts: fn(Outcome) -> bool| {
            Outcome::ALL.iter().filter(|outcome| counts(**outcome)).map(|outcome| self.outcome(*outcome)).sum::<u64>()
        };
        let all = count(Outcome::counts_in_ratio);
        (all > 0).then(|| count(Outcome::is_from_cache) as f64 / all as f64)
    }

    /// Returns the number of requests that were forwarded to the handler for this reason.
    pub fn forwarded(&self, why: Forward) -> u64 {
        self.forwarded[why as usize]
    }

    /// Returns how often a response was not stored for each reason, the most frequent first. Those of requests that were not looked
    /// up count when the request ends, all others when the body ends.
    pub fn not_stored(&self) -> Vec<(Reason, u64)> {
        let mut reasons: Vec<_> = Reason::ALL.iter().map(|reason| (*reason, self.not_stored_for(*reason))).collect();
        reasons.retain(|(_, count)| *count > 0);
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        reasons
    }

    /// Returns how often a response was not stored for this reason.
    pub fn not_stored_for(&self, reason: Reason) -> u64 {
        let filled = |trigger: &Trigger| self.fills(*trigger, FillResult::NotStored(reason));
        self.bypassed[reason as usize] + Trigger::ALL.iter().map(filled).sum::<u64>()
    }

    /// Returns how often requests were forwarded without a lookup for this reason.
    pub(super) fn bypassed(&self, reason: Reason) -> u64 {
        self.bypassed[reason as usize]
    }

    /// Returns the number of handler runs by what made them run and what became of their response. They are counted when the body ends.
    pub fn fills(&self, trigger: Trigger, result: FillResult) -> u64 {
        self.fills[trigger as usize][result.index()]
    }

    /// Returns how long handlers took, from the request to the head of the response.
    pub fn fill_durations(&self) -> &Durations {
        &self.fill_duration
    }

    /// Returns the bytes of bodies that were sent from stored responses.
    pub fn bytes_from_cache(&self) -> u64 {
        self.bytes_from_cache
    }

    /// Returns the bytes of the handlers' bodies whose length was known before they were sent.
    pub fn bytes_from_handler(&self) -> u64 {
        self.bytes_from_handler
    }

    /// Returns the handlers' time that the cache has saved: for each request that a stored response answered, how long the handler had
    /// taken for it, in whole milliseconds.
    pub fn saved(&self) -> Duration {
        Duration::from_millis(self.saved_millis)
    }

    /// Returns the number of hits for which shadow verification has found this; see [`verify_hits`](crate::CacheLayer::verify_hits).
    pub fn verifications(&self, verification: Verification) -> u64 {
        self.verifications[verification as usize]
    }

    fn combined(&self, other: &Self, combine: fn(u64, u64) -> u64) -> Self {
        Self {
            outcomes: combined(self.outcomes, &other.outcomes, combine),
            in_flight: combine(self.in_flight, other.in_flight),
            forwarded: combined(self.forwarded, &other.forwarded, combine),
            bypassed: combined(self.bypassed, &other.bypassed, combine),
            fills: std::array::from_fn(|trigger| combined(self.fills[trigger], &other.fills[trigger], combine)),
            fill_duration: self.fill_duration.combined(&other.fill_duration, combine),
            bytes_from_cache: combine(self.bytes_from_cache, other.bytes_from_cache),
            bytes_from_handler: combine(self.bytes_from_handler, other.bytes_from_handler),
            saved_millis: combine(self.saved_millis, other.saved_millis),
            verifications: combined(self.verifications, &other.verifications, combine),
        }
    }

    fn with_in_flight(self, in_flight: u64) -> Self {
        Self { in_flight, ..self }
    }
}

fn combined<const N: usize>(mut counts: [u64; N], others: &[u64; N], combine: fn(u64, u64) -> u64) -> [u64; N] {
    counts.iter_mut().zip(others).for_each(|(count, other)| *count = combine(*count, *other));
    counts
}

impl Default for RouteStats {
    fn default() -> Self {
        Self {
            outcomes: [0; Outcome::ALL.len()],
            in_flight: 0,
            forwarded: [0; Forward::ALL.len()],
            bypassed: [0; Reason::ALL.len()],
            fills: [[0; FillResult::COUNT]; Trigger::ALL.len()],
            fill_duration: Durations::default(),
            bytes_from_cache: 0,
            bytes_from_handler: 0,
            saved_millis: 0,
            verifications: [0; Verification::ALL.len()],
        }
    }
}
