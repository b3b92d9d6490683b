//! The service that the layer builds.

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use http::{Extensions, Method, Request, Response, header::EXPECT, request};
use http_body::Body;
use tower_service::Service;

use super::{bypass::bypass_when_ready, future::ResponseFuture};
use crate::{
    body::{ResponseBody, request_content::Content},
    cache::{Cache, Inner},
    fetch::{
        Fetch,
        inner_call::{HttpService, Oneshot},
        refresh::{OuterFetch, Refresh},
        refresh_trigger,
    },
    http::{
        cache_status::{CacheStatus, Forward, Reason},
        request_fields::RequestFields,
    },
    key::Key,
    lookup::{
        representation::Representation,
        reuse::{Miss, PresentedRequest, Reuse, only_if_cached},
        variants::Lookup,
    },
    policy::{cacheable_request::CacheableRequest, settings::Settings},
    router,
    stats::{
        in_flight::{CountPanic, InFlight},
        route_table::RouteId,
        statistics::Hit,
    },
};

/// A service with a cache in front of it, made by [`CacheLayer`](crate::CacheLayer).
#[derive(Debug, Clone)]
pub struct CacheService<S> {
    pub(super) inner: S,
    pub(super) cache: Cache,
    pub(super) settings: Arc<Settings>,
}

impl<S> CacheService<S> {
    pub(crate) fn new(inner: S, cache: Cache, settings: Arc<Settings>) -> Self {
        Self { inner, cache, settings }
    }

    /// Returns the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns the inner service; requests in progress keep their clones of it.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service, and drops the handle of the cache.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S> CacheService<S> {
    fn route(&self, parts: &request::Parts) -> RouteId {
        self.cache.inner.statistics.route(self.settings.route_of(parts))
    }

    /// Counts a request that a stored response answers.
    ///
    /// Not inlined: `call` would lose other inlining, which costs more than this call.
    #[inline(never)]
    fn count_hit(
        &self,
        parts: &request::Parts,
        lookup: &Lookup,
        hit: &PresentedRequest<'_>,
        representation: Representation<'_>,
        status: &CacheStatus,
    ) {
        let Inner { statistics, listener, .. } = &*self.cache.inner;
        let Some((stored, response)) = lookup.response() else { return };
        let (route, key) = (self.route(parts), &hit.request.key);
        let sampled = Hit { key, tags: stored.tags(), now: hit.now };
        statistics.answered_at_once(route, status, hit.body_length(representation), sampled);
        if listener.is_heard() {
            let (route, response) = (statistics.route_name(route), (status, response.head.status));
            listener.notify(route, status.outcome(), Some(response), Some(key));
        }
    }

    /// Counts a request that the cache answers with an error.
    #[cold]
    fn count_unsatisfied<B>(&self, parts: &request::Parts, request: &CacheableRequest, response: &Response<B>) {
        let Inner { statistics, listener, .. } = &*self.cache.inner;
        let Some(status) = CacheStatus::of(response) else { return };
        let route = self.route(parts);
        statistics.answered(route, status, 0);
        if listener.is_heard() {
            let (route, answer) = (statistics.route_name(route), (status, response.status()));
            listener.notify(route, status.outcome(), Some(answer), Some(&request.key));
        }
    }

    /// Begins to count a request that waits, with its key if it has one.
    pub(super) fn in_flight(&self, parts: &request::Parts, key: Option<&Key>) -> InFlight {
        let Inner { statistics, listener, layers, .. } = &*self.cache.inner;
        // Only the operator's page asks for them.
        if cfg!(feature = "admin") {
            layers.note(router::route(&parts.extensions), &self.cache.inner, &self.settings);
        }
        InFlight::begin(statistics, self.route(parts), listener, key, || self.cache.now())
    }

    /// Makes the key with functions of the application, which may panic. Apart, so that the other layers do without the code for that.
    #[inline(never)]
    fn classify(
        &self,
        request: &mut CacheableRequest,
        prefix: &[u8],
        parts: &request::Parts,
        content: Content,
    ) -> Result<(), (Forward, Reason)> {
        let _panic = self.count_panic(parts);
        self.settings.classify(request, prefix, parts, content)
    }

    /// Makes the key under the revision that has been activated since this layer was made, unless the cache is off.
    #[cold]
    #[inline(never)]
    fn classify_elsewhere(
        &self,
        request: &mut CacheableRequest,
        parts: &request::Parts,
        content: Content,
    ) -> Result<(), (Forward, Reason)> {
        self.cache.is_on()?;
        self.classify(request, &self.cache.inner.prefix.current().built, parts, content)
    }

