//! A future that runs to its end although its client has left.

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

/// What decides how long work goes on that no client waits for any more.
pub(crate) trait Abandon {
    /// The client has left: until when the work goes on, or `None` if it ends now.
    fn abandon(&self) -> Option<Instant>;
}

/// A write, which is finished whenever that is possible: what it has committed must be invalidated.
pub(crate) struct Write;

impl Abandon for Write {
    fn abandon(&self) -> Option<Instant> {
        const LONG_ENOUGH: Duration = Duration::from_secs(60);
        Some(Instant::now() + LONG_ENOUGH)
    }
}

impl<A: Abandon> Abandon for Arc<A> {
    fn abandon(&self) -> Option<Instant> {
        self.as_ref().abandon()
    }
}

/// A future that may go on if nobody waits for it any more: dropped halfway, it becomes a task of its own, within the span it
/// began in, for as long as `A` allows.
///
/// While somebody waits, it runs in their task and costs no more than its box.
pub(crate) struct Detached<F: Future<Output: Send> + Send + 'static, A: Abandon> {
    future: Option<Pin<Box<F>>>,
    abandon: A,
    span: Span,
}

/// Ends `work` at `deadline`.
pub(crate) async fn until(deadline: Instant, work: impl Future<Output = ()>) {
    if timeout_at(deadline, work).await.is_err() {
        tracing::warn!("a handler that no client waited for did not end within its limit, and was dropped");
    }
}

impl<F: Future<Output: Send> + Send + 'static, A: Abandon> Detached<F, A> {
    pub(crate) fn new(future: Pin<Box<F>>, abandon: A) -> Self {
        Self { future: Some(future), abandon, span: Span::current() }
    }
}

impl<F: Future<Output: Send> + Send + 'static, A: Abandon + Unpin> Future for Detached<F, A> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Out of its place while it is polled: one that panics is gone, and is not taken up again.
        let mut future = self.future.take().expect("polled after it was ready");
        let polled = future.as_mut().poll(cx);
        if polled.is_pending() {
            self.future = Some(future);
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static, A: Abandon> Drop for Detached<F, A> {
    fn drop(&mut self) {
        let Some(future) = self.future.take() else { return };
        if let Ok(runtime) = Handle::try_current()
            && let Some(deadline) = self.abandon.abandon()
        {
            let span = mem::replace(&mut self.span, Span::none());
            runtime.spawn(until(deadline, async move { drop(future.await) }).instrument(span));
        }
    }
}
