//! The limits of a cache, which all its layers share.

use std::{sync::Arc, time::Duration};

use super::{
    Cache, FLIGHT_SHARDS,
    fetch_slots::{FetchLimits, FetchSlots},
    flights::{Flights, WaiterLimits},
    uncacheable::Uncacheable,
};

/// The upper bound of time limits, which keeps `Instant + limit` from overflowing.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Limits on concurrent fetches, on requests that wait, and on buffered bytes.
impl Cache {
    /// Returns a handle to the same store that runs at most `max` handlers of each route concurrently to fill the cache; default: 1024.
    ///
    /// Further requests queue in the order of arrival, for at most a layer's [`wait_limit`](crate::CacheLayer::wait_limit); then they
    /// run without a limit. A route is a path of the router (`/posts/{id}`), or a whole layer if there is no router; a route whose handlers
    /// hang delays no other. The limit counts handlers whose client waits, and background refreshes. It does not count bodies that are
    /// streamed, [abandoned fetches](Self::with_max_abandoned_fetches), and requests whose response cannot be stored.
    #[must_use]
    pub fn with_max_fetches(&self, max: usize) -> Self {
        self.limit_fetches(|limits| limits.per_route = max)
    }

    /// Returns a handle to the same store that ends a fetch `limit` after its client has left, a year at most; default: 30 seconds.
    ///
    /// A fetch continues when its client leaves, so that its response is stored. From then on, head and body together have this time;
    /// a background refresh has it from its start. At the limit the handler or its body is dropped, and the next request for the key
    /// fetches again.
    #[must_use]
    pub fn with_abandoned_fetch_limit(&self, limit: Duration) -> Self {
        self.limit_fetches(|limits| limits.abandoned_for = limit.min(LONGEST))
    }

    /// Returns a handle to the same store with at most `count` concurrent fetches whose clients have left, which buffer about `bytes` bytes
    /// of bodies at most; default: 256, and 16 MiB. A fetch beyond that ends when its client leaves; with 0, every fetch does.
    #[must_use]
    pub fn with_max_abandoned_fetches(&self, count: usize, bytes: u64) -> Self {
        self.limit_fetches(|limits| (limits.abandoned, limits.abandoned_bytes) = (count, bytes))
    }

    /// Returns a handle to the same store that buffers about `bytes` bytes at most of bodies that it reads ahead of their clients to
    /// store them; default: 64 MiB.
    ///
    /// A streamed body is read as fast as the handler produces it, even if its client is slower. It takes up to half of the free
    /// bytes: a third of all if it is the only one. A larger body is not stored, and is read at its client's speed.
    #[must_use]
    pub fn with_max_buffered_bytes(&self, bytes: u64) -> Self {
        self.limit_fetches(|limits| limits.buffered_bytes = bytes)
    }

    /// Returns a handle to the same store that holds about `bytes` bytes at most of the content of requests; default: 16 MiB.
    ///
    /// It counts what layers have read of a [QUERY](crate::CacheLayer::cache_query) or a [POST](crate::CacheLayer::cache_post), and 1 KiB
    /// for each such request, until its handler has taken the body or the cache has answered. The content of a further request is not
    /// read: its handler answers, and the response is not stored. With 0, none is read.
    #[must_use]
    pub fn with_max_request_bytes(&self, bytes: u64) -> Self {
        self.limit_fetches(|limits| limits.request_bytes = bytes)
    }

    /// Returns a handle to the same store that lets at most `per_key` requests wait for the fetch of one key, and `total` requests
    /// altogether; default: 10,000 and 100,000. Further requests call the handler directly.
    #[must_use]
    pub fn with_max_waiters(&self, per_key: usize, total: usize) -> Self {
        self.with(|inner| inner.flights = Flights::new(FLIGHT_SHARDS, WaiterLimits { per_key, total }))
    }

    /// Returns a handle to the same store that ends a write `limit` after its client has left, a year at most; default: 60 seconds.
    ///
    /// A write is a request with an unsafe method. It continues when its client leaves, so that what it commits is invalidated. One that
    /// exceeds the limit is dropped, maybe between the two, and a warning is logged each time.
    #[must_use]
    pub fn with_abandoned_write_limit(&self, limit: Duration) -> Self {
        self.with(|inner| inner.abandoned_write_limit = limit.min(LONGEST))
    }

    /// Returns a handle to the same store that remembers up to `count` keys whose latest response could not be stored, each for `time`;
    /// default: 10,000, and two minutes. Requests for such a key do not wait for each other. The oldest key is forgotten for the newest,
    /// which costs one wait. With 0, concurrent requests for a response that is never stored wait for each other again and again.
    #[must_use]
    pub fn with_uncacheable_keys(&self, count: usize, time: Duration) -> Self {
        self.with(|inner| inner.uncacheable = Arc::new(Uncacheable::new(count, time)))
    }

    fn limit_fetches(&self, change: impl FnOnce(&mut FetchLimits)) -> Self {
        let mut limits = self.inner.fetch_slots.limits;
        change(&mut limits);
        self.with(|inner| inner.fetch_slots = FetchSlots::new(limits))
    }
}
