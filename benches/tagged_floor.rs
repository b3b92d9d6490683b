//! The least that a cache with tags can do, on each of the two maps.

use std::{
    convert::Infallible,
    fmt::Debug,
    future::{Future, Ready, ready},
    hash::BuildHasher as _,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use foldhash::quality::RandomState;
use futures_util::future::Either;
use http::{
    HeaderMap, HeaderValue, Request, Response,
    header::{ACCEPT_ENCODING, AGE, HOST},
    response::Parts,
};
use http_body_util::{BodyExt as _, Full};
use larder::CacheTags;
use tower::{Layer, Service};

/// A cache that does no HTTP: a key of method, URI and `Accept-Encoding`, one lookup, a comparison of the versions of
/// the entry's tags, and a copy of the prepared response.
///
/// It has no rules, no time, and no shared fetches: what larder takes beyond this is what those cost.
#[derive(Debug, Clone)]
pub struct TaggedFloor<M, S> {
    inner: S,
    map: M,
    tags: TagVersions,
    key: Vec<u8>,
}

/// Puts a [`TaggedFloor`] around a service.
#[derive(Debug, Clone)]
pub struct TaggedFloorLayer<M> {
    map: M,
    tags: TagVersions,
}

impl<M> TaggedFloorLayer<M> {
    /// Uses that map.
    pub fn new(map: M) -> Self {
        Self { map, tags: TagVersions::new() }
    }
}

impl<M: Clone, S> Layer<S> for TaggedFloorLayer<M> {
    type Service = TaggedFloor<M, S>;

    fn layer(&self, inner: S) -> Self::Service {
        TaggedFloor { inner, map: self.map.clone(), tags: self.tags.clone(), key: Vec::with_capacity(256) }
    }
}

type Answer<E> = Result<Response<Full<Bytes>>, E>;

impl<M, S, B> Service<Request<Body>> for TaggedFloor<M, S>
where
    M: Map,
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible, Future: Send + 'static>,
    B: HttpBody<Data = Bytes, Error: Debug> + Send + 'static,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Either<Ready<Answer<Infallible>>, Pin<Box<dyn Future<Output = Answer<Infallible>> + Send>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        write_key(&mut self.key, &request);
        if let Some(entry) = self.map.get(&self.key)
            && self.tags.are_unchanged(&entry.tags)
        {
            return Either::Left(ready(Ok(entry.respond())));
        }
        let (key, map, tags) = (self.key.as_slice().into(), self.map.clone(), self.tags.clone());
        let response = self.inner.call(request);
        Either::Right(Box::pin(async move {
            let Ok(response) = response.await;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.expect("a body that never fails").to_bytes();
            let entry = Arc::new(TaggedEntry::new(&parts, &body, &tags));
            map.insert(key, entry);
            Ok(Response::from_parts(parts, Full::new(body)))
        }))
    }
}

fn write_key(key: &mut Vec<u8>, request: &Request<Body>) {
    let uri = request.uri();
    let field = |name| request.headers().get(name).map_or(&b""[..], HeaderValue::as_bytes);
    key.clear();
    for part in [
        request.method().as_str().as_bytes(),
        field(HOST),
        uri.path().as_bytes(),
        uri.query().unwrap_or_default().as_bytes(),
        field(ACCEPT_ENCODING),
    ] {
        key.extend_from_slice(part);
        key.push(0);
    }
}

/// A stored response and the versions that its tags had.
#[derive(Debug)]
pub struct TaggedEntry {
    headers: HeaderMap,
    body: Bytes,
    tags: Box<[(usize, u64)]>,
}

impl TaggedEntry {
    fn new(parts: &Parts, body: &[u8], versions: &TagVersions) -> Self {
        let tags = parts.extensions.get::<CacheTags>();
        let tags = tags.into_iter().flat_map(CacheTags::iter).map(|tag| versions.of(tag)).collect();
        // Without what the handler reserved for a longer body.
        Self { headers: parts.headers.clone(), body: Bytes::copy_from_slice(body), tags }
    }

