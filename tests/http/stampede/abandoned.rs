//! A fetch that no client waits for ends, whatever its handler does, and meanwhile takes nothing from the others.

use std::{
    convert::Infallible,
    future::pending,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
    routing,
};
use bytes::Bytes;
use http::Method;
use http_body::Frame;
use larder::{CacheLayer, Reason};
use tokio::time::{Interval, interval, sleep};
use tower::ServiceExt as _;

use super::{WAIT_LIMIT, answers};
use crate::support::{
    MINUTE, Runs, cache, get, minute,
    paused::{settled, timed},
    request, spawn_get,
};

/// How long a fetch goes on that no client waits for, unless the cache is told otherwise.
const ABANDONED_LIMIT: Duration = Duration::from_secs(30);

/// How many of them there may be.
const ABANDONED: usize = 256;

/// How many handlers of a route run at once.
const FETCHES: usize = 1024;

/// Counts the handlers and bodies that exist.
#[derive(Debug, Clone, Default)]
struct Live(Arc<AtomicUsize>);

impl Live {
    fn enter(&self) -> Guard {
        self.0.fetch_add(1, Ordering::SeqCst);
        Guard(self.clone())
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[derive(Debug)]
struct Guard(Live);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An endless body with a line every ten seconds.
struct Endless {
    ticks: Interval,
    _guard: Guard,
}

impl Endless {
    fn body(live: &Live) -> Body {
        Body::new(Self { ticks: interval(Duration::from_secs(10)), _guard: live.enter() })
    }
}

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        ready!(self.ticks.poll_tick(cx));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"{}\n")))))
    }
}

/// Routes that stream without end, that hang, that hang before they stream, and that answer; all behind layers alike.
fn site(layer: &CacheLayer, live: &Live) -> Router {
    let (streams, hangs, late) = (live.clone(), live.clone(), live.clone());
    let stream = move || async move { ([("content-type", "application/x-ndjson")], Endless::body(&streams)) };
    let hang = move |request: Request| async move {
        let _guard = hangs.enter();
        if request.uri().query().is_some_and(|query| query.starts_with("recovered")) {
            return "recovered";
        }
        pending().await
    };
    let late = move || async move {
        sleep(Duration::from_secs(20)).await;
        Endless::body(&late)
    };
    Router::new()
        .route("/stream", routing::get(stream).layer(layer.clone()))
        .route("/hang", routing::get(hang).layer(layer.clone()))
        .route("/late", routing::get(late).layer(layer.clone()))
        .route("/page", routing::get(|| async { "page" }).layer(layer.clone()))
}

async fn head(app: &Router, uri: &str) -> Response {
    app.clone().oneshot(request(Method::GET, uri, &[])).await.unwrap()
}

async fn leave_after_the_head(app: &Router, path: &str, clients: usize) {
    for client in 0..clients {
        drop(head(app, &format!("{path}?{client}")).await);
    }
    settled().await;
}

async fn leave_before_the_head(app: &Router, path: &str, clients: usize) {
    let asked: Vec<_> = (0..clients).map(|client| spawn_get(app, &format!("{path}?{client}"))).collect();
    settled().await;
    asked.iter().for_each(tokio::task::JoinHandle::abort);
    settled().await;
}

async fn assert_a_miss_does_not_wait(app: &Router, uri: &str) {
    let (took, answer) = timed(get(app, uri)).await;
    assert_eq!((took, answer.is_stored()), (Duration::ZERO, true), "{uri}");
    assert!(get(app, uri).await.is_hit(), "{uri}");
}

#[tokio::test(start_paused = true)]
async fn abandoned_streams_end_within_the_limit_without_delays() {
    let live = Live::default();
    let app = site(&minute(&cache().0), &live);
    leave_after_the_head(&app, "/stream", FETCHES).await;
    assert_eq!(live.count(), ABANDONED);
    assert_a_miss_does_not_wait(&app, "/page").await;
    sleep(ABANDONED_LIMIT).await;
    assert_eq!(live.count(), 0);
    assert_a_miss_does_not_wait(&app, "/page?later").await;
}

