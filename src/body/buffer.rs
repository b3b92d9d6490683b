//! A body that is buffered while it is forwarded.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use smallvec::SmallVec;

use super::tee::{FrameResult, into_bytes};
use crate::http::cache_status::Reason;

/// A body that is buffered while it is forwarded.
pub(crate) struct BufferingBody<B: Body> {
    body: Pin<Box<B>>,
    /// Frames that were read ahead of the client.
    ready: VecDeque<FrameResult<B>>,
    /// The buffer, or the reason why buffering has ended.
    buffer: Result<BodyBuffer, Reason>,
}

impl<B: Body> BufferingBody<B> {
    /// Buffers up to `limit` bytes of `body`; `expected` is the length by `Content-Length`.
    pub(crate) fn new(body: B, expected: Option<u64>, limit: u64) -> Self {
        let buffer = Ok(BodyBuffer { chunks: SmallVec::new(), length: 0, expected, limit });
        Self { body: Box::pin(body), ready: VecDeque::new(), buffer }
    }

    /// Reads the frames that are available without waiting; returns the whole body if it is complete.
    pub(crate) fn read_available(&mut self, cx: &mut Context<'_>) -> Option<Bytes> {
        if self.body.is_end_stream() {
            return self.buffer(&None);
        }
        while self.buffer.is_ok() {
            let Poll::Ready(frame) = self.poll_body(cx) else { return None };
            let whole = self.buffer(&frame);
            if whole.is_some() && self.body.is_end_stream() {
                // Nothing is forwarded of a body that has ended: no room is made for its frame.
                return whole;
            }
            self.ready.push_back(frame);
            if whole.is_some() {
                return whole;
            }
        }
        None
    }

    /// Returns why buffering has ended; `None` while the body is buffered.
    pub(crate) fn ended(&self) -> Option<Reason> {
        self.buffer.as_ref().err().copied()
    }

    /// Returns whether frames, such as trailers, may still follow those that were read.
    pub(crate) fn may_continue(&self) -> bool {
        !self.ready.back().is_some_and(Option::is_none) && !self.body.is_end_stream()
    }

    /// Removes the frames that were read ahead, for the client.
    pub(crate) fn drain_buffered(&mut self) -> impl Iterator<Item = Result<Frame<Bytes>, B::Error>> {
        std::mem::take(&mut self.ready).into_iter().flatten()
    }

    /// Returns the part of the body that has not been read.
    pub(crate) fn into_rest(self) -> Pin<Box<B>> {
        self.body
    }

    /// Buffers a frame before it is forwarded; returns the whole body if this was the last frame.
    pub(crate) fn buffer(&mut self, frame: &FrameResult<B>) -> Option<Bytes> {
        let Ok(buffer) = &mut self.buffer else { return None };
        let progress = match frame {
            None => buffer.end(),
            Some(Err(_)) => Progress::Broken(Reason::Incomplete),
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) => buffer.add(data.clone(), self.body.is_end_stream()),
                // Trailers are not stored, and a response must not lose its trailers.
                None => Progress::Broken(Reason::Trailers),
            },
        };
        let (whole, ended) = match progress {
            Progress::More => return None,
            Progress::Broken(reason) => (None, reason),
            Progress::Complete => (Some(buffer.take_bytes()), Reason::Incomplete),
        };
        self.buffer = Err(ended);
        whole
    }

    /// Reads the next frame of the body.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<FrameResult<B>> {
        let frame = ready!(self.body.as_mut().poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(into_bytes))))
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        let ready = self.ready.iter().flatten().flatten().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum::<u64>();
        let body = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + ready);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + ready);
        }
        hint
    }
}

/// The part of a body that was forwarded, up to a limit.
#[derive(Debug)]
pub(crate) struct BodyBuffer {
    chunks: SmallVec<[Bytes; 1]>,
    length: u64,
    expected: Option<u64>,
    limit: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    Complete,
    /// The body cannot be stored.
    Broken(Reason),
}

impl BodyBuffer {
    fn add(&mut self, data: Bytes, last: bool) -> Progress {
        self.length += data.len() as u64;
        if self.length > self.limit {
            return Progress::Broken(Reason::TooLarge);
        }
        if self.expected.is_some_and(|expected| self.length > expected) {
            return Progress::Broken(Reason::LengthMismatch);
        }
        self.chunks.push(data);
        // A server that knows the length does not poll again after the last byte, so that byte is the end.
        if last || self.expected == Some(self.length) { self.end() } else { Progress::More }
    }

    fn end(&self) -> Progress {
        match self.expected {
            Some(expected) if expected != self.length => Progress::Broken(Reason::LengthMismatch),
            _ => Progress::Complete,
        }
    }

    fn take_bytes(&mut self) -> Bytes {
        if let [whole] = &self.chunks[..] {
            return whole.clone();
        }
        let mut whole = BytesMut::with_capacity(self.chunks.iter().map(Bytes::len).sum());
        self.chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
        whole.freeze()
    }
}
