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

/// How long a remote store may take, and when it is given up for a while.
#[derive(Debug, Clone)]
pub(crate) struct Timeouts {
    /// For a look-up: longer than that, and the handler answers.
    pub(crate) read: Duration,
    /// For storing a response, whose client waits.
    pub(crate) store: Duration,
    /// For an invalidation, and for a sign of life.
    pub(crate) invalidate: Duration,
    /// How many failures in a row open the breaker.
    pub(crate) failures: u32,
    /// Between the first attempts to reach a store that has failed; each later pause is twice as long.
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

/// Gives up after `limit`.
pub(crate) fn with_deadline<F: Future>(limit: Duration, what: F) -> Limited<F> {
    Limited { limit, timed: timeout(limit, what) }
}

/// Gives up when `limit` has passed since `began`.
#[cfg(feature = "redis")]
pub(crate) fn with_deadline_since<F: Future>(began: Instant, limit: Duration, what: F) -> Limited<F> {
    Limited { limit, timed: timeout(limit.saturating_sub(began.elapsed()), what) }
}

pin_project! {
    /// An async function that awaits its argument would hold it twice.
    pub(crate) struct Limited<F> {
        limit: Duration,
        #[pin]
        timed: Timeout<F>,
    }
}

impl<T, F: Future<Output = Result<T, Error>>> Future for Limited<F> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.timed.poll(cx).map(|outcome| outcome.unwrap_or_else(|elapsed| Err(deadline_exceeded(*this.limit, elapsed))))
    }
}

pub(crate) fn deadline_exceeded(limit: Duration, elapsed: Elapsed) -> Error {
    Error::timeout(format!("the store did not answer within {} ms", limit.as_millis())).with_source(elapsed)
}
