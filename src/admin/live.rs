//! Decisions as they are made, as server-sent events: a sample of at most twenty a second. Nothing is computed without a client.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame};
use serde::Serialize;
use tokio::{
    sync::mpsc::Receiver,
    time::{Interval, MissedTickBehavior, interval},
};

use super::text::visible;
use crate::{
    cache::Cache,
    http::cache_status::{CacheStatus, Forward, Reason},
    stats::watchers::WatchedDecision,
};

/// At most one decision in this time.
const PACE: Duration = Duration::from_millis(50);

/// How many decisions are kept for a client. What comes while these wait is not computed.
const ROOM: usize = 8;

/// So often a comment keeps the connection open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The body of the stream.
#[derive(Debug)]
pub(super) struct LiveBody {
    decisions: Receiver<WatchedDecision>,
    pace: Interval,
    keep_alive: Interval,
    has_begun: bool,
    /// The pace allows the next decision.
    may_send: bool,
}

#[derive(Serialize)]
struct Event<'d> {
    outcome: &'static str,
    route: String,
    status: Option<u16>,
    forward: Option<&'static str>,
    reason: Option<&'static str>,
    ttl: Option<i64>,
    age: Option<u64>,
    digest: Option<&'d str>,
    key: Option<&'d str>,
}

impl LiveBody {
    pub(super) fn watch(cache: &Cache) -> Self {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let decisions = cache.inner.listener.watchers.add(ROOM);
        Self { decisions, pace, keep_alive: interval(KEEP_ALIVE), has_begun: false, may_send: false }
    }
}

impl Body for LiveBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.has_begun {
            self.has_begun = true;
            return frame(": larder\nretry: 2000\n\n".to_owned());
        }
        if self.keep_alive.poll_tick(cx).is_ready() {
            return frame(":\n\n".to_owned());
        }
        if !self.may_send {
            ready!(self.pace.poll_tick(cx));
            self.may_send = true;
        }
        match ready!(self.decisions.poll_recv(cx)) {
            Some(decision) => {
                self.may_send = false;
                frame(event(&decision))
            }
            None => Poll::Ready(None),
        }
    }
}

fn frame(text: String) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
    Poll::Ready(Some(Ok(Frame::data(text.into()))))
}

fn event(decision: &WatchedDecision) -> String {
    let status = decision.status.as_ref();
    let event = Event {
        outcome: decision.outcome.as_str(),
        route: visible(&decision.route),
        status: decision.response_status.map(|status| status.as_u16()),
        forward: status.and_then(CacheStatus::forward).map(Forward::as_str),
        reason: status.and_then(CacheStatus::reason).map(Reason::as_str),
        ttl: status.and_then(CacheStatus::ttl),
        age: status.and_then(CacheStatus::age),
        digest: decision.digest.as_deref(),
        key: decision.key.as_deref(),
    };
    format!("data: {}\n\n", serde_json::to_string(&event).unwrap_or_default())
}
