//! The limits that a layer sets.

use std::time::Duration;

use super::layer::{CacheLayer, LONGEST_WAIT};
use crate::policy::limits::MOST_TAGS;

/// Limits: what is over one is forwarded and not stored. Each is logged once a route.
impl CacheLayer {
    /// Limits the tags of a response, without those that larder adds; default: 128, at most 10,000. A response with more is not stored.
    ///
    /// Each tag takes its length in every copy of the entry, and each is one more record that a remote store reads or writes.
    pub fn max_tags(self, max: usize) -> Self {
        self.edit(|settings| settings.limits.tags = max.min(MOST_TAGS))
    }

    /// Limits the variants (by `Vary`) of one URL; default: 32. A further variant replaces one: the oldest that has had no hits lately, or
    /// else the oldest. With 0, responses with `Vary` are not stored.
    pub fn max_variants(self, max: usize) -> Self {
        self.edit(|settings| settings.limits.variants = max)
    }

    /// Limits the header fields of a request, in bytes as HTTP/2 counts them (RFC 9113 §6.5.2: 32 more for each field); default: 32 KiB.
    /// A larger request bypasses the cache. The limit bounds the work for a request before its handler runs, and the size of its key.
    pub fn max_request_fields(self, bytes: usize) -> Self {
        self.edit(|settings| settings.limits.request_fields = bytes)
    }

    /// Limits the query of a request, in bytes, where a rule reads its parameters ([`ignore_query`](Self::ignore_query),
    /// [`only_query`](Self::only_query), [`sort_query`](Self::sort_query), [`no_vary_search`](Self::no_vary_search)); default: 8,000, which
    /// RFC 9110 §4.1 recommends for URIs. A longer query bypasses the cache there.
    pub fn max_query(self, bytes: usize) -> Self {
        self.edit(|settings| settings.limits.query = bytes)
    }

    /// Limits how long other requests wait for the end of a body without a length; default: 500 ms, at most a year. Then they run the
    /// handler themselves, and the key counts as [uncacheable](crate::Cache::with_uncacheable_keys) until such a body is stored.
    pub fn stream_wait_limit(self, limit: Duration) -> Self {
        self.edit(|settings| settings.limits.stream_wait = limit.min(LONGEST_WAIT))
    }
}
