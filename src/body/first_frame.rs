//! Reads the first frame of a request body and puts it back.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::timer::timeout;

type FrameResult<B> = Option<Result<Frame<Bytes>, <B as Body>::Error>>;

/// Reads the first non-empty frame; `TooSlow` if it does not arrive in time, in which case no frame is lost.
pub(crate) async fn first_frame<B: Body<Data = Bytes> + Unpin>(body: &mut B) -> Result<FrameResult<B>, TooSlow> {
    /// Clients usually send the beginning of a body together with the header.
    const TIME_LIMIT: Duration = Duration::from_millis(100);
    match poll_fn(|cx| Poll::Ready(poll_first(body, cx))).await {
        Poll::Ready(first) => Ok(first),
        Poll::Pending => timeout(TIME_LIMIT, poll_fn(|cx| poll_first(body, cx))).await.map_err(|_| TooSlow),
    }
}

/// The first frame did not arrive in time.
#[derive(Debug)]
pub(crate) struct TooSlow;

fn poll_first<B: Body<Data = Bytes> + Unpin>(body: &mut B, cx: &mut Context<'_>) -> Poll<FrameResult<B>> {
    loop {
        match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            Some(Ok(frame)) if frame.data_ref().is_some_and(|data| !data.has_remaining()) => {}
            first => return Poll::Ready(first),
        }
    }
}

pin_project! {
    /// A body whose first frame was already read, complete again.
    pub(crate) struct Resumed<B>
    where
        B: Body,
    {
        first: Option<Result<Frame<Bytes>, B::Error>>,
        #[pin]
        rest: B,
    }
}

impl<B: Body> Resumed<B> {
    pub(crate) fn new(first: Result<Frame<Bytes>, B::Error>, rest: B) -> Self {
        Self { first: Some(first), rest }
    }
}

impl<B: Body<Data = Bytes>> Body for Resumed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<FrameResult<B>> {
        let this = self.project();
        match this.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => this.rest.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().and_then(|first| first.as_ref().ok()?.data_ref()).map_or(0, |data| data.len() as u64);
        let rest = self.rest.size_hint();
        let mut size = SizeHint::new();
        size.set_lower(rest.lower().saturating_add(first));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(first)) {
            size.set_upper(upper);
        }
        size
    }
}
