//! Bodies: stored, forwarded, or buffered while they are forwarded.

pub(crate) mod budget;
pub(crate) mod buffer;
#[cfg(feature = "axum")]
pub(crate) mod first_frame;
pub(crate) mod request_body;
pub(crate) mod request_content;
pub(crate) mod tee;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::body::tee::{TeeReader, into_bytes};

pin_project! {
    /// The body of a response that passed a larder layer: a stored body, the handler's body, or the handler's body while it is being
    /// stored.
    ///
    /// A body that is not stored is forwarded unchanged. A body that is being stored is forwarded frame by frame, as it arrives.
    pub struct ResponseBody<B>
    where
        B: Body,
    {
        #[pin]
        state: State<B>,
    }
}

pin_project! {
    #[project = Projected]
    enum State<B>
    where
        B: Body,
    {
        Stored { bytes: Bytes },
        Forwarded { #[pin] body: B },
        Teed { tee: Box<TeeReader<B>> },
    }
}

impl<B: Body> ResponseBody<B> {
    pub(crate) fn stored(bytes: Bytes) -> Self {
        Self { state: State::Stored { bytes } }
    }

    pub(crate) fn forwarded(body: B) -> Self {
        Self { state: State::Forwarded { body } }
    }

    /// A body that a separate task reads, so that followers do not depend on how fast this client reads, or whether it disconnects.
    pub(crate) fn teed(tee: TeeReader<B>) -> Self {
        Self { state: State::Teed { tee: Box::new(tee) } }
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().state.project() {
            Projected::Stored { bytes } if bytes.is_empty() => Poll::Ready(None),
            Projected::Stored { bytes } => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Projected::Forwarded { body } => body.poll_frame(cx).map_ok(|frame| frame.map_data(into_bytes)),
            Projected::Teed { tee } => tee.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Stored { bytes } => bytes.is_empty(),
            State::Forwarded { body } => body.is_end_stream(),
            State::Teed { tee } => tee.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Stored { bytes } => SizeHint::with_exact(bytes.len() as u64),
            State::Forwarded { body } => body.size_hint(),
            State::Teed { tee } => tee.size_hint(),
        }
    }
}

/// Creates an empty body, for layers around the cache that respond themselves.
impl<B: Body> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::stored(Bytes::new())
    }
}

impl<B: Body> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.state {
            State::Stored { .. } => "ResponseBody::Stored",
            State::Forwarded { .. } => "ResponseBody::Forwarded",
            State::Teed { .. } => "ResponseBody::Teed",
        })
    }
}
