//! Requests that replace what is stored.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{cache::Cache, http::cache_status::CacheStatus, key::Key};

/// A request extension: the handler answers, and its response replaces the stored one. No client can set it.
#[derive(Debug, Clone)]
pub(crate) struct Refresh {
    cache: Cache,
    /// The decision of that cache's layer, even if a layer of another cache is outside of it.
    status: Arc<Mutex<Option<CacheStatus>>>,
}

impl Refresh {
    fn of(cache: &Cache) -> Self {
        Self { cache: cache.clone(), status: Arc::default() }
    }

    pub(crate) fn is_of(&self, cache: &Cache) -> bool {
        self.cache.shares_store_with(cache)
    }

    pub(crate) fn report(&self, status: Option<CacheStatus>) {
        *self.lock() = status;
    }

    fn lock(&self) -> MutexGuard<'_, Option<CacheStatus>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request extension of every fetch: a nested layer of the same cache with the same key has no other response, and would wait for
/// the outer layer indefinitely.
#[derive(Debug, Clone)]
pub(crate) struct OuterFetch {
    pub(crate) cache: Cache,
    pub(crate) key: u64,
}

impl OuterFetch {
    pub(crate) fn is_of(&self, cache: &Cache, key: &Key) -> bool {
        self.cache.shares_store_with(cache) && self.key == key.digest()
    }
}

impl Cache {
    /// Sends `request` through a service that contains a layer of this cache, and replaces the stored response with the handler's:
    /// to warm the cache at start-up, or to recompute a slow page on a schedule.
    ///
    /// The request must be one whose response the layer stores, with the same host, query and headers as the requests that the entry
    /// is meant for. Returns after the response is stored, or with the status that says why it is not; `None` if the service
    /// contains no layer of this cache.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), std::convert::Infallible> {
    /// # use std::time::Duration;
    /// use axum::{Router, body::Body, http::Request, routing::get};
    /// use larder::Cache;
    ///
    /// let cache = Cache::in_memory(64 << 20);
    /// let layer = cache.layer().ttl(Duration::from_secs(60));
    /// let app: Router = Router::new().route("/report", get(|| async { "slow" }).layer(layer));
    ///
    /// let request = Request::get("/report").header("host", "example.com").body(Body::empty()).expect("a valid request");
    /// let status = cache.refresh(app, request).await?;
    /// assert!(status.is_some_and(|status| status.is_stored()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of the service.
    pub async fn refresh<S, ReqBody, ResBody>(
        &self,
        mut service: S,
        mut request: Request<ReqBody>,
    ) -> Result<Option<CacheStatus>, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>>,
        ResBody: Body,
    {
        let refresh = Refresh::of(self);
        request.extensions_mut().insert(refresh.clone());
        poll_fn(|cx| service.poll_ready(cx)).await?;
        let response = service.call(request).await?;
        let status = *refresh.lock();
        if status.is_some_and(|status| status.is_stored()) {
            read_to_end(response.into_body()).await;
        }
        Ok(status)
    }
}

/// A streamed response is stored at its end.
async fn read_to_end<B: Body>(body: B) {
    let mut body = pin!(body);
    while let Some(Ok(_)) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {}
}
