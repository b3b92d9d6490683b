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

/// Marks a request that is to be answered by the handler, and whose response replaces what is stored. No client can set it.
#[derive(Debug, Clone)]
pub(crate) struct Refresh {
    cache: Cache,
    /// What the layer of that cache made of it; one of another cache may stand around it.
    status: Arc<Mutex<Option<CacheStatus>>>,
}

impl Refresh {
    fn of(cache: &Cache) -> Self {
        Self { cache: cache.clone(), status: Arc::default() }
    }

    pub(crate) fn is_of(&self, cache: &Cache) -> bool {
        self.cache.shares_store_with(cache)
    }

    pub(crate) fn note(&self, status: Option<CacheStatus>) {
        *self.lock() = status;
    }

    fn lock(&self) -> MutexGuard<'_, Option<CacheStatus>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks a request that a layer fetches with: one of the same cache further in, with the same key, has nothing better, and would
/// wait for the outer one for ever.
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
    /// Runs `request` through a service with a layer of this cache in it, past what is stored, and replaces that with the response:
    /// to warm the cache at the start, or to compute on a schedule what nobody should wait for.
    ///
    /// The request must be one that the route would store a response for, with the same host, query and headers as those that
    /// are to be answered from it. Returns once the response is stored, or its status why it is not; `None` if
    /// there is no layer of this cache in the service.
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
    /// Those of the service.
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

/// What is streamed is stored at its end.
async fn read_to_end<B: Body>(body: B) {
    let mut body = pin!(body);
    while let Some(Ok(_)) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {}
}
