//! The body of a request whose content is part of its key: it is read before there is a response, and complete again for the handler.

use std::{
    any::Any,
    collections::VecDeque,
    fmt,
    future::{Future, poll_fn},
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{
    budget::{ByteBudget, HeldBytes},
    tee::into_bytes,
};
use crate::{http::cache_status::Reason, timer::timeout};

pin_project! {
    /// The body of a request that a larder layer has read to find its stored response: what was read, then the rest. It has every byte of
    /// the original in order, its trailers, and its error.
    ///
    /// [`CacheLayer::request_body`](crate::CacheLayer::request_body) makes a body for the handler of it.
    pub struct RequestBody<B>
    where
        B: Body,
    {
        read: VecDeque<Result<Frame<Bytes>, B::Error>>,
        // Boxed, so that it can be read in place. `None` after its end.
        rest: Option<Pin<Box<B>>>,
        // Counts what was read until the handler has taken all of it.
        held: HeldBytes,
    }
}

/// The limits within which the content of a request is read.
#[derive(Debug)]
pub(crate) struct ContentLimits {
    /// The largest content, in bytes.
    pub(crate) bytes: usize,
    /// The longest time that it may take to arrive.
    pub(crate) wait: Duration,
    /// The length that `Content-Length` states.
    pub(crate) expected: Option<u64>,
    /// The budget of all requests.
    pub(crate) budget: Arc<ByteBudget>,
}

/// Reads the content of bodies of one type, and makes a complete body of each again.
pub(crate) trait ReadContent<B>: Send + Sync {
    /// Returns a body for the handler, and the content or why it was not read to its end.
    fn read(&self, body: B, limits: ContentLimits) -> Reading<B>;
}

pub(crate) type Reading<B> = Pin<Box<dyn Future<Output = (B, Result<Bytes, Reason>)> + Send>>;

/// Makes bodies by a function.
pub(crate) struct MadeBy<F>(Arc<F>);

impl<F> MadeBy<F> {
    pub(crate) fn new(make: F) -> Self {
        Self(Arc::new(make))
    }
}

impl<B, F> ReadContent<B> for MadeBy<F>
where
    B: Body<Error: Send> + Send + 'static,
    F: Fn(RequestBody<B>) -> B + Send + Sync + 'static,
{
    fn read(&self, body: B, limits: ContentLimits) -> Reading<B> {
        let make = Arc::clone(&self.0);
        Box::pin(async move {
            let (body, content) = RequestBody::read(body, limits).await;
            (make(body), content)
        })
    }
}

/// A [`ReadContent`] of a type of bodies that the settings of a layer do not name.
#[derive(Clone)]
pub(crate) struct ContentReader(Arc<dyn Any + Send + Sync>);

impl ContentReader {
    pub(crate) fn new<B, F>(make: F) -> Self
    where
        B: Body<Error: Send> + Send + 'static,
        F: Fn(RequestBody<B>) -> B + Send + Sync + 'static,
    {
        let reader: Arc<dyn ReadContent<B>> = Arc::new(MadeBy::new(make));
        Self(Arc::new(reader))
    }

    /// Returns the reader if it is one of this type of bodies.
    pub(crate) fn of<B: 'static>(&self) -> Option<Arc<dyn ReadContent<B>>> {
        self.0.downcast_ref().cloned()
    }
}

impl<B: Body> RequestBody<B> {
    /// Reads a body within the limits. Beyond them, nothing more is read, and what was read comes before the rest.
    async fn read(body: B, limits: ContentLimits) -> (Self, Result<Bytes, Reason>) {
        /// What a body costs beside its content, about.
        const OVERHEAD: u64 = 1 << 10;
        let is_too_large = body.size_hint().lower() > limits.bytes as u64;
        let mut held = HeldBytes::none_of(&limits.budget);
        let has_room = held.may_grow();
        held.grow(OVERHEAD);
        let mut body = Self { read: VecDeque::new(), rest: Some(Box::pin(body)), held };
        if is_too_large || !has_room {
            body.held.shrink(OVERHEAD);
            return (body, Err(if is_too_large { Reason::RequestBodyTooLarge } else { Reason::RequestBodyLimit }));
        }
        let content = match timeout(limits.wait, poll_fn(|cx| body.poll_end(cx, &limits))).await {
            Ok(content) => content,
            Err(_) => Err(Reason::RequestBodyTooSlow),
        };
        (body, content)
    }

    /// Reads on, to the end.
    fn poll_end(&mut self, cx: &mut Context<'_>, limits: &ContentLimits) -> Poll<Result<Bytes, Reason>> {
        loop {
            let Some(rest) = self.rest.as_mut().filter(|rest| !rest.is_end_stream()) else {
                return Poll::Ready(self.end(limits));
            };
            if !self.held.may_grow() {
                return Poll::Ready(Err(Reason::RequestBodyLimit));
            }
            let Some(frame) = ready!(rest.as_mut().poll_frame(cx)) else { return Poll::Ready(self.end(limits)) };
            let frame = frame.map(|frame| frame.map_data(into_bytes));
            let length = frame.as_ref().ok().and_then(Frame::data_ref).map(Bytes::len);
            if frame.is_err() {
                self.rest = None;
            }
            let reason = if frame.is_err() { Reason::RequestBodyIncomplete } else { Reason::RequestTrailers };
            self.read.push_back(frame);
            let Some(length) = length else { return Poll::Ready(Err(reason)) };
            self.held.grow(length as u64);
            if self.length() > limits.bytes {
                return Poll::Ready(Err(Reason::RequestBodyTooLarge));
            }
        }
    }

