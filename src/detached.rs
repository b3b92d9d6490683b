use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{runtime::Handle, time::timeout};
use tracing::{Instrument as _, Span};

/// A future that is finished even if nobody waits for it any more: dropped halfway, it goes on as a task of its own, within
/// the span it began in, for a minute at most.
///
/// While somebody waits, it runs in their task and costs no more than its box.
pub(crate) struct Detached<F: Future<Output: Send> + Send + 'static> {
    future: Option<Pin<Box<F>>>,
    span: Span,
}

/// How long something goes on that nobody waits for: a handler that never ends must not hold its place for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends `work` if it takes longer than anybody would have waited.
pub(crate) async fn patiently(work: impl Future<Output = ()>) {
    if timeout(PATIENCE, work).await.is_err() {
        tracing::warn!("a handler whose client had left, or that nobody waited for, ran for {PATIENCE:?} and was given up");
    }
}

impl<F: Future<Output: Send> + Send + 'static> Detached<F> {
    pub(crate) fn new(future: Pin<Box<F>>) -> Self {
        Self { future: Some(future), span: Span::current() }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Detached<F> {
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

impl<F: Future<Output: Send> + Send + 'static> Drop for Detached<F> {
    fn drop(&mut self) {
        let Some(future) = self.future.take() else { return };
        if let Ok(runtime) = Handle::try_current() {
            let span = std::mem::replace(&mut self.span, Span::none());
            runtime.spawn(patiently(async move { drop(future.await) }).instrument(span));
        }
    }
}
