//! Futures that continue after their client has left.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Instant, timeout_at},
};
use tracing::{Instrument as _, Span};

/// The rule that limits work after its client has left.
pub(crate) trait OnDisconnect {
    /// Returns the time until which the work may continue without a client, or `None` if it ends now.
    fn on_disconnect(&self) -> Option<Instant>;
}

/// The rule for writes, which are completed if possible: what a write has committed must be invalidated.
pub(crate) struct Write;

impl OnDisconnect for Write {
    fn on_disconnect(&self) -> Option<Instant> {
        const LIMIT: Duration = Duration::from_secs(60);
        Some(Instant::now() + LIMIT)
    }
}

impl<A: OnDisconnect> OnDisconnect for Arc<A> {
    fn on_disconnect(&self) -> Option<Instant> {
        self.as_ref().on_disconnect()
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

/// Runs `work` until `deadline` at most.
pub(crate) async fn until(deadline: Instant, work: impl Future<Output = ()>) {
    if timeout_at(deadline, work).await.is_err() {
        tracing::warn!("a handler whose client has left exceeded its time limit and was dropped");
    }
}

impl<F: Future<Output: Send> + Send + 'static, A: OnDisconnect> Detached<F, A> {
    pub(crate) fn new(future: Pin<Box<F>>, rule: A) -> Self {
        Self { future: Some(future), rule, span: Span::current() }
    }
}

impl<F: Future<Output: Send> + Send + 'static, A: OnDisconnect + Unpin> Future for Detached<F, A> {
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
            && let Some(deadline) = self.rule.on_disconnect()
        {
            let span = mem::replace(&mut self.span, Span::none());
            runtime.spawn(until(deadline, async move { drop(future.await) }).instrument(span));
        }
    }
}
