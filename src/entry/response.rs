//! A stored response and its freshness.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, response};

use crate::clock::Timestamp;

/// A response as it will be sent again: nothing is parsed, formatted or rebuilt when it is.
#[derive(Debug, Clone)]
pub(crate) struct StoredResponse {
    /// With a slot for `Age`, so that a hit overwrites rather than inserts.
    pub(crate) head: response::Parts,
    pub(crate) body: Bytes,
    /// The moment at which the response was of age zero.
    pub(crate) generated: Timestamp,
    pub(crate) fresh_until: Timestamp,
    /// Whether it may answer a request with `Authorization` (RFC 9111 §3.5).
    pub(crate) allows_authorization: bool,
    pub(crate) stale: StaleWindows,
    /// Whether nobody may use it stale, not even who asks for it.
    pub(crate) must_not_serve_stale: bool,
    pub(crate) immutable: bool,
    /// How long the handler took, in milliseconds.
    pub(crate) handler_millis: u32,
}

/// The head of a response, without extensions.
pub(crate) fn response_head(status: StatusCode, headers: HeaderMap) -> response::Parts {
    let (mut head, ()) = Response::new(()).into_parts();
    head.status = status;
    head.headers = headers;
    head
}

impl StoredResponse {
    /// The current age in whole seconds (RFC 9111 §4.2.3).
    pub(crate) fn age(&self, now: Timestamp) -> u64 {
        now.seconds_since(self.generated)
    }

    pub(crate) fn weight(&self) -> usize {
        /// What one field takes in a `HeaderMap`, its index included.
        const FIELD: usize = 112;
        let headers: usize = self.head.headers.iter().map(|(name, value)| FIELD + name.as_str().len() + value.len()).sum();
        headers + self.body.len()
    }
}

/// For how long after its freshness a response may still be used (RFC 5861).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StaleWindows {
    /// While it is being fetched anew, in hundredths of a second.
    pub(crate) while_revalidate: u32,
    /// When it could not be, likewise: a year and more has room.
    pub(crate) if_error: u32,
}

impl StaleWindows {
    pub(crate) fn new(while_revalidate: Duration, if_error: Duration) -> Self {
        let hundredths = |window: Duration| u32::try_from(window.as_millis().div_ceil(10)).unwrap_or(u32::MAX);
        Self { while_revalidate: hundredths(while_revalidate), if_error: hundredths(if_error) }
    }

    pub(crate) fn longest(self) -> Duration {
        Duration::from_millis(u64::from(self.while_revalidate.max(self.if_error)) * 10)
    }
}
