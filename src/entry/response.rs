//! A stored response, and its stale windows.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, response};

use super::{
    codings::{Codings, weight_of_fields},
    selection::Selection,
};
use crate::clock::Timestamp;

/// A response in the form in which hits send it: a hit parses, formats and rebuilds nothing.
#[derive(Debug, Clone)]
pub(crate) struct StoredResponse {
    /// Has a slot for `Age`, so that a hit overwrites a value instead of inserting one.
    pub(crate) head: response::Parts,
    pub(crate) body: Bytes,
    /// The codings in which it is served as well; `None` if it is served as it came, always.
    pub(crate) codings: Option<Arc<Codings>>,
    /// Which requests it is for, if it has a `Vary`.
    pub(crate) selection: Option<Arc<Selection>>,
    /// When the response's age was zero (RFC 9111 §4.2.3).
    pub(crate) generated: Timestamp,
    pub(crate) fresh_until: Timestamp,
    /// Whether it may answer a request with `Authorization` (RFC 9111 §3.5).
    pub(crate) allows_authorization: bool,
    pub(crate) stale: StaleWindows,
    /// Whether it must not be served stale, not even to a request with `max-stale`.
    pub(crate) must_not_serve_stale: bool,
    pub(crate) immutable: bool,
    /// Whether larder keeps it longer than its own `Cache-Control` says.
    pub(crate) outlives_max_age: bool,
    /// The duration of the handler run, in milliseconds.
    pub(crate) handler_millis: u32,
}

/// Creates the head of a response, without extensions.
pub(crate) fn response_head(status: StatusCode, headers: HeaderMap) -> response::Parts {
    let (mut head, ()) = Response::new(()).into_parts();
    head.status = status;
    head.headers = headers;
    head
}

impl StoredResponse {
    /// Returns the current age, in whole seconds (RFC 9111 §4.2.3).
    pub(crate) fn age(&self, now: Timestamp) -> u64 {
        now.seconds_since(self.generated)
    }

    /// Returns the age that is sent. A response that larder keeps longer than its own `Cache-Control` says is current by the word of the
    /// application: with its age, caches in front of larder would find it stale on arrival.
    pub(crate) fn sent_age(&self, now: Timestamp) -> u64 {
        if self.outlives_max_age { 0 } else { self.age(now) }
    }

    /// Returns the approximate size in memory, in bytes.
    pub(crate) fn weight(&self) -> usize {
        let codings = self.codings.as_deref().map_or(0, |codings| codings.weight(&self.head));
        weight_of_fields(&self.head.headers) + self.body.len() + codings + self.selection.as_deref().map_or(0, Selection::weight)
    }
}

/// How long after it has become stale a response may still be served (RFC 5861).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StaleWindows {
    /// While it is revalidated, in hundredths of a second.
    pub(crate) while_revalidate: u32,
    /// If revalidation fails, in hundredths of a second: 32 bits are more than a year.
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