#[tokio::test(start_paused = true)]
async fn abandoned_handlers_end_within_the_limit_without_delays() {
    let live = Live::default();
    let app = site(&minute(&cache().0), &live);
    leave_before_the_head(&app, "/hang", FETCHES).await;
    assert_eq!(live.count(), ABANDONED);
    assert_a_miss_does_not_wait(&app, "/page").await;
    assert_a_miss_does_not_wait(&app, "/hang?recovered").await;
    sleep(ABANDONED_LIMIT).await;
    assert_eq!(live.count(), 0);
    assert_a_miss_does_not_wait(&app, "/page?later").await;
}

#[tokio::test(start_paused = true)]
async fn head_and_body_of_an_abandoned_fetch_share_one_limit() {
    let live = Live::default();
    let app = site(&minute(&cache().0), &live);
    leave_before_the_head(&app, "/late", 10).await;
    sleep(Duration::from_secs(25)).await;
    assert_eq!(live.count(), 10);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(live.count(), 0);
}

/// Also one that streams what it brings.
#[tokio::test(start_paused = true)]
async fn a_background_refresh_has_one_limit_for_head_and_body() {
    let ((cache, clock), live, runs) = (cache(), Live::default(), Runs::default());
    let handler = {
        let live = live.clone();
        move || async move {
            if runs.begin() == 1 {
                return "page".into_response();
            }
            sleep(Duration::from_secs(20)).await;
            Endless::body(&live).into_response()
        }
    };
    let app = crate::support::page(minute(&cache).stale_while_revalidate(MINUTE), handler);
    get(&app, "/page").await;
    clock.advance(MINUTE);
    assert!(get(&app, "/page").await.is_hit());
    sleep(Duration::from_secs(25)).await;
    assert_eq!(live.count(), 1);
    sleep(Duration::from_secs(6)).await;
    assert_eq!(live.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn key_is_fetched_again_at_once_after_an_abandoned_fetch() {
    let (live, runs) = (Live::default(), Runs::default());
    let handler = {
        let (live, runs) = (live.clone(), runs.clone());
        move || async move {
            if runs.begin() == 1 {
                let _guard = live.enter();
                pending::<()>().await;
            }
            "page"
        }
    };
    let app = crate::support::page(minute(&cache().0), handler);
    let first = spawn_get(&app, "/page");
    settled().await;
    first.abort();
    sleep(ABANDONED_LIMIT - Duration::from_secs(1)).await;
    // The follower waits for a fetch that ends without an answer, and takes over.
    let (took, answer) = timed(get(&app, "/page")).await;
    assert!(answer.is_stored());
    assert!(took <= Duration::from_secs(1), "{took:?}");
    assert_eq!((runs.count(), live.count()), (2, 0));
    assert!(get(&app, "/page").await.is_hit());
}

/// Their clients are still there, and wait.
#[tokio::test(start_paused = true)]
async fn hanging_handlers_of_a_route_do_not_delay_another() {
    let live = Live::default();
    let app = site(&minute(&cache().0), &live);
    let hanging: Vec<_> = (0..FETCHES).map(|client| spawn_get(&app, &format!("/hang?{client}"))).collect();
    settled().await;
    assert_eq!(live.count(), FETCHES);
    assert_a_miss_does_not_wait(&app, "/page").await;
    // On that route itself a miss queues up, and is stored nevertheless.
    let (took, answer) = timed(get(&app, "/hang?recovered")).await;
    assert_eq!((took, answer.is_stored()), (WAIT_LIMIT, true));
    assert_a_miss_does_not_wait(&app, "/hang?recovered-1").await;
    hanging.iter().for_each(tokio::task::JoinHandle::abort);
    settled().await;
    assert_a_miss_does_not_wait(&app, "/hang?recovered-2").await;
}

/// Their clients are still there, and read.
#[tokio::test(start_paused = true)]
async fn streams_take_no_place_among_the_handlers() {
    let live = Live::default();
    let app = site(&minute(&cache().0), &live);
    let mut streams = Vec::new();
    for client in 0..FETCHES {
        streams.push(head(&app, &format!("/stream?{client}")).await);
    }
    let (took, another) = timed(head(&app, "/stream?another")).await;
    assert_eq!(took, Duration::ZERO);
    assert_a_miss_does_not_wait(&app, "/page").await;
    drop((streams, another));
}

// Bytes.

const MIB: usize = 1 << 20;
const CHUNK: usize = 64 << 10;

/// A body of so many chunks, which counts what is taken of it and what of it exists.
struct Chunks {
    left: usize,
    /// Whether it waits indefinitely when all are taken.
    stalls: bool,
    taken: Arc<AtomicUsize>,
    _guard: Guard,
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(left) = self.left.checked_sub(1) else {
            return if self.stalls { Poll::Pending } else { Poll::Ready(None) };
        };
        self.left = left;
        self.taken.fetch_add(CHUNK, Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(vec![b'a' + (left % 26) as u8; CHUNK].into()))))
    }
}

