//! A body that is kept while it passes.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use smallvec::SmallVec;

use super::tee::{Item, into_bytes};
use crate::http::cache_status::Reason;

/// A body that is kept while it passes.
pub(crate) struct BufferingBody<B: Body> {
    body: Pin<Box<B>>,
    /// What was taken from `body` before anyone asked for it.
    ready: VecDeque<Item<B>>,
    /// What was kept so far, or why nothing more is.
    keep: Result<BodyBuffer, Reason>,
}

impl<B: Body> BufferingBody<B> {
    /// Keeps up to `limit` bytes of `body`; `expected` is the length that `Content-Length` states.
    pub(crate) fn new(body: B, expected: Option<u64>, limit: u64) -> Self {
        let keep = Ok(BodyBuffer { chunks: SmallVec::new(), length: 0, expected, limit });
        Self { body: Box::pin(body), ready: VecDeque::new(), keep }
    }

    /// Takes what is there without waiting; the whole body if that was all of it.
    pub(crate) fn take_ready(&mut self, cx: &mut Context<'_>) -> Option<Bytes> {
        if self.body.is_end_stream() {
            return self.keep(&None);
        }
        while self.keep.is_ok() {
            let Poll::Ready(item) = self.poll_body(cx) else { return None };
            let whole = self.keep(&item);
            self.ready.push_back(item);
            if whole.is_some() {
                return whole;
            }
        }
        None
    }

    /// Why the body is not kept any more; `None` while it is.
    pub(crate) fn ended(&self) -> Option<Reason> {
        self.keep.as_ref().err().copied()
    }

    /// Whether trailers may still follow what was taken.
    pub(crate) fn may_go_on(&self) -> bool {
        !self.ready.back().is_some_and(Option::is_none) && !self.body.is_end_stream()
    }

    /// What was taken ahead, for the client.
    pub(crate) fn drain_buffered(&mut self) -> impl Iterator<Item = Result<Frame<Bytes>, B::Error>> {
        std::mem::take(&mut self.ready).into_iter().flatten()
    }

    /// What has not been taken yet.
    pub(crate) fn into_rest(self) -> Pin<Box<B>> {
        self.body
    }

    /// Keeps what is about to be forwarded; the whole body if this was the last of it.
    pub(crate) fn keep(&mut self, item: &Item<B>) -> Option<Bytes> {
        let Ok(keep) = &mut self.keep else { return None };
        let progress = match item {
            None => keep.end(),
            Some(Err(_)) => Progress::Broken(Reason::Incomplete),
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) => keep.add(data.clone(), self.body.is_end_stream()),
                // Trailers are not stored, and a response without its trailers is another response.
                None => Progress::Broken(Reason::Trailers),
            },
        };
        let (whole, ended) = match progress {
            Progress::More => return None,
            Progress::Broken(reason) => (None, reason),
            Progress::Complete => (Some(keep.take_bytes()), Reason::Incomplete),
        };
        self.keep = Err(ended);
        whole
    }

    /// The next of what has not been taken yet.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Item<B>> {
        let item = ready!(self.body.as_mut().poll_frame(cx));
        Poll::Ready(item.map(|frame| frame.map(|frame| frame.map_data(into_bytes))))
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

/// The part of a body that has passed, up to a limit.
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
    /// It cannot be stored.
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
        // A server that knows the length stops asking when it has all bytes, so the last of them is the end.
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
