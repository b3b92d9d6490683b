//! The statistics of a cache, for its application.

use std::sync::Arc;

use super::{Cache, Inner};
use crate::backend::memory_curve::MemoryCurve;
use crate::stats::{
    decision::Decision,
    hot::{HotKey, HotTag},
    invalidations::PastInvalidation,
    snapshot::{Moment, Stats},
    statistics::Statistics,
};

/// What the cache does.
impl Cache {
    /// Returns what this cache has counted so far: for each route and in total, what became of the requests, why responses were not stored,
    /// and how much time of the handlers was saved.
    ///
    /// larder always counts; a hit costs about ten nanoseconds more for it. A snapshot takes some microseconds per route, and stops no
    /// request. All handles to a store share their statistics, but for those with a [name](Self::with_name) of their own.
    ///
    /// ```
    /// let cache = larder::Cache::in_memory(64 << 20);
    /// // … requests
    /// let stats = cache.stats();
    /// for (route, stats) in stats.routes() {
    ///     println!("{route}: {} requests, hit ratio {:?}, saved {:?}", stats.requests(), stats.hit_ratio(), stats.saved());
    ///     for (reason, count) in stats.not_stored() {
    ///         println!("    not stored {count} times: {}", reason.explanation());
    ///     }
    /// }
    /// ```
    pub fn stats(&self) -> Stats {
        let Inner { statistics, backend, fetch_slots, name, .. } = &*self.inner;
        let moment = Moment {
            cache: Arc::clone(name),
            mode: self.mode().number(),
            fetch_limit: fetch_slots.per_route(),
            hottest_key_share: statistics.hot.share(self.now()),
            stores: backend.stats(),
        };
        Stats::of(statistics, moment)
    }

    /// Returns a handle to the same store whose layers call `listener` with each decision, when the response is there or the request has
    /// ended without one; the last call wins. Without a listener nothing is computed.
    ///
    /// It runs on the task of the request, and delays it: count or send, and do not wait. The same is logged as a `tracing` event at the
    /// level `DEBUG`, with the target `larder::decision`, if a subscriber wants it.
    ///
    /// ```
    /// let cache = larder::Cache::in_memory(64 << 20)
    ///     .with_decision_listener(|decision| println!("{}: {}", decision.route(), decision.outcome().as_str()));
    /// ```
    #[must_use]
    pub fn with_decision_listener(&self, listener: impl Fn(&Decision<'_>) + Send + Sync + 'static) -> Self {
        self.with(|inner| Arc::make_mut(&mut inner.listener).on_decision = Some(Arc::new(listener)))
    }

    /// Returns a handle to the same store that shows the URLs of cache keys in events, to its listener, in [`hot_keys`](Self::hot_keys) and on the
    /// operator's page; default: off, only eight digits of the digests of keys.
    ///
    /// A URL is shown with its query, which may contain secrets. The other parts of a key are never shown: request fields by which responses
    /// vary, cookies, principals and the part of `key_with`. Keys that differ in these alone have the same URL and different digests.
    #[must_use]
    pub fn with_revealed_keys(&self, on: bool) -> Self {
        self.with(|inner| Arc::make_mut(&mut inner.listener).reveals_keys = on)
    }

    /// Returns the `count` keys that most requests are answered for from the cache, at most 48, the hottest first; in the last one to two
    /// minutes, by the cache's clock.
    ///
    /// The numbers are estimates: about one hit of 64 is sampled, and the counts may be too high by a 48th of all hits.
    ///
    /// Sampling costs a hit 16 instructions on average, of 5,450 for a page with two tags (`scripts/instructions page-larder-hit`): 5 for the
    /// countdown, and 700 for the one hit of 64 while few keys are hot. The tables of hot keys, misses and tags take 52 KiB together at most.
    pub fn hot_keys(&self, count: usize) -> Vec<HotKey> {
        self.inner.statistics.hot.keys(self.now(), count, self.inner.listener.reveals_keys)
    }

    /// Returns the `count` keys for which the handler answers most requests, as [`hot_keys`](Self::hot_keys): about one of 8 is sampled.
    pub fn hot_misses(&self, count: usize) -> Vec<HotKey> {
        self.inner.statistics.hot.missing(self.now(), count, self.inner.listener.reveals_keys)
    }

    /// Returns the `count` tags that most hits have, as [`hot_keys`](Self::hot_keys), without those that larder adds. Hits that wait
    /// for a remote store are not counted here: give it a near tier.
    pub fn hot_tags(&self, count: usize) -> Vec<HotTag> {
        self.inner.statistics.hot.tags(self.now(), count, self.space())
    }

    /// Returns what the hit ratio would be with half, twice and four times the memory: of the store in memory, or of the near tier of a tiered
    /// store; `None` without one.
    ///
    /// One key of 64 is simulated (fewer of stores above 64 MiB), in four small copies of the store's map without the responses, with moka's default policy whatever
    /// `Memory::from_moka` was given. That costs a hit a few instructions, and
    /// the hit on a sampled key some microseconds more, unless the same key was looked up before; in memory it is about 150 bytes an entry in a
    /// store of up to 64 MiB, half as many in one of 128 MiB, and so on. The estimate is good if a 64th of the store has room for some
    /// hundred responses:
    /// [`MemoryCurve::error`](crate::backend::MemoryCurve::error) says how good. It counts from the beginning;
    /// [`MemoryCurve::since`](crate::backend::MemoryCurve::since) is the difference between two.
    ///
    /// ```
    /// let cache = larder::Cache::in_memory(64 << 20);
    /// // … requests
    /// if let Some(points) = cache.memory_curve().and_then(|curve| curve.points()) {
    ///     for point in points {
    ///         println!("{} × the memory: {:.1} % hits", point.size, 100.0 * point.hit_ratio);
    ///     }
    /// }
    /// ```
    pub fn memory_curve(&self) -> Option<MemoryCurve> {
        self.inner.backend.stats().into_iter().find_map(|store| store.memory_curve)
    }

    /// Returns the latest `count` invalidations by this process, at most 256, the last one first. Each is logged as well, with the target
    /// `larder::invalidation`.
    pub fn recent_invalidations(&self, count: usize) -> Vec<PastInvalidation> {
        self.inner.statistics.invalidations.recent(count, self.space())
    }

    /// Returns a handle to the same store with statistics of its own, under this name; default: `larder`. Metrics have the name as the
    /// label `cache`. Layers that were made from other handles count for those.
    #[must_use]
    pub fn with_name(&self, name: &str) -> Self {
        self.with(|inner| {
            inner.name = name.into();
            inner.statistics = Arc::<Statistics>::default();
        })
    }
}
