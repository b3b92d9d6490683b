//! Requests that replace what is stored.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

use crate::{
    cache::Cache,
    http::cache_status::{CacheStatus, Forward},
    key::{Key, revision::NextRevision},
    stats::route_table::RouteId,
};

/// A request extension: the handler answers, and its response replaces the stored one. No client can set it.
#[derive(Debug, Clone)]
pub(crate) struct Refresh {
    cache: Cache,
    purpose: Purpose,
    /// The revision to fill, and the one that it is to replace.
    pub(crate) revision: Option<NextRevision>,
    /// What the layer of that cache has done, even if a layer of another cache is outside of it.
    outcome: Arc<Mutex<RefreshOutcome>>,
}

/// What a request is to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The handler's response replaces the stored one.
    Replace,
    /// The handler runs only if no fresh response is stored.
    FillGap,
}

/// What a layer has done with a refresh.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RefreshOutcome {
    /// `None` if no layer of the cache has met the request.
    pub(crate) status: Option<CacheStatus>,
    /// The route, and how long the handler ran for it, if it ran.
    pub(crate) run: Option<(RouteId, Duration)>,
}

impl Refresh {
    pub(crate) fn new(cache: &Cache, purpose: Purpose, revision: Option<NextRevision>) -> Self {
        Self { cache: cache.clone(), purpose, revision, outcome: Arc::default() }
    }

    pub(crate) fn is_of(&self, cache: &Cache) -> bool {
        self.cache.shares_store_with(cache)
    }

    pub(crate) fn fills_gap(&self) -> bool {
        self.purpose == Purpose::FillGap
    }

    /// The beginning of the keys of a layer's handle under the revision to fill; `None` if the handle already has the right one, or does
    /// not follow the revision that is to be replaced.
    pub(crate) fn prefix(&self, cache: &Cache) -> Option<Vec<u8>> {
        self.revision.as_ref()?.prefix(&cache.inner.prefix)
    }

    pub(crate) fn report(&self, outcome: RefreshOutcome) {
        *self.lock() = outcome;
    }

    fn lock(&self) -> MutexGuard<'_, RefreshOutcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
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
        service: S,
        request: Request<ReqBody>,
    ) -> Result<Option<CacheStatus>, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>>,
        ResBody: Body,
    {
        let (_, outcome) = send(service, request, Refresh::new(self, Purpose::Replace, None)).await?;
        Ok(outcome.status)
    }
}

/// Sends a request that is to fill the cache, and returns the status of the response with what the layer has done, after it is stored.
pub(crate) async fn send<S, ReqBody, ResBody>(
    mut service: S,
    mut request: Request<ReqBody>,
    refresh: Refresh,
) -> Result<(StatusCode, RefreshOutcome), S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
{
    request.extensions_mut().insert(refresh.clone());
    poll_fn(|cx| service.poll_ready(cx)).await?;
    let response = service.call(request).await?;
    let (status, mut outcome) = (response.status(), *refresh.lock());
    if outcome.status.is_some_and(|status| status.is_stored()) {
        read_to_end(response.into_body()).await;
    } else if outcome.status.is_none() {
        // A request that bypasses a layer is not reported by it.
        let bypassed = |status: &&CacheStatus| status.forward() == Some(Forward::Bypass);
        outcome.status = CacheStatus::of(&response).filter(bypassed).copied();
    }
    Ok((status, outcome))
}

/// A streamed response is stored at its end.
async fn read_to_end<B: Body>(body: B) {
    let mut body = pin!(body);
    while let Some(Ok(_)) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {}
}
