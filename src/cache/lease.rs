//! A lease on a cache, by whatever delivers invalidations to it from elsewhere.

use std::{fmt, time::Duration};

use super::Cache;
use crate::clock::Timestamp;

/// A lease under which a cache answers, made by [`Cache::lease`].
///
/// If it is dropped, the lease ends when it would have ended, and the cache stays bypassed until another lease is begun and extended.
#[must_use = "the cache is bypassed until its lease is extended"]
pub struct CacheLease {
    cache: Cache,
    number: usize,
}

impl Cache {
    /// Puts the cache under a lease: it is bypassed unless the lease is extended again and again. For whatever delivers invalidations
    /// that are made elsewhere, such as the follower of a database's outbox (crate `larder-postgres`): while it cannot deliver, responses
    /// that should have been invalidated must not be served for longer than a bound.
    ///
    /// The lease has ended when it begins. Extend it after invalidations were applied, from a time that was read *before* they were
    /// requested: `lease.extend(sent, bound)`. Each request checks it, so that a process that was stopped for a while serves nothing old when it
    /// continues. After the end, [`mode`](Self::mode) is [`CacheMode::Bypass`](crate::CacheMode::Bypass) in this process, for all handles to the
    /// store, and nothing is served or stored; entries are kept. Of several leases, the one that ends first counts.
    ///
    /// It costs a read of the clock for each request, some nanoseconds.
    ///
    /// ```
    /// use std::time::Duration;
    /// use larder::{Cache, CacheMode};
    ///
    /// let cache = Cache::in_memory(64 << 20);
    /// let lease = cache.lease();
    /// assert_eq!(cache.mode(), CacheMode::Bypass);
    /// let sent = lease.now();
    /// // … ask for invalidations, and apply them …
    /// lease.extend(sent, Duration::from_secs(5));
    /// assert_eq!(cache.mode(), CacheMode::Enabled);
    /// ```
    pub fn lease(&self) -> CacheLease {
        CacheLease { cache: self.clone(), number: self.inner.mode.begin_lease() }
    }
}

impl CacheLease {
    /// Returns the time by the cache's clock.
    pub fn now(&self) -> Timestamp {
        self.cache.now()
    }

    /// Lets the lease end at `span` after `sent`, unless it ends later already. Every invalidation that was made before `sent` must have been applied.
    pub fn extend(&self, sent: Timestamp, span: Duration) {
        self.cache.inner.mode.leases().extend(self.number, sent + span);
    }

    /// Returns how long the lease still lasts; zero if it has ended.
    pub fn remaining(&self) -> Duration {
        self.cache.inner.mode.leases().until(self.number).since(self.now())
    }
}

impl Drop for CacheLease {
    fn drop(&mut self) {
        self.cache.inner.mode.leases().leave(self.number);
    }
}

impl fmt::Debug for CacheLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheLease").field("remaining", &self.remaining()).finish_non_exhaustive()
    }
}
