//! The limits of a layer, and what to do about one that is met.

use std::time::Duration;

use crate::http::cache_status::Reason;

/// The limits of a layer on what it handles and stores.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The largest size of the header fields of a request, in bytes as counted by HTTP/2. nginx accepts 32 KiB by default, Node half of
    /// it. It bounds the cost of a request before the handler runs, and the size of its key.
    pub(crate) request_fields: usize,
    /// The longest query that a rule is applied to, in bytes.
    pub(crate) query: usize,
    /// The largest number of tags of a response, without those that larder adds.
    pub(crate) tags: usize,
    pub(crate) variants: usize,
    /// The largest content of a QUERY that is read, in bytes; 0: none is.
    pub(crate) query_content: usize,
    /// How long the content of a request may take to arrive.
    pub(crate) content_wait: Duration,
    /// How long followers wait for the end of a body without a length.
    pub(crate) stream_wait: Duration,
}

/// The largest number of tags that a response may be allowed. A store reads or writes a record for each.
pub(crate) const MOST_TAGS: usize = 10_000;

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_fields: 32 << 10,
            // RFC 9110 §4.1 recommends that servers support URIs of that length.
            query: 8000,
            tags: 128,
            variants: 32,
            query_content: 16 << 10,
            content_wait: Duration::from_secs(2),
            stream_wait: Duration::from_millis(500),
        }
    }
}

/// Returns how to raise the limit that was met; `None` if the reason is no limit.
pub(crate) fn advice(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::RequestFieldsTooLarge => "`CacheLayer::max_request_fields` sets the limit.",
        Reason::QueryTooLong => "`CacheLayer::max_query` sets the limit.",
        Reason::RequestBodyTooLarge => "`CacheLayer::cache_query` and `CacheLayer::cache_post` set the limit.",
        Reason::RequestBodyTooSlow => "`CacheLayer::request_body_wait` sets the limit.",
        Reason::RequestBodyLimit => "`Cache::with_max_request_bytes` sets the limit.",
        Reason::RequestBodyType => "`CacheLayer::request_body` says how to make such a body.",
        Reason::VariantLimit => "`CacheLayer::max_variants` sets the limit.",
        Reason::TooLarge => "`CacheLayer::max_body` sets the limit of the route.",
        Reason::TooManyTags => "`CacheLayer::max_tags` sets the limit.",
        Reason::InvalidTag => "Shorten the tag, or use a digest of it.",
        Reason::BufferLimit => "`Cache::with_max_abandoned_fetches` sets the limit for fetches whose client has left.",
        Reason::WaitLimit => "`CacheLayer::wait_limit` and `Cache::with_max_waiters` set the limits.",
        _ => return None,
    })
}
