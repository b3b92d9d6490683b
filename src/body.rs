use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a response that passed a larder layer: a stored one, the handler's own, or the handler's while it is
    /// being stored.
    ///
    /// A body that is not stored is never touched, and one that is stored is forwarded as it comes.
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
        Passing { #[pin] body: B },
        Filling { filling: Box<Filling<B>> },
    }
}

/// Called with the whole body once it has passed.
pub(crate) type Finish = Box<dyn FnOnce(Bytes) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// A body that is forwarded and kept at the same time.
pub(crate) struct Filling<B: Body> {
    body: Pin<Box<B>>,
    /// What was taken from `body` before anyone asked for it.
    ready: VecDeque<Item<B>>,
    /// `None` once it is clear that nothing will be stored, or once it has been.
    keep: Option<Collected>,
    finish: Option<Finish>,
    finishing: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// What goes out after `finishing`, so that the entry is visible before the last byte has left.
    held: Item<B>,
}

type Item<B> = Option<Result<Frame<Bytes>, <B as Body>::Error>>;

impl<B: Body> ResponseBody<B> {
    pub(crate) fn stored(bytes: Bytes) -> Self {
        Self { state: State::Stored { bytes } }
    }

    pub(crate) fn passing(body: B) -> Self {
        Self { state: State::Passing { body } }
    }

    /// Forwards what `filling` takes, and calls `finish` at its end.
    pub(crate) fn filling(filling: Filling<B>, finish: Finish) -> Self {
        Self { state: State::Filling { filling: Box::new(Filling { finish: Some(finish), ..filling }) } }
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().state.project() {
            Projected::Stored { bytes } => {
                let all = std::mem::take(bytes);
                Poll::Ready((!all.is_empty()).then(|| Ok(Frame::data(all))))
            }
            Projected::Passing { body } => body.poll_frame(cx).map_ok(|frame| frame.map_data(into_bytes)),
            Projected::Filling { filling } => filling.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Stored { bytes } => bytes.is_empty(),
            State::Passing { body } => body.is_end_stream(),
            State::Filling { filling } => filling.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Stored { bytes } => SizeHint::with_exact(bytes.len() as u64),
            State::Passing { body } => body.size_hint(),
            State::Filling { filling } => filling.size_hint(),
        }
    }
}

impl<B: Body> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.state {
            State::Stored { .. } => "ResponseBody::Stored",
            State::Passing { .. } => "ResponseBody::Passing",
            State::Filling { .. } => "ResponseBody::Filling",
        })
    }
}

impl<B: Body> Filling<B> {
    /// Keeps up to `limit` bytes of `body`; `expected` is the length that `Content-Length` states.
    pub(crate) fn new(body: B, expected: Option<u64>, limit: u64) -> Self {
        let keep = Some(Collected { chunks: Vec::new(), length: 0, expected, limit });
        Self { body: Box::pin(body), ready: VecDeque::new(), keep, finish: None, finishing: None, held: None }
    }

    /// Takes what is there without waiting; the whole body if that was all of it.
    pub(crate) fn take_ready(&mut self, cx: &mut Context<'_>) -> Option<Bytes> {
        if self.body.is_end_stream() {
            return self.keep(&None);
        }
        while self.keep.is_some() {
            let Poll::Ready(item) = self.poll_body(cx) else { return None };
            let whole = self.keep(&item);
            self.ready.push_back(item);
            if whole.is_some() {
                return whole;
            }
        }
        None
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Item<B>> {
        if let Some(item) = self.ready.pop_front() {
            return Poll::Ready(item);
        }
        if self.finishing.is_none() {
            let item = ready!(self.poll_body(cx));
            if let Some(whole) = self.keep(&item) {
                self.finishing = self.finish.take().map(|finish| finish(whole));
            }
            self.held = item;
        }
        if let Some(finishing) = &mut self.finishing {
            ready!(finishing.as_mut().poll(cx));
            self.finishing = None;
        }
        Poll::Ready(self.held.take())
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Item<B>> {
        let item = ready!(self.body.as_mut().poll_frame(cx));
        Poll::Ready(item.map(|frame| frame.map(|frame| frame.map_data(into_bytes))))
    }

    /// Keeps what is about to be forwarded; the whole body if this was the last of it.
    fn keep(&mut self, item: &Item<B>) -> Option<Bytes> {
        let keep = self.keep.as_mut()?;
        let progress = match item {
            None => keep.end(),
            Some(Err(_)) => Progress::Broken,
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) => keep.add(data.clone(), self.body.is_end_stream()),
                // Trailers are not stored, and a response without its trailers is another response.
                None => Progress::Broken,
            },
        };
        match progress {
            Progress::More => None,
            Progress::Broken => self.keep.take().and(None),
            Progress::Complete => self.keep.take().map(Collected::into_bytes),
        }
    }

    fn is_end_stream(&self) -> bool {
        // While there is something to store, the end is ours to announce.
        self.ready.is_empty() && self.keep.is_none() && self.finishing.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
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
struct Collected {
    chunks: Vec<Bytes>,
    length: u64,
    expected: Option<u64>,
    limit: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    More,
    Complete,
    /// It is too large, or not as long as it said.
    Broken,
}

impl Collected {
    fn add(&mut self, data: Bytes, last: bool) -> Progress {
        self.length += data.len() as u64;
        if self.length > self.limit || self.expected.is_some_and(|expected| self.length > expected) {
            return Progress::Broken;
        }
        self.chunks.push(data);
        // A server that knows the length stops asking when it has all bytes, so the last of them is the end.
        if last || self.expected == Some(self.length) { self.end() } else { Progress::More }
    }

    fn end(&self) -> Progress {
        match self.expected {
            Some(expected) if expected != self.length => Progress::Broken,
            _ => Progress::Complete,
        }
    }

    fn into_bytes(mut self) -> Bytes {
        if self.chunks.len() == 1 {
            return self.chunks.swap_remove(0);
        }
        let mut whole = BytesMut::with_capacity(self.chunks.iter().map(Bytes::len).sum());
        self.chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
        whole.freeze()
    }
}

fn into_bytes(mut data: impl Buf) -> Bytes {
    data.copy_to_bytes(data.remaining())
}
