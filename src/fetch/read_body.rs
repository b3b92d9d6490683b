//! How a body is read to be stored: at once where it is there, else as it comes, by a task of its own.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use http::HeaderMap;
use http_body::Body;
use tokio::{
    runtime::Handle,
    time::{Sleep, sleep, sleep_until},
};
use tracing::Instrument as _;

use super::{catch_panic::catch_panic, context::FetchContext, store_body::PendingEntry};
use crate::{
    body::{
        ResponseBody,
        buffer::BufferingBody,
        tee::{Item, TeeWriter, tee},
    },
    cache::detached::Abandon as _,
    http::cache_status::Reason,
};

/// How long others wait for the end of a body without a length.
const SOON: Duration = Duration::from_millis(500);

impl PendingEntry {
    /// Stores a body that is there at once before it is answered, and any other as it passes.
    ///
    /// Tells the seconds of freshness that are left, or why nothing is stored; `headers` are those of the response that goes out.
    pub(crate) fn run<B>(
        mut self: Box<Self>,
        body: B,
        length: Option<u64>,
        headers: &mut HeaderMap,
    ) -> impl Future<Output = (Result<i64, Reason>, ResponseBody<B>)> + Send
    where
        B: Body + Send + 'static,
        B::Error: Send,
    {
        let ttl = self.ttl();
        let mut filling = BufferingBody::new(body, self.stated, self.inquiry.settings.store.max_body);
        async move {
            if length.is_some()
                && let Some(whole) = poll_fn(|cx| Poll::Ready(filling.take_ready(cx))).await
            {
                self.tag(&whole, Some(headers));
                let inquiry = self.inquiry.clone();
                let (outcome, stored) = self.store(&whole).await;
                let body = if filling.may_go_on() { passed_on(filling, &inquiry) } else { ResponseBody::stored(stored) };
                return (outcome.map(|()| ttl), body);
            }
            let inquiry = self.inquiry.clone();
            if let Some(reason) = filling.ended() {
                self.give_up(reason);
                return (Err(reason), passed_on(filling, &inquiry));
            }
            // Nobody could read it on for others.
            if Handle::try_current().is_err() {
                return (Err(Reason::Incomplete), passed_on(filling, &inquiry));
            }
            if !inquiry.place.holds().may_grow() {
                self.give_up_for_room();
                return (Err(Reason::BufferLimit), passed_on(filling, &inquiry));
            }
            (Ok(ttl), self.pumped(filling))
        }
    }

    fn give_up_for_room(self) {
        let settings = self.inquiry.settings.clone();
        settings.warn_once("max_buffered_bytes", || {
            tracing::warn!(
                "a streamed response was not stored, because it would have held too many bytes read ahead of clients: \
                 see `Cache::with_max_buffered_bytes` and `Cache::with_max_abandoned_fetches`"
            );
        });
        self.give_up(Reason::BufferLimit);
    }

    /// The body, which a task of its own reads on and stores.
    fn pumped<B>(self: Box<Self>, filling: BufferingBody<B>) -> ResponseBody<B>
    where
        B: Body + Send + 'static,
        B::Error: Send,
    {
        self.inquiry.place.leave_route();
        let (writer, reader) = tee(filling.size_hint(), self.inquiry.place.holds());
        let pumping = async move {
            if let Err(panic) = catch_panic(pin!(Pump::new(self, filling, &writer).run())).await {
                writer.panicked(panic);
            }
        };
        tokio::spawn(pumping.in_current_span());
        ResponseBody::teed(reader)
    }
}

fn passed_on<B: Body>(mut filling: BufferingBody<B>, inquiry: &FetchContext) -> ResponseBody<B> {
    let (writer, reader) = tee(filling.size_hint(), inquiry.place.holds());
    filling.drain_buffered().for_each(|frame| writer.push(frame));
    writer.pass(filling.into_rest());
    ResponseBody::teed(reader)
}

/// Reads a body ahead of its client, passes it on, and stores it before its last frame has left.
struct Pump<'w, B: Body> {
    fill: Box<PendingEntry>,
    filling: BufferingBody<B>,
    tee: &'w TeeWriter<B>,
    /// When others wait no longer.
    release: Option<Pin<Box<Sleep>>>,
    /// When the fetch ends whose client has left.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// What comes next.
enum Next<B: Body> {
    Item(Item<B>),
    /// Too much is held to read on.
    NoRoom,
    /// No client waits, and none has for too long.
    GivenUp,
}

impl<'w, B: Body> Pump<'w, B> {
    fn new(mut fill: Box<PendingEntry>, mut filling: BufferingBody<B>, tee: &'w TeeWriter<B>) -> Self {
        filling.drain_buffered().for_each(|frame| tee.push(frame));
        let may_be_endless = fill.leads() && fill.stated.is_none() && filling.size_hint().exact().is_none();
        if fill.streamed {
            fill.release_followers();
        }
        let release = (may_be_endless && fill.leads()).then(|| Box::pin(sleep(SOON)));
        Self { fill, filling, tee, release, deadline: None }
    }

    async fn run(mut self) {
        while self.filling.ended().is_none() {
            let item = match poll_fn(|cx| self.poll_next(cx)).await {
                Next::Item(item) => item,
                Next::NoRoom => {
                    self.fill.give_up_for_room();
                    return self.tee.pass(self.filling.into_rest());
                }
                Next::GivenUp => {
                    tracing::debug!("a body that no client waited for was dropped before its end");
                    return;
                }
            };
            if let Some(whole) = self.filling.keep(&item) {
                self.fill.tag(&whole, None);
                let (_, stored) = self.fill.store(&whole).await;
                drop(whole);
                self.tee.stored(stored);
                return match item {
                    None => self.tee.end(),
                    // Trailers may follow.
                    Some(_) => self.tee.pass(self.filling.into_rest()),
                };
            }
            match item {
                None => return self.tee.end(),
                Some(frame) => self.tee.push(frame),
            }
        }
        self.fill.give_up(self.filling.ended().unwrap_or(Reason::Incomplete));
        self.tee.pass(self.filling.into_rest());
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next<B>> {
        if self.is_over(cx) {
            return Poll::Ready(Next::GivenUp);
        }
        if !self.tee.has_room() {
            return Poll::Ready(Next::NoRoom);
        }
        if let Poll::Ready(item) = self.filling.poll_body(cx) {
            return Poll::Ready(Next::Item(item));
        }
        if self.release.as_mut().is_some_and(|release| release.as_mut().poll(cx).is_ready()) {
            self.release = None;
            self.fill.release_followers();
        }
        Poll::Pending
    }

    /// Whether the client has left, and the time is over that the fetch has had since; or it gets none.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        if self.deadline.is_none() {
            if self.tee.poll_left(cx).is_pending() {
                return false;
            }
            let place = &self.fill.inquiry.place;
            let Some(deadline) = place.abandon() else { return true };
            self.tee.count_with(place.holds());
            self.deadline = Some(Box::pin(sleep_until(deadline)));
        }
        self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready())
    }
}
