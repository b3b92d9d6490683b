//! How content is read: within limits, and always complete for the handler.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, response::IntoResponse as _, routing};
use bytes::Bytes;
use http::StatusCode;
use http_body::Frame;
use http_body_util::BodyExt as _;
use larder::{Cache, CacheDirective, CacheLayer, Memory, Reason};

use super::{JSON, LIMIT, asking, post};
use crate::support::{Answer, ChannelBody, MINUTE, Runs, cache, fields, get, minute, numbered, paused::settled, send};

/// A handler that echoes what it reads, `!` for trailers, and 400 for a body that fails.
fn echo(layer: CacheLayer, runs: &Runs) -> Router {
    let runs = runs.clone();
    let handler = move |request: Request| async move {
        runs.begin();
        match request.into_body().collect().await {
            Ok(read) => {
                let trailers = if read.trailers().is_some() { "!" } else { "" };
                let content = String::from_utf8(read.to_bytes().into()).unwrap();
                (CacheDirective::ttl(MINUTE), content + trailers).into_response()
            }
            Err(_) => StatusCode::BAD_REQUEST.into_response(),
        }
    };
    Router::new().route("/graphql", routing::post(handler).layer(layer.cache_post(LIMIT)))
}

/// A body with these frames, and without a known length.
struct Script(VecDeque<Result<Bytes, io::Error>>);

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(self.0.pop_front().map(|data| data.map(Frame::data)))
    }
}