    /// Looks up with normalizers of the application.
    #[inline(never)]
    fn lookup(&self, request: &CacheableRequest, parts: &request::Parts) -> Option<Lookup> {
        let _panic = self.count_panic(parts);
        self.cache.lookup_now(&self.settings, request, &parts.headers)
    }

    pub(super) fn count_panic(&self, parts: &request::Parts) -> CountPanic<'_> {
        CountPanic { statistics: &self.cache.inner.statistics, route: self.route(parts) }
    }
}

impl<S: Clone> CacheService<S> {
    pub(super) fn fetch<B>(&self, request: CacheableRequest, parts: request::Parts, body: B) -> Fetch<S, B> {
        let call = Box::new(Oneshot { inner: self.inner.clone(), parts, body });
        Fetch { cache: self.cache.clone(), settings: Arc::clone(&self.settings), request: Box::new(request), call }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for CacheService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    ReqBody: Body + Send + 'static,
    ResBody: Body + Send + 'static,
    ResBody::Error: Send,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody, S::Error>;

    /// Always ready: a hit neither waits for the inner service nor takes one of its permits. Requests that are forwarded wait for
    /// the inner service to become ready.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (parts, body) = request.into_parts();
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            return self.call_other(parts, body);
        }
        match Content::of(&body) {
            Content::Unclear if self.cache.is_on().is_ok() && may_read_first_frame(&parts) => self.read_first_frame(parts, body),
            content => self.answer(parts, body, content),
        }
    }
}

/// Empties the extensions of an answered request and returns them for its response, which uses their memory again: saves two allocations on
/// each hit in a router.
#[inline(always)]
fn emptied(extensions: &mut Extensions) -> Extensions {
    let mut emptied = mem::take(extensions);
    emptied.clear();
    emptied
}

/// Whether the fields leave open if the request has content, and the first frame can be read without prompting a client that waits
/// for `100 Continue`.
fn may_read_first_frame(parts: &request::Parts) -> bool {
    !RequestFields::read(&parts.headers).content && !parts.headers.contains_key(EXPECT)
}

impl<S> CacheService<S> {
    /// Answers a GET or HEAD.
    ///
    /// Inlined: the request would be copied on the way.
    #[inline(always)]
    fn answer<ReqBody>(
        &mut self,
        mut parts: request::Parts,
        body: ReqBody,
        content: Content,
    ) -> ResponseFuture<S::Future, S::ResBody, S::Error>
    where
        S: HttpService<ReqBody>,
        ReqBody: Body + Send + 'static,
    {
        let mut request = CacheableRequest::new();
        let prefix = &self.cache.inner.prefix.built;
        let classified = match self.cache.is_on_as_built() {
            true if self.settings.asks_application => self.classify(&mut request, prefix, &parts, content),
            true => self.settings.classify(&mut request, prefix, &parts, content),
            false => self.classify_elsewhere(&mut request, &parts, content),
        };
        if let Err((why, reason)) = classified {
            self.settings.warn_of_limit(router::route(&parts.extensions), reason);
            let in_flight = self.in_flight(&parts, None);
            let status = CacheStatus::not_stored(why, reason);
            return self.bypass(Request::from_parts(parts, body), status).counted_by(in_flight);
        }
        let refresh = parts.extensions.get::<Refresh>().filter(|refresh| refresh.is_of(&self.cache)).cloned();
        request.nested = parts.extensions.get::<OuterFetch>().is_some_and(|outer| outer.is_of(&self.cache, &request.key));
        if request.nested || refresh.is_some() {
            return self.fetch_regardless(request, parts, body, refresh);
        }
        let looked_up = match self.settings.asks_application {
            true => self.lookup(&request, &parts),
            false => self.cache.lookup_now(&self.settings, &request, &parts.headers),
        };
        let Some(lookup) = looked_up else {
            let in_flight = self.in_flight(&parts, Some(&request.key));
            return ResponseFuture::waiting(self.fetch(request, parts, body).after_lookup()).counted_by(in_flight);
        };
        let presented =
            PresentedRequest { request: &request, headers: &parts.headers, settings: &self.settings, now: self.cache.now() };
        match presented.reuse(&lookup) {
            Reuse::Serve(stored, status) => {
                // Counted first: the response would be copied on the way.
                let representation = presented.representation(stored);
                self.count_hit(&parts, &lookup, &presented, representation, &status);
                if let Some(coding) = representation.missing {
                    self.cache.make_coding(&self.settings, &request, &lookup, coding);
                }
                ResponseFuture::ready(presented.respond_with(stored, representation, status, emptied(&mut parts.extensions)))
            }
            Reuse::ServeAndRevalidate(stored, status) => {
                let representation = presented.representation(stored);
                self.count_hit(&parts, &lookup, &presented, representation, &status);
                let response = presented.respond_with(stored, representation, status, Extensions::new());
                // An early refresh counts as stale, too.
                let miss = Miss::validating(lookup, Forward::Stale);
                self.fetch(request, parts, body).refresh_in_background(miss, refresh_trigger(status));
                ResponseFuture::ready(response)
            }
            Reuse::ServeAndVerify(stored, status) => {
                let representation = presented.representation(stored);
                self.count_hit(&parts, &lookup, &presented, representation, &status);
                let response = presented.respond_with(stored, representation, status, Extensions::new());
                self.fetch(request, parts, body).verify_in_background(lookup);
                ResponseFuture::ready(response)
            }
            Reuse::Validate(why) => {
                let miss = Miss::validating(lookup, why);
                let in_flight = self.in_flight(&parts, Some(&request.key));
                ResponseFuture::waiting(self.fetch(request, parts, body).after_miss(miss)).counted_by(in_flight)
            }
            Reuse::Fetch(why) => {
                let miss = Miss::fetching(lookup, why);
                let in_flight = self.in_flight(&parts, Some(&request.key));
                ResponseFuture::waiting(self.fetch(request, parts, body).after_miss(miss)).counted_by(in_flight)
            }
            Reuse::OnlyIfCached(why) => {
                let response = only_if_cached(why);
                self.count_unsatisfied(&parts, &request, &response);
                ResponseFuture::ready(response)
            }
        }
    }