    /// Returns the content, after its end.
    fn end(&mut self, limits: &ContentLimits) -> Result<Bytes, Reason> {
        // Some bodies must not be polled again after their end.
        self.rest = None;
        let read = mem::take(&mut self.read).into_iter().flatten();
        let mut data = read.filter_map(|frame| frame.into_data().ok()).filter(|data| !data.is_empty());
        let content = match (data.next(), data.next()) {
            (None, _) => Bytes::new(),
            (Some(whole), None) => whole,
            (Some(first), Some(second)) => {
                let mut whole = BytesMut::from(&first[..]);
                whole.extend_from_slice(&second);
                data.for_each(|data| whole.extend_from_slice(&data));
                whole.freeze()
            }
        };
        self.read = (!content.is_empty()).then(|| Ok(Frame::data(content.clone()))).into_iter().collect();
        match limits.expected {
            Some(expected) if expected != content.len() as u64 => Err(Reason::RequestBodyIncomplete),
            _ => Ok(content),
        }
    }

    /// The number of bytes that were read, and not taken.
    fn length(&self) -> usize {
        self.read.iter().filter_map(|frame| Some(frame.as_ref().ok()?.data_ref()?.len())).sum()
    }
}

impl<B: Body> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        if let Some(frame) = this.read.pop_front() {
            return Poll::Ready(Some(frame));
        }
        let Some(rest) = this.rest else { return Poll::Ready(None) };
        rest.as_mut().poll_frame(cx).map_ok(|frame| frame.map_data(into_bytes))
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        if self.read.iter().any(Result::is_err) {
            return SizeHint::default();
        }
        let read = self.length() as u64;
        let rest = self.rest.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint);
        let mut size = SizeHint::new();
        size.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(read)) {
            size.set_upper(upper);
        }
        size
    }
}

impl<B: Body> fmt::Debug for RequestBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody")
            .field("read", &self.length())
            .field("is_complete", &self.rest.is_none())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    /// Gives its frames, one at each poll, then an end; `None` is a wait that does not end.
    struct Frames(VecDeque<Option<Result<Frame<Bytes>, &'static str>>>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            match self.0.pop_front() {
                None => Poll::Ready(None),
                Some(None) => {
                    self.0.push_front(None);
                    Poll::Pending
                }
                Some(Some(frame)) => Poll::Ready(Some(frame)),
            }
        }
    }

    fn data(text: &'static str) -> Option<Result<Frame<Bytes>, &'static str>> {
        Some(Ok(Frame::data(Bytes::from_static(text.as_bytes()))))
    }

    fn limits(bytes: usize) -> ContentLimits {
        ContentLimits { bytes, wait: Duration::from_secs(1), expected: None, budget: ByteBudget::new(1 << 20) }
    }

    async fn read<const N: usize>(
        frames: [Option<Result<Frame<Bytes>, &'static str>>; N],
        limits: ContentLimits,
    ) -> (RequestBody<Frames>, Result<Bytes, Reason>) {
        RequestBody::read(Frames(frames.into_iter().collect()), limits).await
    }

    /// What the handler gets: the data, `!` for trailers, and an error.
    async fn passed_on(mut body: RequestBody<Frames>) -> String {
        let mut passed = String::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => passed += str::from_utf8(&data).unwrap(),
                Ok(Err(_)) => passed.push('!'),
                Err(error) => passed += error,
            }
        }
        passed
    }

    #[tokio::test]
    async fn content_within_the_limit_is_read_and_passed_on() {
        let (body, content) = read([data("ab"), data(""), data("c")], limits(3)).await;
        assert_eq!(content.as_deref(), Ok(&b"abc"[..]));
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(3), false));
        assert_eq!(passed_on(body).await, "abc");
        let (body, content) = read([], limits(3)).await;
        assert!(body.is_end_stream() && content.unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_comes_before_the_rest() {
        let (body, content) = read([data("abc"), data("d"), data("e")], limits(3)).await;
        assert_eq!((content, passed_on(body).await.as_str()), (Err(Reason::RequestBodyTooLarge), "abcde"));

        let (body, content) = read([data("ab"), Some(Err(" cut"))], limits(3)).await;
        assert_eq!((content, passed_on(body).await.as_str()), (Err(Reason::RequestBodyIncomplete), "ab cut"));

        let trailers = Some(Ok(Frame::trailers(HeaderMap::new())));
        let (body, content) = read([data("ab"), trailers], limits(3)).await;
        assert_eq!((content, passed_on(body).await.as_str()), (Err(Reason::RequestTrailers), "ab!"));

        let (mut body, content) = read([data("ab"), None], limits(3)).await;
        body.rest.as_mut().unwrap().0.clear();
        assert_eq!((content, passed_on(body).await.as_str()), (Err(Reason::RequestBodyTooSlow), "ab"));

        let expecting = ContentLimits { expected: Some(3), ..limits(3) };
        let (body, content) = read([data("ab")], expecting).await;
        assert_eq!((content, passed_on(body).await.as_str()), (Err(Reason::RequestBodyIncomplete), "ab"));
    }

    #[tokio::test]
    async fn bytes_of_all_requests_are_limited_until_their_handlers_have_them() {
        let budget = ByteBudget::new(6 << 10);
        let within = || ContentLimits { budget: Arc::clone(&budget), ..limits(3) };
        let mut held = Vec::new();
        let refused = loop {
            match read([data("ab")], within()).await {
                (body, Ok(_)) => held.push(body),
                (body, Err(reason)) => break (body, reason),
            }
        };
        assert!((3..=6).contains(&held.len()), "{}", held.len());
        assert_eq!((refused.1, passed_on(refused.0).await.as_str()), (Reason::RequestBodyLimit, "ab"));
        held.clear();
        assert_eq!(read([data("ab")], within()).await.1.as_deref(), Ok(&b"ab"[..]));
    }
}
