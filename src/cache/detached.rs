//! Futures that continue after their client has left.

use std::{
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{runtime::Handle, time::Instant};
use tracing::{Instrument as _, Span};

use crate::timer::{self, timeout_at};

/// The rule that limits work after its client has left.
pub(crate) trait OnDisconnect: Clone + Unpin + Send + 'static {
    /// Whether the work continues where tokio's timer is off, without a limit.
    const NEEDS_NO_TIMER: bool;

    /// Returns the time until which the work may continue without a client, or `None` if it ends now.
    fn on_disconnect(&self) -> Option<Instant>;

    /// Called when the limit has ended the work.
    fn on_limit(&self);
}

/// The rule for writes, which are completed if possible: what a write has committed must be invalidated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Write {
    pub(crate) limit: Duration,
}

impl OnDisconnect for Write {
    const NEEDS_NO_TIMER: bool = true;

    fn on_disconnect(&self) -> Option<Instant> {
        Some(Instant::now() + self.limit)
    }

    /// Logged each time: something may have been committed and not invalidated.
    fn on_limit(&self) {
        tracing::warn!(
            "a write whose client had left exceeded its time limit and was dropped, maybe between its commit and its invalidation: \
             `Cache::with_abandoned_write_limit` sets the limit"
        );
    }
}

/// A future that may continue without its client: if it is dropped before its end, it is spawned as a task, in the span in which it was
/// created, for as long as `A` allows.
///
/// While the client waits, it runs in the client's task and costs no more than its box.
pub(crate) struct Detached<F: Future<Output: Send> + Send + 'static, A: OnDisconnect> {
    future: Option<Pin<Box<F>>>,
    rule: A,
    span: Span,
}

/// Runs `work` until `deadline` at most, and calls `on_limit` if that ends it.
pub(crate) async fn until(deadline: Instant, on_limit: impl FnOnce(), work: impl Future<Output = ()>) {
    if timeout_at(deadline, work).await.is_err() {
        on_limit();
    }
}

impl<F: Future<Output: Send> + Send + 'static, A: OnDisconnect> Detached<F, A> {
    pub(crate) fn new(future: Pin<Box<F>>, rule: A) -> Self {
        Self { future: Some(future), rule, span: Span::current() }
    }
}

impl<F: Future<Output: Send> + Send + 'static, A: OnDisconnect> Future for Detached<F, A> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Taken out while it is polled, so that a future that panics is not polled again by `drop`.
        let mut future = self.future.take().expect("polled after it was ready");
        let polled = future.as_mut().poll(cx);
        if polled.is_pending() {
            self.future = Some(future);
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static, A: OnDisconnect> Drop for Detached<F, A> {
    fn drop(&mut self) {
        let Some(future) = self.future.take() else { return };
        if let Ok(runtime) = Handle::try_current()
            && (A::NEEDS_NO_TIMER || timer::is_on())
            && let Some(deadline) = self.rule.on_disconnect()
        {
            let (rule, span) = (self.rule.clone(), mem::replace(&mut self.span, Span::none()));
            runtime.spawn(until(deadline, move || rule.on_limit(), async move { drop(future.await) }).instrument(span));
        }
    }
}
