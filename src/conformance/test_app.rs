//! An application with a cache layer over the backend under test.

use std::{
    convert::Infallible,
    fmt,
    future::{Future, ready},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{CACHE_CONTROL, HOST, VARY},
};
use http_body::Body;
use http_body_util::{BodyExt as _, Collected, Full};
use tokio::sync::Semaphore;
use tower_service::Service;

use crate::{
    backend::contract::Backend,
    cache::Cache,
    clock::ManualClock,
    http::cache_status::CacheStatus,
    middleware::{layer::CacheLayer, service::CacheService},
};

/// A small application with a real layer. The runs of its handler respond `run 1`, `run 2`, …
pub(super) struct TestApp {
    pub(super) cache: Cache,
    pub(super) clock: ManualClock,
    pub(super) origin: Origin,
    service: CacheService<Origin>,
}

/// The handler, whose behavior a case can change.
#[derive(Clone, Default)]
pub(super) struct Origin(Arc<State>);

#[derive(Default)]
struct State {
    runs: AtomicUsize,
    behavior: Mutex<Behavior>,
    /// The field that selects a variant, in the response's `Vary` and in its body.
    vary: Mutex<Option<HeaderName>>,
    gate: Mutex<Option<Arc<Gate>>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Behavior {
    #[default]
    Succeeds,
    Fails,
    /// Responds with `no-store`.
    ForbidsStoring,
}

/// A gate at which a run of the handler waits.
pub(super) struct Gate {
    arrived: Semaphore,
    opened: Semaphore,
}

/// A response, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) status: Option<CacheStatus>,
}

impl TestApp {
    pub(super) fn new(backend: Arc<dyn Backend>, layer: impl FnOnce(CacheLayer) -> CacheLayer) -> Self {
        Self::of(Cache::from_arc(backend), layer)
    }

    pub(super) fn of(cache: Cache, layer: impl FnOnce(CacheLayer) -> CacheLayer) -> Self {
        let (clock, origin) = (ManualClock::new(), Origin::default());
        let cache = cache.with_clock(&clock);
        let service = tower_layer::Layer::layer(&layer(cache.layer()), origin.clone());
        Self { cache, clock, origin, service }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub(super) async fn get_for(&self, path: &str, language: &'static str) -> Answer {
        self.send(Method::GET, path, Some(language)).await
    }

    pub(super) async fn post(&self, path: &str) -> Answer {
        self.send(Method::POST, path, None).await
    }

    /// Returns a request that is sent when it is first polled.
    pub(super) fn send_later(&self, path: &'static str) -> impl Future<Output = Answer> + use<> {
        let mut service = self.service.clone();
        async move { read(service.call(request(Method::GET, path, None)).await).await }
    }

    async fn send(&self, method: Method, path: &str, language: Option<&'static str>) -> Answer {
        let mut service = self.service.clone();
        read(service.call(request(method, path, language)).await).await
    }
}

impl Origin {
    pub(super) fn behave(&self, behavior: Behavior) {
        *lock(&self.0.behavior) = behavior;
    }

    pub(super) fn vary_on(&self, field: HeaderName) {
        *lock(&self.0.vary) = Some(field);
    }

    /// Makes the next run wait until the gate is opened.
    pub(super) fn close(&self) -> Arc<Gate> {
        let gate = Arc::new(Gate { arrived: Semaphore::new(0), opened: Semaphore::new(0) });
        *lock(&self.0.gate) = Some(Arc::clone(&gate));
        gate
    }

    fn answer(&self, request: &Request<Full<Bytes>>) -> Response<Full<Bytes>> {
        let run = self.0.runs.fetch_add(1, Ordering::SeqCst) + 1;
        let mut text = format!("run {run}");
        let mut headers = HeaderMap::new();
        if let Some(field) = &*lock(&self.0.vary) {
            headers.insert(VARY, HeaderValue::from(field.clone()));
            let value = request.headers().get(field).map_or(&b""[..], HeaderValue::as_bytes);
            text = format!("{text} for {}", value.escape_ascii());
        }
        let mut response = Response::new(Full::from(text));
        match *lock(&self.0.behavior) {
            Behavior::Succeeds => {}
            Behavior::Fails => *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE,
            Behavior::ForbidsStoring => _ = headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store")),
        }
        *response.headers_mut() = headers;
        response
    }
}

impl Gate {
    pub(super) async fn arrival(&self) {
        if let Ok(arrived) = self.arrived.acquire().await {
            arrived.forget();
        }
    }

    pub(super) fn open(&self) {
        self.opened.add_permits(1);
    }

    async fn pass(&self) {
        self.arrived.add_permits(1);
        if let Ok(opened) = self.opened.acquire().await {
            opened.forget();
        }
    }
}

impl Service<Request<Full<Bytes>>> for Origin {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        // The response is computed before the wait.
        let response = self.answer(&request);
        match lock(&self.0.gate).take() {
            None => Box::pin(ready(Ok(response))),
            Some(gate) => Box::pin(async move {
                gate.pass().await;
                Ok(response)
            }),
        }
    }
}

fn request(method: Method, path: &str, language: Option<&'static str>) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().expect("the cases name legal paths");
    request.headers_mut().insert(HOST, HeaderValue::from_static("example.com"));
    request.headers_mut().extend(language.map(|language| (LANGUAGE, HeaderValue::from_static(language))));
    request
}

pub(super) const LANGUAGE: HeaderName = http::header::ACCEPT_LANGUAGE;

async fn read(response: Result<Response<impl Body>, Infallible>) -> Answer {
    let Ok(response) = response;
    let status = CacheStatus::of(&response).copied();
    let text = response.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
    Answer { text: String::from_utf8_lossy(&text).into_owned(), status }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for TestApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestApp").field("cache", &self.cache).finish_non_exhaustive()
    }
}
