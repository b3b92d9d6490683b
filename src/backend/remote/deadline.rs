//! The time limits of a remote store.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::{Timeout, error::Elapsed, timeout};

use crate::error::Error;

#[cfg(feature = "redis")]
use tokio::time::Instant;

/// The time limits of a remote store, and how it copes with failures.
#[derive(Debug, Clone)]
pub(crate) struct Timeouts {
    /// The limit of a lookup; after it the handler answers.
    pub(crate) read: Duration,
    /// The limit of storing a response, while its client waits.
    pub(crate) store: Duration,
    /// The limit of an invalidation, and of a health check.
    pub(crate) invalidate: Duration,
    /// The number of consecutive failures that opens the breaker.
    pub(crate) failures: u32,
    /// The largest number of tags that are remembered while a store fails.
    pub(crate) owed_tags: usize,
    /// The first pause between attempts to reach a failed store; each later pause is twice as long.
    pub(crate) first_pause: Duration,
    pub(crate) longest_pause: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            read: Duration::from_millis(50),
            store: Duration::from_millis(100),
            invalidate: Duration::from_secs(1),
            failures: 5,
            owed_tags: 65_536,
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(1),
        }
    }
}

/// The limit of an operation, and the setting that changes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeLimit {
    pub(crate) after: Duration,
    setting: Option<&'static str>,
}

impl TimeLimit {
    /// The limit of a lookup.
    pub(crate) const fn of_reads(after: Duration) -> Self {
        Self { after, setting: Some("read_timeout") }
    }

    /// A limit that cannot be set.
    #[cfg(feature = "redis")]
    pub(crate) const fn fixed(after: Duration) -> Self {
        Self { after, setting: None }
    }
}

impl Timeouts {
    pub(crate) const fn of_reads(&self) -> TimeLimit {
        TimeLimit::of_reads(self.read)
    }

    pub(crate) const fn of_stores(&self) -> TimeLimit {
        TimeLimit { after: self.store, setting: Some("store_timeout") }
    }

    pub(crate) const fn of_invalidations(&self) -> TimeLimit {
        TimeLimit { after: self.invalidate, setting: Some("invalidate_timeout") }
    }
}

/// Returns an error if the operation takes longer than `limit`.
pub(crate) fn with_deadline<F: Future>(limit: TimeLimit, operation: F) -> WithDeadline<F> {
    WithDeadline { limit, timed: timeout(limit.after, operation) }
}

/// Returns an error if the operation has not ended when `limit` has passed since `began`.
#[cfg(feature = "redis")]
pub(crate) fn with_deadline_since<F: Future>(began: Instant, limit: TimeLimit, operation: F) -> WithDeadline<F> {
    WithDeadline { limit, timed: timeout(limit.after.saturating_sub(began.elapsed()), operation) }
}

pin_project! {
    /// An operation with a deadline. Not an async function, whose future would contain its argument twice.
    pub(crate) struct WithDeadline<F> {
        limit: TimeLimit,
        #[pin]
        timed: Timeout<F>,
    }
}

impl<T, F: Future<Output = Result<T, Error>>> Future for WithDeadline<F> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.timed.poll(cx).map(|outcome| outcome.unwrap_or_else(|elapsed| Err(deadline_exceeded(*this.limit, elapsed))))
    }
}

/// Returns the error of an operation that took too long. It says what to set, since the error is in the logs and the health of the store.
pub(crate) fn deadline_exceeded(limit: TimeLimit, elapsed: Elapsed) -> Error {
    let millis = limit.after.as_millis();
    let message = match limit.setting {
        Some(setting) => format!("the store did not answer within {millis} ms: raise `{setting}` if it is only slow"),
        None => format!("the store did not answer within {millis} ms"),
    };
    Error::timeout(message).with_source(elapsed)
}
