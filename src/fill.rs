use std::{
    future::{Future, poll_fn},
    mem,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_LENGTH, ETAG},
    response,
};
use http_body::Body;
use tokio::{
    runtime::Handle,
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::timeout,
};
use tracing::Instrument as _;

use crate::{
    body::{Filling, Item, Piece, ResponseBody},
    cache::Cache,
    caught::caught,
    collapse::Landing,
    etag::entity_tag,
    lasting::LastingFields,
    policy::{Lifetime, fields_left_out},
    settings::Settings,
    status::Reason,
    store::Filled,
    stored::{Content, Stored, StoredResponse, response_head},
    turn::Role,
};

/// A response that will be stored as soon as its body is known; boxed, since futures that hold it are moved.
pub(crate) struct Fill {
    cache: Cache,
    settings: Arc<Settings>,
    filled: Box<Filled>,
    lifetime: Lifetime,
    status: StatusCode,
    headers: LastingFields,
    /// The body's length, as `Content-Length` states it.
    stated: Option<u64>,
    role: Role,
}

/// How long a body is read on when its client has left.
const PATIENCE: Duration = Duration::from_secs(30);

impl Fill {
    pub(crate) fn new(
        cache: Cache,
        settings: Arc<Settings>,
        filled: Box<Filled>,
        lifetime: Lifetime,
        response: &response::Parts,
        role: Role,
    ) -> Box<Self> {
        let headers = LastingFields::of(&response.headers, fields_left_out(&settings.store, response));
        let stated = response.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Box::new(Self { cache, settings, filled, lifetime, status: response.status, headers, stated, role })
    }

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
        let ttl = self.lifetime.ttl();
        let mut filling = Filling::new(body, self.stated, self.settings.store.max_body);
        async move {
            if length.is_some()
                && let Some(whole) = poll_fn(|cx| Poll::Ready(filling.take_ready(cx))).await
            {
                self.tag(&whole, Some(headers));
                let outcome = self.store(&whole).await.map(|()| ttl);
                let body = if filling.may_go_on() { passed_on(filling) } else { ResponseBody::stored(whole) };
                return (outcome, body);
            }
            if let Some(reason) = filling.ended() {
                self.give_up(reason);
                return (Err(reason), passed_on(filling));
            }
            // Nobody could read it on for others.
            if Handle::try_current().is_err() {
                return (Err(Reason::Incomplete), passed_on(filling));
            }
            (Ok(ttl), self.pumped(filling))
        }
    }

    /// The body, which a task of its own reads on and stores.
    fn pumped<B>(self: Box<Self>, filling: Filling<B>) -> ResponseBody<B>
    where
        B: Body + Send + 'static,
        B::Error: Send,
    {
        let (pieces, received) = unbounded_channel();
        let body = ResponseBody::piped(&filling, received);
        let pumping = async move {
            if let Err(panic) = caught(pin!(self.pump(filling, &pieces))).await {
                let _ = pieces.send(Piece::Panicked(panic));
            }
        };
        tokio::spawn(pumping.in_current_span());
        body
    }

    /// Reads the body, passes it on, and stores it before its last frame has left.
    async fn pump<B: Body>(self: Box<Self>, mut filling: Filling<B>, pieces: &UnboundedSender<Piece<B>>) {
        let mut fill = Some(self);
        send_taken(&mut filling, pieces);
        while filling.ended().is_none() {
            // Nobody has this body but us: without a client it is read for so long, and no longer.
            let Some(item) = next(&mut filling, pieces).await else { return };
            if let Some(whole) = filling.keep(&item)
                && let Some(mut fill) = fill.take()
            {
                fill.tag(&whole, None);
                let _ = fill.store(&whole).await;
            }
            match item {
                None => {
                    let _ = pieces.send(Piece::End);
                    return;
                }
                Some(frame) => _ = pieces.send(Piece::Frame(frame)),
            }
        }
        if let Some(fill) = fill {
            fill.give_up(filling.ended().unwrap_or(Reason::Incomplete));
        }
        pass_on(filling, pieces);
    }

    /// Stores the response with a body of its own: a slice would keep alive, uncounted, whatever buffer it was cut from.
    fn store(mut self: Box<Self>, body: &[u8]) -> impl Future<Output = Result<(), Reason>> + use<> {
        let response = self.response(Bytes::copy_from_slice(body));
        self.put(response)
    }

    /// The response as it will be stored and answered, made once.
    pub(crate) fn response(&mut self, body: Bytes) -> StoredResponse {
        let headers = mem::take(&mut self.headers).complete(self.status, body.len(), self.lifetime.received);
        StoredResponse {
            head: response_head(self.status, headers),
            body,
            generated: self.lifetime.generated,
            fresh_until: self.lifetime.fresh_until,
            answers_authorized: self.lifetime.answers_authorized,
            stale: self.lifetime.stale,
            forbids_stale: self.lifetime.forbids_stale,
            immutable: self.lifetime.immutable,
            cost: u32::try_from(self.lifetime.cost.as_millis()).unwrap_or(u32::MAX),
        }
    }

    /// Stores the response, and tells those who wait for it how that went.
    pub(crate) fn put(mut self: Box<Self>, response: StoredResponse) -> impl Future<Output = Result<(), Reason>> + use<> {
        let tags = mem::take(&mut self.filled.tags);
        // Outside of the future, which is smaller for that.
        let stored = Arc::new(Stored::new(self.filled.born, tags, Content::Response(response)));
        self.put_stored(stored)
    }

    async fn put_stored(self: Box<Self>, stored: Arc<Stored>) -> Result<(), Reason> {
        let fresh_until = self.lifetime.fresh_until;
        let shareable = self.lifetime.received < fresh_until;
        let outcome = self.cache.store(&self.settings, &self.filled, stored, fresh_until).await;
        let Self { cache, filled, role, .. } = *self;
        let key = filled.key.digest();
        let landing = match &outcome {
            Ok(()) if shareable => Landing::Stored,
            Ok(()) => {
                cache.inner.uncacheable.remember(key, cache.now());
                Landing::Uncacheable
            }
            Err(Reason::Invalidated) => Landing::Failed,
            Err(reason) => {
                tracing::debug!(reason = reason.as_str(), "a response was not stored after all");
                if reason.is_the_response() {
                    cache.inner.uncacheable.remember(key, cache.now());
                }
                Landing::Uncacheable
            }
        };
        match role {
            // It went alone because the key was remembered as one not to wait for.
            Role::Single if landing == Landing::Stored => cache.inner.uncacheable.forget(key),
            role => role.land(landing),
        }
        outcome
    }

    fn remember(&self, reason: Reason) {
        if reason.is_the_response() {
            self.cache.inner.uncacheable.remember(self.filled.key.digest(), self.cache.now());
        }
    }

    /// Gives a body without an entity tag one of its own, where the route asks for that.
    fn tag(&mut self, body: &[u8], sent: Option<&mut HeaderMap>) {
        if !self.settings.auto_etag || self.status != StatusCode::OK || self.headers.contains(&ETAG) {
            return;
        }
        let etag = entity_tag(body);
        if let Some(sent) = sent {
            sent.insert(ETAG, etag.clone());
        }
        self.headers.push(ETAG, etag);
    }

    fn give_up(self, reason: Reason) {
        self.remember(reason);
        self.role.land(Landing::Uncacheable);
    }
}

