//! Runs of the handler, counted when their body has ended.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, routing};
use bytes::Bytes;
use http::{Method, StatusCode, header::ETAG};
use http_body::Frame;
use http_body_util::BodyExt as _;
use larder::{Cache, FillResult, Outcome, Reason, Trigger};
use tower::ServiceExt as _;

use super::outcomes;
use crate::support::{
    ChannelBody, MINUTE, Runs, answering, cache, first_streams, get, minute, numbered, page, paused::settled, request,
};

/// The fills so far, by trigger and result.
fn fills(cache: &Cache) -> Vec<(Trigger, FillResult, u64)> {
    let stats = cache.stats();
    let results = [FillResult::Stored, FillResult::Revalidated].into_iter();
    let results: Vec<_> = results.chain(Reason::ALL.iter().copied().map(FillResult::NotStored)).collect();
    let all = Trigger::ALL.iter().flat_map(|trigger| results.iter().map(|result| (*trigger, *result)));
    all.map(|(trigger, result)| (trigger, result, stats.total().fills(trigger, result)))
        .filter(|(.., count)| *count > 0)
        .collect()
}

#[tokio::test]
async fn a_streamed_body_counts_at_its_end() {
    let (cache, _) = cache();
    let (frames, body) = ChannelBody::new();
    let app = page(minute(&cache), first_streams(body));
    let response = app.clone().oneshot(request(Method::GET, "/page", &[])).await.unwrap();
    frames.send("half");
    assert_eq!((outcomes(&cache), fills(&cache)), (vec![(Outcome::Miss, 1)], vec![]));
    assert_eq!(cache.stats().fetches_in_flight(), 1);
    drop(frames);
    response.into_body().collect().await.unwrap();
    assert_eq!(fills(&cache), [(Trigger::Request, FillResult::Stored, 1)]);
    assert_eq!((cache.stats().fetches_in_flight(), cache.stats().total().fill_durations().count()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_ends_halfway_is_incomplete() {
    let (cache, _) = cache();
    let cache = cache.with_max_abandoned_fetches(0, 0);
    let (frames, body) = ChannelBody::new();
    let app = page(minute(&cache), first_streams(body));
    let response = app.clone().oneshot(request(Method::GET, "/page", &[])).await.unwrap();
    frames.send("half");
    settled().await;
    drop(response);
    settled().await;
    assert_eq!(fills(&cache), [(Trigger::Request, FillResult::NotStored(Reason::Incomplete), 1)]);
    assert_eq!((outcomes(&cache), cache.stats().not_stored()), (vec![(Outcome::Miss, 1)], vec![(Reason::Incomplete, 1)]));
}

#[tokio::test]
async fn a_body_whose_response_was_invalidated_meanwhile_is_not_stored() {
    let (cache, _) = cache();
    let (frames, body) = ChannelBody::new();
    let app = page(minute(&cache).tags(["pages"]), first_streams(body));
    let response = app.clone().oneshot(request(Method::GET, "/page", &[])).await.unwrap();
    cache.invalidate_tags(["pages"]).await.unwrap();
    drop(frames);
    response.into_body().collect().await.unwrap();
    assert_eq!(fills(&cache), [(Trigger::Request, FillResult::NotStored(Reason::Invalidated), 1)]);
}

/// A body that panics when it is read.
struct PanickingBody;

impl http_body::Body for PanickingBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::panic::resume_unwind(Box::new("planned"))
    }
}

#[tokio::test]
async fn a_body_that_panics_is_incomplete() {
    let (cache, _) = cache();
    let app = page(minute(&cache), || async { Body::new(PanickingBody) });
    let asked = tokio::spawn(async move { get(&app, "/page").await });
    assert!(asked.await.is_err());
    assert_eq!(fills(&cache), [(Trigger::Request, FillResult::NotStored(Reason::Incomplete), 1)]);
}

#[tokio::test(start_paused = true)]
async fn triggers_are_told_apart() {
    let (cache, clock) = cache();
    let runs = Runs::default();
    let layer = minute(&cache).stale_while_revalidate(MINUTE).refresh_ahead(1e12);
    let slow = {
        let (runs, clock) = (runs.clone(), clock.clone());
        move || {
            clock.advance(Duration::from_millis(500));
            std::future::ready(format!("run {}", runs.begin()))
        }
    };
    let app = page(layer, slow);
    get(&app, "/page").await;
    assert_eq!(fills(&cache), [(Trigger::Request, FillResult::Stored, 1)]);
    assert_eq!(cache.stats().total().fill_durations().sum(), Duration::from_millis(500));

    let before = outcomes(&cache);
    get(&app, "/page").await;
    settled().await;
    assert_eq!(before, [(Outcome::Miss, 1)]);
    assert_eq!(fills(&cache)[1..], [(Trigger::Ahead, FillResult::Stored, 1)]);

    clock.advance(MINUTE + Duration::from_secs(1));
    get(&app, "/page").await;
    settled().await;
    assert!(fills(&cache).contains(&(Trigger::Refresh, FillResult::Stored, 1)));
    // The background refreshes are no requests.
    assert_eq!(outcomes(&cache), [(Outcome::Hit, 1), (Outcome::Stale, 1), (Outcome::Miss, 1)]);

    cache.refresh(app, request(Method::GET, "/page", &[])).await.unwrap();
    assert!(fills(&cache).contains(&(Trigger::Warm, FillResult::Stored, 1)));
    assert_eq!(cache.stats().saved(), Duration::from_secs(1));
}

#[tokio::test]
async fn a_validated_response_is_no_new_one() {
    let (cache, clock) = cache();
    let handler = answering(|parts| match parts.headers.contains_key("if-none-match") {
        true => (StatusCode::NOT_MODIFIED, [(ETAG, "\"1\"")]),
        false => (StatusCode::OK, [(ETAG, "\"1\"")]),
    });
    let app = page(minute(&cache), handler);
    get(&app, "/page").await;
    clock.advance(2 * MINUTE);
    get(&app, "/page").await;
    assert_eq!(fills(&cache), [(Trigger::Request, FillResult::Stored, 1), (Trigger::Request, FillResult::Revalidated, 1)]);
}

#[tokio::test]
async fn bytes_are_those_that_are_sent() {
    let (cache, _) = cache();
    let app = page(minute(&cache), || async { "0123456789" });
    get(&app, "/page").await;
    get(&app, "/page").await;
    crate::support::get_with(&app, "/page", &[("range", "bytes=0-2")]).await;
    crate::support::send_empty(&app, Method::HEAD, "/page").await;
    let stats = cache.stats();
    assert_eq!((stats.total().bytes_from_handler(), stats.total().bytes_from_cache()), (10, 13));
}

#[tokio::test]
async fn saved_time_is_that_of_the_handler() {
    let (cache, clock) = cache();
    let app = Router::new().route(
        "/page",
        routing::get(move || {
            clock.advance(Duration::from_millis(250));
            numbered(&Runs::default())()
        })
        .layer(minute(&cache)),
    );
    for _ in 0..4 {
        get(&app, "/page").await;
    }
    assert_eq!(cache.stats().saved(), Duration::from_millis(750));
    assert_eq!(cache.stats().route("/page").unwrap().saved(), Duration::from_millis(750));
}
