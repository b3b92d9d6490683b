use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use foldhash::quality::RandomState;
use http::{
    HeaderMap, HeaderValue, Request, Response,
    header::{AGE, DATE, HOST},
};
use http_body_util::Full;
use moka::{policy::EvictionPolicy, sync::Cache};
use tower::Service;

use crate::{Handler, made, now};

/// The least that a cache on moka can do: a key of host and path, one lookup, a copy of the prepared response, `Age`.
///
/// It knows nothing of HTTP's rules, of tags or of time: what larder takes beyond this is what those cost.
#[derive(Debug, Clone)]
pub struct Floor {
    handler: Handler,
    entries: Cache<Box<[u8]>, Arc<Entry>, RandomState>,
    key: Vec<u8>,
}

/// A response, prepared.
#[derive(Debug)]
pub struct Entry {
    headers: HeaderMap,
    body: Bytes,
}

/// A moka of so many bytes, with entries of that type.
#[expect(clippy::borrowed_box, reason = "moka passes the key as it holds it")]
pub fn engine(max_bytes: usize) -> Cache<Box<[u8]>, Arc<Entry>, RandomState> {
    Cache::builder()
        .max_capacity(max_bytes as u64)
        .eviction_policy(EvictionPolicy::tiny_lfu())
        .weigher(|key: &Box<[u8]>, entry: &Arc<Entry>| weight(key, entry))
        .build_with_hasher(RandomState::default())
}

fn weight(key: &[u8], entry: &Entry) -> u32 {
    let fields: usize = entry.headers.iter().map(|(name, value)| 112 + name.as_str().len() + value.len()).sum();
    u32::try_from(key.len() + fields + entry.body.len() + 500).unwrap_or(u32::MAX)
}

impl Entry {
    /// Of what a handler answered.
    pub fn new(response: Response<Full<Bytes>>) -> Self {
        let (parts, body) = response.into_parts();
        let mut headers = parts.headers;
        headers.insert(DATE, made("Sun, 06 Nov 1994 08:49:37 GMT"));
        headers.insert(AGE, HeaderValue::from_static("0"));
        let mut body = std::pin::pin!(body);
        let frame = now(http_body_util::BodyExt::frame(&mut body));
        let body = frame.and_then(Result::ok).and_then(|frame| frame.into_data().ok()).unwrap_or_default();
        Self { headers, body }
    }

    fn respond(&self, age: &'static str) -> Response<Full<Bytes>> {
        let mut headers = self.headers.clone();
        headers.insert(AGE, HeaderValue::from_static(age));
        let mut response = Response::new(Full::new(self.body.clone()));
        *response.headers_mut() = headers;
        response
    }
}

impl Floor {
    /// In front of that handler, in a store of `max_bytes`.
    pub fn new(handler: Handler, max_bytes: usize) -> Self {
        Self { handler, entries: engine(max_bytes), key: Vec::with_capacity(256) }
    }
}

impl Service<Request<Body>> for Floor {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        const AGES: [&str; 4] = ["0", "1", "2", "3"];
        self.key.clear();
        self.key.extend_from_slice(request.headers().get(HOST).map_or(b"", HeaderValue::as_bytes));
        self.key.extend_from_slice(request.uri().path().as_bytes());
        let entry = self.entries.get(self.key.as_slice()).unwrap_or_else(|| {
            let entry = Arc::new(Entry::new(self.handler.respond()));
            self.entries.insert(self.key.as_slice().into(), Arc::clone(&entry));
            entry
        });
        ready(Ok(entry.respond(AGES[self.key.len() % AGES.len()])))
    }
}
