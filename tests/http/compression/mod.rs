//! `CacheLayer::compress`: stored responses in content codings.

mod choice;
mod interplay;
mod representations;
mod storing;

use std::io::Read as _;

use axum::Router;
use http::{HeaderMap, Method};
use larder::{Cache, CacheLayer};

use crate::support::{Answer, Runs, answering, fields, get_with, minute, page, request, send};

/// A layer that compresses.
fn compressing(cache: &Cache) -> CacheLayer {
    minute(cache).compress(true)
}

/// A text that compresses well.
fn text() -> String {
    (0..400).map(|line| format!("<li>This is line {line} of the page.</li>\n")).collect()
}

/// A handler that answers the text under these header lines, besides `content-type: text/html`.
fn site(layer: CacheLayer, runs: &Runs, lines: &[(&'static str, &'static str)]) -> Router {
    let (runs, mut headers) = (runs.clone(), fields(&[("content-type", "text/html")]));
    headers.extend(fields(lines));
    page(
        layer,
        answering(move |_| {
            runs.begin();
            (headers.clone(), text())
        }),
    )
}

async fn accepting(app: &Router, accept_encoding: &str) -> Answer {
    get_with(app, "/page", &[("accept-encoding", accept_encoding)]).await
}

async fn accepting_with(app: &Router, accept_encoding: &str, line: (&str, &str)) -> Answer {
    get_with(app, "/page", &[("accept-encoding", accept_encoding), line]).await
}

async fn head(app: &Router, accept_encoding: &str) -> Answer {
    send(app, request(Method::HEAD, "/page", &[("accept-encoding", accept_encoding)])).await
}

/// Waits until no coding is being made.
async fn idle(cache: &Cache) {
    while cache.unfinished_work().codings > 0 {
        tokio::task::yield_now().await;
    }
}

/// Stores the page, and lets its codings be made.
async fn coded(app: &Router, cache: &Cache, codings: &[&str]) {
    assert!(accepting(app, "").await.is_stored());
    for coding in codings {
        assert_eq!(coding_of(&accepting(app, coding).await.headers), None, "{coding} is not made yet");
        idle(cache).await;
    }
}

fn coding_of(headers: &HeaderMap) -> Option<&str> {
    headers.get("content-encoding").map(|coding| coding.to_str().unwrap())
}

fn decoded(answer: &Answer) -> String {
    let mut text = String::new();
    let body = &answer.body[..];
    match coding_of(&answer.headers) {
        None => return answer.text().to_owned(),
        Some("gzip") => flate2::read::GzDecoder::new(body).read_to_string(&mut text),
        Some("br") => brotli::Decompressor::new(body, 4096).read_to_string(&mut text),
        Some("zstd") => zstd::Decoder::new(body).unwrap().read_to_string(&mut text),
        Some(other) => panic!("unknown coding {other}"),
    }
    .unwrap();
    text
}
