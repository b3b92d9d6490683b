//! Reads a body to store it: at once if it is complete, otherwise frame by frame in a task of its own.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use http::HeaderMap;
use http_body::Body;
use tokio::time::{Sleep, sleep, sleep_until};
use tracing::Instrument as _;

use super::{catch_panic::catch_panic, context::FetchContext, store_body::PendingEntry};
use crate::{
    body::{
        ResponseBody,
        buffer::BufferingBody,
        tee::{FrameResult, TeeWriter, tee},
    },
    cache::detached::OnDisconnect as _,
    http::cache_status::Reason,
    policy::storable::is_streamed,
    timer,
};

impl PendingEntry {
    /// Stores a body that is complete before it is sent, and any other while it is sent.
    ///
    /// Returns the remaining seconds of freshness, or the reason why nothing is stored; `headers` are those that are sent.
    pub(crate) fn store_body<B>(
        mut self,
        body: B,
        length: Option<u64>,
        headers: &mut HeaderMap,
    ) -> impl Future<Output = (Result<i64, Reason>, ResponseBody<B>)> + Send
    where
        B: Body + Send + 'static,
        B::Error: Send,
    {
        let ttl = self.ttl();
        let mut buffering = BufferingBody::new(body, self.content_length(), self.context().settings.store.max_body);
        async move {
            let context = Arc::clone(self.context());
            if length.is_some()
                && let Some(whole) = poll_fn(|cx| Poll::Ready(buffering.read_available(cx))).await
            {
                self.add_etag(&whole, Some(headers));
                let (storing, stored) = self.store(&whole);
                drop(whole);
                let outcome = storing.await;
                let body = match buffering.may_continue() {
                    true => forward_rest(buffering, &context),
                    false => ResponseBody::stored(stored),
                };
                return (outcome.map(|()| ttl), body);
            }
            if let Some(reason) = buffering.ended() {
                self.abandon(reason);
                return (Err(reason), forward_rest(buffering, &context));
            }
            // Reading on takes a task, and one that may go on without its client takes a limit.
            if !timer::is_on() {
                return (Err(Reason::Incomplete), forward_rest(buffering, &context));
            }
            if !context.slot.held_bytes().may_grow() {
                self.abandon(Reason::BufferLimit);
                return (Err(Reason::BufferLimit), forward_rest(buffering, &context));
            }
            (Ok(ttl), self.read_in_task(buffering, is_streamed(headers)))
        }
    }

    /// Returns the body; a task of its own reads and stores it. If it is `streamed`, no other request waits for its end.
    fn read_in_task<B>(mut self, body: BufferingBody<B>, streamed: bool) -> ResponseBody<B>
    where
        B: Body + Send + 'static,
        B::Error: Send,
    {
        if streamed {
            self.release_followers();
        }
        let slot = &self.context().slot;
        slot.leave_route();
        let (writer, reader) = tee(body.size_hint(), slot.held_bytes());
        let reading = async move {
            if let Err(panic) = catch_panic(pin!(BodyReader::new(self, body, &writer).run())).await {
                writer.panicked(panic);
            }
        };
        tokio::spawn(reading.in_current_span());
        ResponseBody::teed(reader)
    }
}

/// Sends the frames that were buffered, and then the rest of the body.
fn forward_rest<B: Body>(mut body: BufferingBody<B>, context: &FetchContext) -> ResponseBody<B> {
    let (writer, reader) = tee(body.size_hint(), context.slot.held_bytes());
    body.drain_buffered().for_each(|frame| writer.push(frame));
    writer.forward_rest(body.into_rest());
    ResponseBody::teed(reader)
}

/// Reads a body ahead of its client, sends it, and stores it before its last frame is sent.
struct BodyReader<'w, B: Body> {
    pending: PendingEntry,
    body: BufferingBody<B>,
    tee: &'w TeeWriter<B>,
    /// When the followers are released.
    release: Option<Pin<Box<Sleep>>>,
    /// When the fetch ends after its client has left.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// The next event of a body that is being read.
enum Next<B: Body> {
    Frame(FrameResult<B>),
    /// The buffers are full.
    NoRoom,
    /// The client has left, and the limit for abandoned fetches is over.
    Abandoned,
}

impl<'w, B: Body> BodyReader<'w, B> {
    fn new(pending: PendingEntry, mut body: BufferingBody<B>, tee: &'w TeeWriter<B>) -> Self {
        body.drain_buffered().for_each(|frame| tee.push(frame));
        let may_be_endless = pending.leads() && pending.content_length().is_none() && body.size_hint().exact().is_none();
        let stream_wait = pending.context().settings.limits.stream_wait;
        let release = (may_be_endless && pending.leads()).then(|| Box::pin(sleep(stream_wait)));
        Self { pending, body, tee, release, deadline: None }
    }

    async fn run(mut self) {
        while self.body.ended().is_none() {
            let item = match poll_fn(|cx| self.poll_next(cx)).await {
                Next::Frame(frame) => frame,
                Next::NoRoom => {
                    self.pending.abandon(Reason::BufferLimit);
                    return self.tee.forward_rest(self.body.into_rest());
                }
                Next::Abandoned => {
                    tracing::debug!(
                        "a body was dropped before its end, because its client had left and the limit for abandoned fetches was over"
                    );
                    return;
                }
            };
            if let Some(whole) = self.body.buffer(&item) {
                self.pending.add_etag(&whole, None);
                let (storing, stored) = self.pending.store(&whole);
                drop(whole);
                // An error has been reported.
                let _ = storing.await;
                self.tee.stored(stored);
                return match item {
                    None => self.tee.end(),
                    // Trailers may follow.
                    Some(_) => self.tee.forward_rest(self.body.into_rest()),
                };
            }
            match item {
                None => return self.tee.end(),
                Some(frame) => self.tee.push(frame),
            }
        }
        self.pending.abandon(self.body.ended().unwrap_or(Reason::Incomplete));
        self.tee.forward_rest(self.body.into_rest());
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next<B>> {
        if self.is_over(cx) {
            return Poll::Ready(Next::Abandoned);
        }
        if !self.tee.has_room() {
            return Poll::Ready(Next::NoRoom);
        }
        if let Poll::Ready(item) = self.body.poll_body(cx) {
            return Poll::Ready(Next::Frame(item));
        }
        if self.release.as_mut().is_some_and(|release| release.as_mut().poll(cx).is_ready()) {
            self.release = None;
            self.pending.release_followers();
        }
        Poll::Pending
    }

    /// Whether the client has left and the limit for abandoned fetches is over, or no slot is free for it.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        if self.deadline.is_none() {
            if self.tee.poll_left(cx).is_pending() {
                return false;
            }
            let context = self.pending.context();
            let Some(deadline) = context.on_disconnect() else { return true };
            self.tee.count_with(context.slot.held_bytes());
            self.deadline = Some(Box::pin(sleep_until(deadline)));
        }
        self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready())
    }
}
