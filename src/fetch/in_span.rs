//! Polls a future in a span.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
};

use tracing::Span;

/// Polls a future in a span. `Instrument::instrument` would copy the future, which may be large.
pub(super) fn in_span<F: Future>(span: &Span, mut future: Pin<&mut F>) -> impl Future<Output = F::Output> {
    poll_fn(move |cx| span.in_scope(|| future.as_mut().poll(cx)))
}