    /// Answers a request of an outer layer's fetch, or one that is to fill the cache.
    #[cold]
    #[inline(never)]
    fn fetch_regardless<ReqBody>(
        &mut self,
        mut request: CacheableRequest,
        parts: request::Parts,
        body: ReqBody,
        refresh: Option<Refresh>,
    ) -> ResponseFuture<S::Future, S::ResBody, S::Error>
    where
        S: HttpService<ReqBody>,
        ReqBody: Body + Send + 'static,
    {
        if let Some(prefix) = refresh.as_ref().and_then(|refresh| refresh.prefix(&self.cache)) {
            request = CacheableRequest::new();
            if let Err((why, reason)) = self.classify(&mut request, &prefix, &parts, Content::Absent) {
                let in_flight = self.in_flight(&parts, None);
                return self.bypass(Request::from_parts(parts, body), CacheStatus::not_stored(why, reason)).counted_by(in_flight);
            }
            request.nested = parts.extensions.get::<OuterFetch>().is_some_and(|outer| outer.is_of(&self.cache, &request.key));
        }
        let in_flight = self.in_flight(&parts, Some(&request.key));
        ResponseFuture::waiting(self.fetch(request, parts, body).fetch_regardless(refresh)).counted_by(in_flight)
    }

    /// Answers a request after the first frame of its body, which shows whether it has content.
    fn read_first_frame<ReqBody>(
        &self,
        parts: request::Parts,
        mut body: ReqBody,
    ) -> ResponseFuture<S::Future, S::ResBody, S::Error>
    where
        S: HttpService<ReqBody>,
        ReqBody: Body + Send + 'static,
    {
        let mut service = self.clone();
        let in_flight = self.in_flight(&parts, None);
        ResponseFuture::waiting(async move {
            let content = router::has_content(&mut body).await;
            in_flight.hand_over();
            service.answer(parts, body, content).await
        })
    }

    /// Forwards a request without the cache: in place if the inner service is ready, otherwise in a box that waits for it.
    pub(super) fn bypass<ReqBody>(
        &mut self,
        request: Request<ReqBody>,
        status: CacheStatus,
    ) -> ResponseFuture<S::Future, S::ResBody, S::Error>
    where
        S: HttpService<ReqBody>,
        ReqBody: Send + 'static,
    {
        let (cache, settings) = (self.cache.clone(), Arc::clone(&self.settings));
        match self.inner.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => ResponseFuture::bypassing(self.inner.call(request), cache, settings, status),
            Poll::Ready(Err(error)) => ResponseFuture::failed(error),
            // The boxed future polls again, with the waker of its task.
            Poll::Pending => ResponseFuture::waiting(bypass_when_ready(self.inner.clone(), request, cache, settings, status)),
        }
    }
}