/// A page whose body has so many chunks; what is taken of all bodies together, and how many bodies there are.
fn chunked(layer: CacheLayer, chunks: usize, stalls: bool) -> (Router, Arc<AtomicUsize>, Live) {
    let (taken, live) = (Arc::<AtomicUsize>::default(), Live::default());
    let handler = {
        let (taken, live) = (taken.clone(), live.clone());
        move || async move { Body::new(Chunks { left: chunks, stalls, taken, _guard: live.enter() }) }
    };
    (crate::support::page(layer, handler), taken, live)
}

fn whole(chunks: usize) -> Bytes {
    (0..chunks).rev().flat_map(|left| vec![b'a' + (left % 26) as u8; CHUNK]).collect()
}

#[tokio::test(start_paused = true)]
async fn clients_that_never_read_hold_no_more_than_the_budget() {
    const CLIENTS: usize = 60;
    for stalls in [false, true] {
        let (cache, _) = cache();
        let (app, taken, _) = chunked(minute(&cache).max_body(16 << 20), 128, stalls);
        let mut unread = Vec::new();
        for client in 0..CLIENTS {
            unread.push(head(&app, &format!("/page?{client}")).await);
            settled().await;
        }
        let taken = taken.load(Ordering::SeqCst);
        assert!((32 * MIB..=64 * MIB + CLIENTS * CHUNK).contains(&taken), "{taken} bytes, stalls: {stalls}");
        drop(unread);
        settled().await;
        // What they held is free again.
        let (app, _, _) = chunked(minute(&cache).max_body(16 << 20), 128, false);
        assert!(get(&app, "/page?read").await.is_stored());
        assert!(get(&app, "/page?read").await.is_hit());
    }
}

/// Over the budget a client sets the pace of its own body, and gets all of it.
#[tokio::test(start_paused = true)]
async fn a_body_over_the_budget_is_read_at_the_pace_of_its_client() {
    let (app, taken, live) = chunked(minute(&cache().0).max_body(64 << 20), 800, false);
    let response = head(&app, "/page").await;
    settled().await;
    let ahead = taken.load(Ordering::SeqCst);
    assert!((16 * MIB..32 * MIB).contains(&ahead), "{ahead} bytes");
    settled().await;
    assert_eq!((taken.load(Ordering::SeqCst), live.count()), (ahead, 1));
    assert!(crate::support::read(response).await.body == whole(800));
    assert!(!get(&app, "/page").await.is_hit());
}

#[tokio::test(start_paused = true)]
async fn slow_client_gets_the_whole_body_from_the_store() {
    let (cache, _) = cache();
    let (app, _, live) = chunked(minute(&cache), 8, false);
    let response = head(&app, "/page").await;
    settled().await;
    // The handler's body is dropped, and no client has read yet.
    assert_eq!(live.count(), 0);
    assert!(get(&app, "/page").await.is_hit());
    cache.clear().await.unwrap();
    assert!(crate::support::read(response).await.body == whole(8));
}

#[tokio::test(start_paused = true)]
async fn abandoned_bodies_hold_no_more_than_their_budget() {
    const CLIENTS: usize = 100;
    let (app, taken, live) = chunked(minute(&cache().0), 15, true);
    for client in 0..CLIENTS {
        drop(head(&app, &format!("/page?{client}")).await);
        settled().await;
    }
    let held = live.count() * 15 * CHUNK;
    assert!((4 * MIB..=16 * MIB).contains(&held), "{held} bytes");
    assert!(taken.load(Ordering::SeqCst) >= held);
    sleep(ABANDONED_LIMIT).await;
    assert_eq!(live.count(), 0);
}

