//! What the tests share: an application under test, asked through its front door.

pub(crate) mod expired_page;
pub(crate) mod logs;
pub(crate) mod paused;
pub(crate) mod wire;

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    handler::Handler,
    response::{IntoResponse, Response},
    routing,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, request::Parts};
use http_body::Frame;
use http_body_util::BodyExt as _;
use larder::{Cache, CacheLayer, CacheStatus, Forward, ManualClock, Memory, Reason};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};
use tower::ServiceExt as _;

/// Every kind of memory store.
#[allow(dead_code, reason = "`limits` and `stores` use it")]
pub(crate) fn memories(max_bytes: u64) -> Vec<Memory> {
    vec![
        Memory::new(max_bytes),
        #[cfg(feature = "memory-quick")]
        Memory::quick(max_bytes),
    ]
}

/// A minute.
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// An answer that has been read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) cache: Option<CacheStatus>,
}

impl Answer {
    pub(crate) fn is_hit(&self) -> bool {
        self.cache.is_some_and(|status| status.is_hit())
    }

    pub(crate) fn is_stored(&self) -> bool {
        self.cache.is_some_and(|status| status.is_stored())
    }

    pub(crate) fn reason(&self) -> Option<Reason> {
        self.cache.and_then(|status| status.reason())
    }

    pub(crate) fn forward(&self) -> Option<Forward> {
        self.cache.and_then(|status| status.forward())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// Sends one request and reads the answer to its end.
pub(crate) async fn send(app: &Router, request: Request) -> Answer {
    let response = app.clone().oneshot(request).await.unwrap();
    read(response).await
}

/// Reads a response to its end.
pub(crate) async fn read(response: Response) -> Answer {
    let cache = CacheStatus::of(&response).copied();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, body, cache }
}

/// A request with header lines; `host` is `example.com` unless they say otherwise.
pub(crate) fn request(method: Method, uri: &str, headers: &[(&str, &str)]) -> Request {
    let mut request = Request::builder().method(method).uri(uri);
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request = request.header("host", "example.com");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

pub(crate) async fn get(app: &Router, uri: &str) -> Answer {
    get_with(app, uri, &[]).await
}

pub(crate) async fn get_with(app: &Router, uri: &str, headers: &[(&str, &str)]) -> Answer {
    send(app, request(Method::GET, uri, headers)).await
}

/// Sends a GET in a task of its own.
pub(crate) fn spawn_get(app: &Router, uri: &str) -> JoinHandle<Answer> {
    let (app, uri) = (app.clone(), uri.to_owned());
    tokio::spawn(async move { get(&app, &uri).await })
}

pub(crate) async fn send_empty(app: &Router, method: Method, uri: &str) -> Answer {
    send(app, request(method, uri, &[])).await
}

/// Counts how often a handler ran.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runs(Arc<AtomicUsize>);

impl Runs {
    /// Notes one more run and returns its number, from 1.
    pub(crate) fn begin(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A cache in memory whose clock stands still.
pub(crate) fn cache() -> (Cache, ManualClock) {
    let clock = ManualClock::new();
    (Cache::in_memory(64 << 20).with_clock(&clock), clock)
}

/// A layer that keeps everything for a minute.
pub(crate) fn minute(cache: &Cache) -> CacheLayer {
    cache.layer().ttl(MINUTE)
}

/// An application with a single route, `/page`, that answers GET, with the cache in front of it.
pub(crate) fn page<H, T>(layer: CacheLayer, handler: H) -> Router
where
    H: Handler<T, ()>,
    T: 'static,
{
    Router::new().route("/page", routing::get(handler).layer(layer))
}

/// A handler that answers `run 1`, `run 2`, …
pub(crate) fn numbered(runs: &Runs) -> impl Fn() -> Ready<String> + Clone + Send + Sync + use<> {
    let runs = runs.clone();
    move || ready(format!("run {}", runs.begin()))
}

/// A handler that answers `run 1`, `run 2`, … under these header lines.
pub(crate) fn numbered_with(
    runs: &Runs,
    lines: &[(&'static str, &'static str)],
) -> impl Fn() -> Ready<(HeaderMap, String)> + Clone + Send + Sync + use<> {
    let (runs, headers) = (runs.clone(), fields(lines));
    move || ready((headers.clone(), format!("run {}", runs.begin())))
}

/// A handler that answers what `answer` makes of the head of each request.
pub(crate) fn answering<R: IntoResponse>(
    answer: impl Fn(&Parts) -> R + Clone + Send + Sync + 'static,
) -> impl Fn(Request) -> Ready<Response> + Clone + Send + Sync + 'static {
    move |request| ready(answer(&request.into_parts().0).into_response())
}

/// Header lines as a map; several lines of one name stay several.
pub(crate) fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

/// The value of a request's field; empty if it is absent.
pub(crate) fn field<'p>(parts: &'p Parts, name: &str) -> &'p str {
    parts.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// A door that handlers wait at until a test lets them through.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    arrived: Arc<Semaphore>,
    opened: Arc<Semaphore>,
}

impl Gate {
    pub(crate) fn closed() -> Self {
        Self { arrived: Arc::new(Semaphore::new(0)), opened: Arc::new(Semaphore::new(0)) }
    }

    /// For handlers: says that one is here, and waits to be let through.
    pub(crate) async fn pass(&self) {
        self.arrived.add_permits(1);
        self.opened.acquire().await.unwrap().forget();
    }

    /// Waits until one more handler is at the door.
    pub(crate) async fn arrival(&self) {
        self.arrived.acquire().await.unwrap().forget();
    }

    /// Lets as many through, whether they are here or not.
    pub(crate) fn open(&self, handlers: usize) {
        self.opened.add_permits(handlers);
    }
}

/// A body whose frames a test sends one by one.
#[derive(Debug)]
pub(crate) struct ChannelBody(mpsc::UnboundedReceiver<Frame<Bytes>>);

/// Where the frames of a [`ChannelBody`] come from; dropping it ends the body.
#[derive(Debug)]
pub(crate) struct Frames(mpsc::UnboundedSender<Frame<Bytes>>);

impl ChannelBody {
    pub(crate) fn new() -> (Frames, Self) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Frames(sender), Self(receiver))
    }
}

impl Frames {
    pub(crate) fn send(&self, data: impl Into<Bytes>) {
        self.0.send(Frame::data(data.into())).unwrap();
    }

    pub(crate) fn send_trailers(&self, lines: &[(&'static str, &'static str)]) {
        self.0.send(Frame::trailers(fields(lines))).unwrap();
    }
}

impl http_body::Body for ChannelBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

/// A handler whose first body is the one at hand; each later one is whole at once and says `later`.
pub(crate) fn first_streams(body: ChannelBody) -> impl Fn() -> Ready<Body> + Clone + Send + Sync + 'static {
    let first = Arc::new(std::sync::Mutex::new(Some(body)));
    move || ready(first.lock().unwrap().take().map_or_else(|| Body::from("later"), Body::new))
}