fn passed_on<B: Body>(filling: Filling<B>) -> ResponseBody<B> {
    let (pieces, received) = unbounded_channel();
    let body = ResponseBody::piped(&filling, received);
    pass_on(filling, &pieces);
    body
}

/// What remains of a body that is not stored is its client's own affair.
fn pass_on<B: Body>(mut filling: Filling<B>, pieces: &UnboundedSender<Piece<B>>) {
    send_taken(&mut filling, pieces);
    let _ = pieces.send(Piece::Rest(filling.into_rest()));
}

/// A client that has left is no reason to stop.
fn send_taken<B: Body>(filling: &mut Filling<B>, pieces: &UnboundedSender<Piece<B>>) {
    for frame in filling.take_taken() {
        let _ = pieces.send(Piece::Frame(frame));
    }
}

/// The next frame of the body, or `None` if its client has left and patience has run out.
async fn next<B: Body>(filling: &mut Filling<B>, pieces: &UnboundedSender<Piece<B>>) -> Option<Item<B>> {
    let mut left = pin!(pieces.closed());
    let either = poll_fn(|cx| match filling.poll_body(cx) {
        Poll::Ready(item) => Poll::Ready(Some(item)),
        Poll::Pending => left.as_mut().poll(cx).map(|()| None),
    });
    match either.await {
        Some(item) => Some(item),
        None => timeout(PATIENCE, poll_fn(|cx| filling.poll_body(cx))).await.ok(),
    }
}
