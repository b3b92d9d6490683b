//! The body of a response that an observer lets pass.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::exchange::Answer;
use crate::body::tee::into_bytes;

pin_project! {
    /// The body of a response that an observer lets pass, unchanged and frame by frame. Its digest is computed on the way.
    pub struct ObservedBody<B>
    where
        B: Body,
    {
        #[pin]
        body: B,
        watch: Watch,
    }
}

/// Ends the observation when the body has ended or is dropped.
struct Watch(Option<Box<Answer>>);

impl Watch {
    fn end(&mut self, ended: bool) {
        if let Some(answer) = self.0.take() {
            answer.end(ended);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end(false);
    }
}

impl<B: Body> ObservedBody<B> {
    pub(super) fn new(body: B, answer: Option<Box<Answer>>) -> Self {
        let mut watch = Watch(answer);
        // Servers do not read a body that says so.
        if body.is_end_stream() {
            watch.end(true);
        }
        Self { body, watch }
    }
}

impl<B: Body> Body for ObservedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut projected = self.project();
        let frame = ready!(projected.body.as_mut().poll_frame(cx)).map(|frame| frame.map(|frame| frame.map_data(into_bytes)));
        match (&frame, &mut projected.watch.0) {
            (None, _) => projected.watch.end(true),
            (Some(Err(_)), _) => projected.watch.0 = None,
            (Some(Ok(frame)), Some(answer)) => {
                if let Some(data) = frame.data_ref() {
                    answer.add(data);
                }
                if projected.body.is_end_stream() {
                    projected.watch.end(true);
                }
            }
            (Some(Ok(_)), None) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Creates an empty body, for layers around the observer that respond themselves.
impl<B: Body + Default> Default for ObservedBody<B> {
    fn default() -> Self {
        Self { body: B::default(), watch: Watch(None) }
    }
}

impl<B: Body> fmt::Debug for ObservedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObservedBody").field("observed", &self.watch.0.is_some()).finish_non_exhaustive()
    }
}