async fn chunks<const N: usize>(app: &Router, chunks: [Option<&'static str>; N]) -> Answer {
    let cut = || io::Error::other("cut");
    let frames = chunks.into_iter().map(|chunk| chunk.map(Bytes::from).ok_or_else(cut)).collect();
    send(app, asking("POST", "/graphql", &[JSON], Body::new(Script(frames)))).await
}

#[tokio::test]
async fn content_over_the_limit_passes_byte_for_byte() {
    let runs = Runs::default();
    let app = echo(cache().0.layer(), &runs);
    let long = "0123456789".repeat(100);
    for _ in 0..2 {
        // The length is known.
        let answer = send(&app, asking("POST", "/graphql", &[JSON], long.clone())).await;
        assert_eq!((answer.text(), answer.reason()), (&*long, Some(Reason::RequestBodyTooLarge)));
        // It is not.
        let answer =
            chunks(&app, [Some("0123456789012345678901234567890123456789"), Some("abcdefghijklmnopqrstuvwxyz"), Some("…")]).await;
        let whole = "0123456789012345678901234567890123456789abcdefghijklmnopqrstuvwxyz…";
        assert_eq!((answer.text(), answer.reason()), (whole, Some(Reason::RequestBodyTooLarge)));
    }
    assert_eq!(runs.count(), 4);
}

#[tokio::test]
async fn chunks_are_the_same_content_as_one_piece() {
    let runs = Runs::default();
    let app = echo(cache().0.layer(), &runs);
    assert_eq!(chunks(&app, [Some("re"), Some(""), Some("ad")]).await.text(), "read");
    assert!(post(&app, "read").await.is_hit() && chunks(&app, [Some("read")]).await.is_hit());
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn nothing_is_stored_for_content_that_was_cut() {
    let runs = Runs::default();
    let app = echo(cache().0.layer(), &runs);
    for _ in 0..2 {
        let cut = chunks(&app, [Some("re"), None]).await;
        assert_eq!((cut.status, cut.reason()), (StatusCode::BAD_REQUEST, Some(Reason::RequestBodyIncomplete)));
        let short = send(&app, asking("POST", "/graphql", &[JSON, ("content-length", "4")], "re")).await;
        assert_eq!((short.text(), short.reason()), ("re", Some(Reason::RequestBodyIncomplete)));
    }
    assert_eq!(runs.count(), 4);
    assert!(post(&app, "re").await.is_stored());
}

#[tokio::test]
async fn trailers_reach_the_handler_and_nothing_is_stored() {
    let app = echo(cache().0.layer(), &Runs::default());
    for _ in 0..2 {
        let (frames, body) = ChannelBody::new();
        frames.send("read");
        frames.send_trailers(&[("digest", "1")]);
        drop(frames);
        let answer = send(&app, asking("POST", "/graphql", &[JSON], Body::new(body))).await;
        assert_eq!((answer.text(), answer.reason()), ("read!", Some(Reason::RequestTrailers)));
    }
}

#[tokio::test(start_paused = true)]
async fn d10_slow_content_goes_to_the_handler_after_a_while() {
    let runs = Runs::default();
    let app = echo(cache().0.layer().request_body_wait(Duration::from_secs(3)), &runs);
    let (frames, body) = ChannelBody::new();
    frames.send("re");
    let asked = tokio::spawn({
        let app = app.clone();
        async move { send(&app, asking("POST", "/graphql", &[JSON], Body::new(body))).await }
    });
    tokio::time::sleep(Duration::from_millis(2900)).await;
    assert_eq!(runs.count(), 0, "it is still being read");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(runs.count(), 1, "the handler reads on");
    frames.send("ad");
    drop(frames);
    let answer = asked.await.unwrap();
    assert_eq!((answer.text(), answer.reason()), ("read", Some(Reason::RequestBodyTooSlow)));
    assert!(post(&app, "read").await.is_stored());
}

/// What is held for slow clients is bounded; a hit holds nothing once it has answered.
#[tokio::test(start_paused = true)]
async fn d10_bytes_that_are_held_for_requests_are_bounded() {
    let (cache, _) = cache();
    let cache = cache.with_max_request_bytes(4 << 10);
    let runs = Runs::default();
    let app = echo(cache.layer(), &runs);
    for _ in 0..10 {
        post(&app, "read").await;
    }
    assert_eq!(runs.count(), 1);
    let mut slow = Vec::new();
    for _ in 0..10 {
        let (frames, body) = ChannelBody::new();
        frames.send("re");
        let app = app.clone();
        slow.push((frames, tokio::spawn(async move { send(&app, asking("POST", "/graphql", &[JSON], Body::new(body))).await })));
    }
    settled().await;
    assert!(runs.count() > 5, "those beyond the limit are with their handler: {}", runs.count());
    assert_eq!(post(&app, "read").await.reason(), Some(Reason::RequestBodyLimit));
    for (frames, asked) in slow {
        frames.send("ad");
        drop(frames);
        assert_eq!(asked.await.unwrap().text(), "read");
    }
    assert!(post(&app, "read").await.is_hit());
    let none = echo(cache.with_max_request_bytes(0).layer(), &runs);
    assert_eq!(post(&none, "read").await.reason(), Some(Reason::RequestBodyLimit));
}

#[tokio::test]
async fn d1_a_flood_of_contents_neither_outgrows_the_store_nor_pushes_out_what_is_hot() {
    const LIMIT: u64 = 256 << 10;
    let store = Arc::new(Memory::new(LIMIT));
    let cache = Cache::from_arc(store.clone());
    let handler = |content: String| std::future::ready((fields(&[("cache-control", "max-age=60")]), content.repeat(50)));
    let app = Router::new()
        .route("/graphql", routing::post(handler).layer(cache.layer().cache_post(super::LIMIT)))
        .route("/page", routing::get(numbered(&Runs::default())).layer(minute(&cache)));
    for number in 0..6_000 {
        if number % 10 == 0 {
            get(&app, "/page").await;
        }
        send(&app, asking("POST", "/graphql", &[JSON], format!("read {number}"))).await;
        if number % 1000 == 0 {
            assert!(store.bytes() <= LIMIT, "{} bytes after {number}", store.bytes());
        }
    }
    assert_eq!(get(&app, "/page").await.text(), "run 1");
}
