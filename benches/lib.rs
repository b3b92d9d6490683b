//! What the benchmarks share: the handler, the requests, the floor, and one way to ask and to time all of them.

mod floor;
mod page;
mod redis_server;
mod requests;
mod subjects;
mod tagged_floor;
mod witness;

use std::{
    convert::Infallible,
    fmt::Debug,
    future::{Future, Ready, poll_fn, ready},
    pin::pin,
    sync::Barrier,
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, HttpBody},
    routing::{MethodRouter, get},
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response,
    header::{AGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LAST_MODIFIED, VARY},
};
use http_body_util::{BodyExt as _, Full};
use larder::CacheLayer;
use tokio::runtime::{Builder, Runtime};
use tower::Service;

pub use crate::{
    floor::{Entry, Floor, engine},
    page::Page,
    redis_server::RedisServer,
    requests::{Requests, zipf},
    subjects::{Measurement, SUBJECTS, measure},
    tagged_floor::{ByBytes, Map, Moka, Quick, TaggedEntry, TaggedFloor, TaggedFloorLayer, moka, quick},
    witness::stored,
};

/// A kibibyte.
pub const KIB: usize = 1 << 10;

/// A mebibyte.
pub const MIB: usize = 1 << 20;

/// An hour: nothing becomes stale while a benchmark runs.
pub const HOUR: Duration = Duration::from_secs(3600);

/// What a handler takes to answer when it has nothing to do: five header fields, which `Date` makes six, and a body that is there.
#[derive(Debug, Clone)]
pub struct Handler {
    body: Bytes,
    vary: Option<HeaderValue>,
}

impl Handler {
    /// Answers with so many bytes.
    pub fn new(size: usize) -> Self {
        Self { body: vec![b'x'; size].into(), vary: None }
    }

    /// Answers each client by its `Accept-Encoding`.
    pub fn varied(self) -> Self {
        Self { vary: Some(HeaderValue::from_static("accept-encoding")), ..self }
    }

    /// The whole answer.
    pub fn respond(&self) -> Response<Full<Bytes>> {
        let mut headers = HeaderMap::with_capacity(5);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
        headers.insert(CONTENT_LENGTH, self.body.len().into());
        headers.insert(ETAG, made("\"33a64df551425fcc55e4d42a148795d9f25f89d4\""));
        headers.insert(LAST_MODIFIED, made("Sat, 05 Nov 1994 08:49:37 GMT"));
        headers.extend(self.vary.clone().map(|vary| (VARY, vary)));
        let mut response = Response::new(Full::new(self.body.clone()));
        *response.headers_mut() = headers;
        response
    }

    /// As an axum handler for GET.
    pub fn route(&self) -> MethodRouter {
        let handler = self.clone();
        get(move || ready(handler.respond()))
    }

    /// As the one route of an axum application.
    pub fn router(&self) -> Router {
        router(self.route())
    }
}

impl Service<Request<Body>> for Handler {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        ready(Ok(self.respond()))
    }
}

/// A value that was made for this response, and is not part of the program.
fn made(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).expect("a legal value")
}

/// An application with that route, where all [`Requests`] go. Its layers are applied once, as `axum::serve` does.
pub fn router(route: MethodRouter) -> Router {
    Router::new().route("/items/{id}", route).with_state(())
}

/// A layer over a store of `max_bytes`, with so many tags on every response.
pub fn layer(max_bytes: usize, tags: usize) -> CacheLayer {
    layer_over(&larder::Cache::in_memory(max_bytes as u64), tags)
}

/// The same over a cache.
pub fn layer_over(cache: &larder::Cache, tags: usize) -> CacheLayer {
    cache.layer().ttl(HOUR).tags((0..tags).map(|tag| format!("tag-{tag}")))
}

/// A runtime to stand in, as a server's handlers do: larder shares fetches where there is one.
///
/// # Panics
/// If there is none to be had.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime without input and output")
}

/// Sends one request and reads the answer to its end, as a server does; returns the length of the body.
pub fn ask<S, B>(service: &mut S, request: Request<Body>) -> usize
where
    S: Service<Request<Body>, Response = Response<B>, Error: Debug>,
    B: HttpBody<Data = Bytes, Error: Debug>,
{
    now(poll_fn(|cx| service.poll_ready(cx))).expect("a service that never fails");
    let response = now(service.call(request)).expect("a service that never fails");
    let mut body = pin!(response.into_body());
    let mut length = 0;
    while !body.is_end_stream() {
        let Some(frame) = now(body.frame()) else { break };
        length += frame.expect("a body that never fails").into_data().map_or(0, |data| data.len());
    }
    length
}

/// The output of a future that never waits.
///
/// # Panics
/// If it does.
pub fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing in these benchmarks waits"),
    }
}

/// Asks for everything, so that all that can be stored is.
///
/// # Panics
/// If that was not stored.
pub fn warm<S, B>(service: &mut S, requests: &Requests)
where
    S: Service<Request<Body>, Response = Response<B>, Error: Debug>,
    B: HttpBody<Data = Bytes, Error: Debug>,
{
    requests.each().for_each(|request| _ = ask(service, request));
    let stored = now(service.call(requests.get(0))).expect("a service that never fails");
    assert!(stored.headers().contains_key(AGE), "this should have been a hit");
}

/// How long it takes until each of `threads` threads has made `times` requests, all at the same time. Making the
/// request is not counted, dropping it is.
pub fn time<S, B>(service: &S, requests: &Requests, threads: usize, times: u64) -> Duration
where
    S: Service<Request<Body>, Response = Response<B>, Error: Debug> + Clone + Send,
    B: HttpBody<Data = Bytes, Error: Debug>,
{
    let barrier = &Barrier::new(threads);
    thread::scope(|scope| {
        let start = |thread: usize| {
            let mut service = service.clone();
            scope.spawn(move || {
                barrier.wait();
                time_here(times, |time| requests.get(time + thread * requests.len() / 2), |request| ask(&mut service, request))
            })
        };
        let running: Vec<_> = (0..threads).map(start).collect();
        running.into_iter().filter_map(|thread| thread.join().ok()).max().unwrap_or_default()
    })
}

/// How long it takes to do `work` so often, without what it takes to `prepare` it.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time, it does not decide by it")]
pub fn time_here<T, R>(times: u64, mut prepare: impl FnMut(usize) -> T, mut work: impl FnMut(T) -> R) -> Duration {
    const BATCH: usize = 64;
    let times = usize::try_from(times).unwrap_or(usize::MAX);
    let mut total = Duration::ZERO;
    let mut prepared = Vec::with_capacity(BATCH);
    for first in (0..times).step_by(BATCH) {
        prepared.extend((first..times.min(first + BATCH)).map(&mut prepare));
        let started = Instant::now();
        prepared.drain(..).for_each(|prepared| drop(std::hint::black_box(work(prepared))));
        total += started.elapsed();
    }
    total
}
