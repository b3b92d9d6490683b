//! The time timeouts of a remote store.

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

/// The time timeouts of a remote store, and the number of failures that opens the breaker.
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
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(1),
        }
    }
}

/// Returns an error if the operation takes longer than `limit`.
pub(crate) fn with_deadline<F: Future>(limit: Duration, operation: F) -> WithDeadline<F> {
    WithDeadline { limit, timed: timeout(limit, operation) }
}

/// Returns an error if the operation has not ended when `limit` has passed since `began`.
#[cfg(feature = "redis")]
pub(crate) fn with_deadline_since<F: Future>(began: Instant, limit: Duration, operation: F) -> WithDeadline<F> {
    WithDeadline { limit, timed: timeout(limit.saturating_sub(began.elapsed()), operation) }
}

pin_project! {
    /// An operation with a deadline. Not an async function, whose future would contain its argument twice.
    pub(crate) struct WithDeadline<F> {
        limit: Duration,
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

pub(crate) fn deadline_exceeded(limit: Duration, elapsed: Elapsed) -> Error {
    Error::timeout(format!("the store did not answer within {} ms", limit.as_millis())).with_source(elapsed)
}