// Streams that others wait for.

#[tokio::test(start_paused = true)]
async fn stream_delays_no_other_request() {
    let live = Live::default();
    let app = site(&minute(&cache().0), &live);
    let first = head(&app, "/stream").await;
    let (took, others) = timed(async { (head(&app, "/stream").await, head(&app, "/stream").await) }).await;
    assert_eq!((took, live.count()), (Duration::ZERO, 3));
    drop((first, others));
}

/// Its type does not say so.
#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_holds_up_others_for_half_a_second_at_most() {
    let live = Live::default();
    let streaming = live.clone();
    let app = crate::support::page(minute(&cache().0), move || async move { Endless::body(&streaming) });
    let first = head(&app, "/page").await;
    let (took, second) = timed(head(&app, "/page")).await;
    assert!(took <= Duration::from_millis(500), "{took:?}");
    let (took, third) = timed(head(&app, "/page")).await;
    assert_eq!((took, live.count()), (Duration::ZERO, 3));
    drop((first, second, third));
}

/// A body that took its time and ended is stored, and others wait for the next one again.
#[tokio::test(start_paused = true)]
async fn a_slow_body_that_ends_is_stored_and_its_key_shared_again() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let handler = {
        let runs = runs.clone();
        move || async move {
            let run = runs.begin();
            let (frames, body) = crate::support::ChannelBody::new();
            tokio::spawn(async move {
                sleep(Duration::from_secs(if run == 1 { 3 } else { 0 })).await;
                frames.send(format!("run {run}"));
            });
            Body::new(body)
        }
    };
    let app = crate::support::page(minute(&cache).tags(["posts"]), handler);
    assert_eq!(get(&app, "/page").await.text(), "run 1");
    assert!(get(&app, "/page").await.is_hit());
    cache.invalidate_tags(["posts"]).await.unwrap();
    let asked = super::ask_times(10, &app, "/page");
    assert!(answers(asked).await.iter().all(|answer| answer.text() == "run 2"));
    assert_eq!(runs.count(), 2);
}

// Settings.

#[tokio::test(start_paused = true)]
async fn a_cache_may_end_each_fetch_that_its_client_leaves() {
    for (count, bytes) in [(0, u64::MAX), (1, 0)] {
        let live = Live::default();
        let app = site(&minute(&cache().0.with_max_abandoned_fetches(count, bytes)), &live);
        leave_after_the_head(&app, "/stream", 10).await;
        assert_eq!(live.count(), 0);
        leave_before_the_head(&app, "/hang", 10).await;
        assert_eq!(live.count(), count);
    }
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_abandoned_fetches_is_the_one_that_was_set() {
    for limit in [Duration::ZERO, Duration::from_secs(5), 2 * MINUTE] {
        let live = Live::default();
        let app = site(&minute(&cache().0.with_abandoned_fetch_limit(limit)), &live);
        leave_before_the_head(&app, "/hang", 10).await;
        leave_after_the_head(&app, "/stream", 10).await;
        sleep(limit.saturating_sub(Duration::from_secs(1))).await;
        assert_eq!(live.count(), if limit.is_zero() { 0 } else { 20 }, "{limit:?}");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(live.count(), 0, "{limit:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_largest_and_the_smallest_limits_do_no_harm() {
    let live = Live::default();
    let largest = cache().0.with_abandoned_fetch_limit(Duration::MAX).with_max_abandoned_fetches(usize::MAX, u64::MAX);
    let app = site(&minute(&largest.with_max_buffered_bytes(u64::MAX).with_max_fetches(usize::MAX)), &live);
    leave_before_the_head(&app, "/hang", 10).await;
    leave_after_the_head(&app, "/stream", 10).await;
    assert_eq!(live.count(), 20);
    assert_a_miss_does_not_wait(&app, "/page").await;

    let smallest = cache().0.with_max_buffered_bytes(0).with_max_fetches(0);
    let (app, _, _) = chunked(minute(&smallest), 3, false);
    let answer = get(&app, "/page").await;
    assert_eq!(answer.reason(), Some(Reason::BufferLimit));
    assert!(answer.body == whole(3));
}
