//! What the tests share: an application under test, asked through its front door.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, response::Response};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use larder::{Cache, CacheLayer, CacheStatus, Forward, ManualClock, Reason};
use tower::ServiceExt as _;

/// A minute.
pub const MINUTE: Duration = Duration::from_secs(60);

/// An answer that has been read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub cache: Option<CacheStatus>,
}

impl Answer {
    pub fn is_hit(&self) -> bool {
        self.cache.is_some_and(|status| status.is_hit())
    }

    pub fn is_stored(&self) -> bool {
        self.cache.is_some_and(|status| status.is_stored())
    }

    pub fn reason(&self) -> Option<Reason> {
        self.cache.and_then(|status| status.reason())
    }

    pub fn forward(&self) -> Option<Forward> {
        self.cache.and_then(|status| status.forward())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// Sends one request and reads the answer to its end.
pub async fn send(app: &Router, request: Request) -> Answer {
    let response = app.clone().oneshot(request).await.unwrap();
    read(response).await
}

/// Reads a response to its end.
pub async fn read(response: Response) -> Answer {
    let cache = CacheStatus::of(&response).copied();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, body, cache }
}

/// A request with header lines; `host` is `example.com` unless they say otherwise.
pub fn request(method: Method, uri: &str, headers: &[(&str, &str)]) -> Request {
    let mut request = Request::builder().method(method).uri(uri);
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request = request.header("host", "example.com");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

pub async fn get(app: &Router, uri: &str) -> Answer {
    get_with(app, uri, &[]).await
}

pub async fn get_with(app: &Router, uri: &str, headers: &[(&str, &str)]) -> Answer {
    send(app, request(Method::GET, uri, headers)).await
}

pub async fn send_empty(app: &Router, method: Method, uri: &str) -> Answer {
    send(app, request(method, uri, &[])).await
}

/// Counts how often a handler ran.
#[derive(Debug, Clone, Default)]
pub struct Runs(Arc<AtomicUsize>);

impl Runs {
    /// Notes one more run and returns its number, from 1.
    pub fn begin(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A cache in memory whose clock stands still.
pub fn cache() -> (Cache, ManualClock) {
    let clock = ManualClock::new();
    (Cache::in_memory(64 << 20).clock(&clock), clock)
}

/// A layer that keeps everything for a minute.
pub fn minute(cache: &Cache) -> CacheLayer {
    cache.layer().ttl(MINUTE)
}