    fn respond(&self) -> Response<Full<Bytes>> {
        let mut headers = self.headers.clone();
        headers.insert(AGE, HeaderValue::from_static("1"));
        let mut response = Response::new(Full::new(self.body.clone()));
        *response.headers_mut() = headers;
        response
    }

    fn weight(&self, key: &[u8]) -> usize {
        let fields: usize = self.headers.iter().map(|(name, value)| 112 + name.as_str().len() + value.len()).sum();
        key.len() + fields + self.body.len() + 16 * self.tags.len() + 500
    }
}

/// The versions of all tags, by their hash. An invalidation would increase one.
#[derive(Debug, Clone)]
struct TagVersions {
    versions: Arc<[AtomicU64]>,
    hasher: RandomState,
}

impl TagVersions {
    fn new() -> Self {
        const SLOTS: usize = 1 << 16;
        Self { versions: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(), hasher: RandomState::default() }
    }

    fn of(&self, tag: &str) -> (usize, u64) {
        let slot = self.hasher.hash_one(tag) as usize % self.versions.len();
        (slot, self.versions[slot].load(Ordering::Acquire))
    }

    fn are_unchanged(&self, tags: &[(usize, u64)]) -> bool {
        tags.iter().all(|(slot, version)| self.versions[*slot].load(Ordering::Acquire) == *version)
    }
}

/// The map under a floor.
pub trait Map: Clone + Send + 'static {
    /// Returns the entry of a key.
    fn get(&self, key: &[u8]) -> Option<Arc<TaggedEntry>>;

    /// Stores an entry.
    fn insert(&self, key: Box<[u8]>, entry: Arc<TaggedEntry>);
}

/// A map of moka.
pub type Moka = moka::sync::Cache<Box<[u8]>, Arc<TaggedEntry>, RandomState>;

/// Creates a map of moka for `max_bytes`.
#[expect(clippy::borrowed_box, reason = "moka passes the key as it holds it")]
pub fn moka(max_bytes: usize) -> Moka {
    moka::sync::Cache::builder()
        .max_capacity(max_bytes as u64)
        .weigher(|key: &Box<[u8]>, entry: &Arc<TaggedEntry>| u32::try_from(entry.weight(key)).unwrap_or(u32::MAX))
        .build_with_hasher(RandomState::default())
}

impl Map for Moka {
    fn get(&self, key: &[u8]) -> Option<Arc<TaggedEntry>> {
        moka::sync::Cache::get(self, key)
    }

    fn insert(&self, key: Box<[u8]>, entry: Arc<TaggedEntry>) {
        moka::sync::Cache::insert(self, key, entry);
    }
}

/// A map of quick_cache, shared by the clones of a service.
pub type Quick = Arc<quick_cache::sync::Cache<Box<[u8]>, Arc<TaggedEntry>, ByBytes, RandomState>>;

/// The weight of an entry in bytes, for quick_cache.
#[derive(Debug, Clone)]
pub struct ByBytes;

impl quick_cache::Weighter<Box<[u8]>, Arc<TaggedEntry>> for ByBytes {
    fn weight(&self, key: &Box<[u8]>, entry: &Arc<TaggedEntry>) -> u64 {
        entry.weight(key) as u64
    }
}

/// Creates a map of quick_cache for `max_bytes`.
pub fn quick(max_bytes: usize) -> Quick {
    const TYPICAL: usize = 4 << 10;
    let (entries, lifecycle) = (max_bytes / TYPICAL, quick_cache::sync::DefaultLifecycle::default());
    Arc::new(quick_cache::sync::Cache::with(entries, max_bytes as u64, ByBytes, RandomState::default(), lifecycle))
}

impl Map for Quick {
    fn get(&self, key: &[u8]) -> Option<Arc<TaggedEntry>> {
        quick_cache::sync::Cache::get(self, key)
    }

    fn insert(&self, key: Box<[u8]>, entry: Arc<TaggedEntry>) {
        quick_cache::sync::Cache::insert(self, key, entry);
    }
}
