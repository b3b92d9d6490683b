//! The service that the layer builds.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use http::{Method, Request, Response, header::EXPECT, request};
use http_body::Body;
use tower_service::Service;

use super::{bypass::bypass_when_ready, future::ResponseFuture, unsafe_method::forward_and_invalidate};
use crate::{
    body::{ResponseBody, request_content::Content},
    cache::{
        Cache,
        detached::{Detached, Write},
    },
    fetch::{
        Fetch,
        inner_call::{HttpService, Oneshot},
        refresh::{OuterFetch, Refresh},
    },
    http::{
        cache_status::{CacheStatus, Forward},
        request_fields::RequestFields,
    },
    invalidation::after_response::is_safe,
    lookup::reuse::{Miss, PresentedRequest, Reuse, only_if_cached},
    policy::{cacheable_request::CacheableRequest, settings::Settings},
    router,
};

/// A service with a cache in front of it, made by [`CacheLayer`](crate::CacheLayer).
#[derive(Debug, Clone)]
pub struct CacheService<S> {
    inner: S,
    cache: Cache,
    settings: Arc<Settings>,
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

impl<S: Clone> CacheService<S> {
    fn fetch<B>(&self, request: CacheableRequest, parts: request::Parts, body: B) -> Fetch<S, B> {
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
        if !is_safe(&parts.method) {
            let call = Box::new(Oneshot { inner: self.inner.clone(), parts, body });
            // Detached: a write and its invalidation complete even if the client leaves between them.
            let write = forward_and_invalidate(call, self.cache.clone(), Arc::clone(&self.settings));
            return ResponseFuture::waiting(Detached::new(Box::pin(write), Write));
        }
        match Content::of(&body) {
            Content::Unclear if self.cache.is_on().is_ok() && may_read_first_frame(&parts) => self.read_first_frame(parts, body),
            content => self.answer(parts, body, content),
        }
    }
}

/// Whether the fields leave open if the request has content, and the first frame can be read without prompting a client that waits
/// for `100 Continue`.
fn may_read_first_frame(parts: &request::Parts) -> bool {
    let cacheable = matches!(parts.method, Method::GET | Method::HEAD);
    cacheable && !RequestFields::read(&parts.headers).content && !parts.headers.contains_key(EXPECT)
}

impl<S> CacheService<S> {
    /// Answers a GET or HEAD, or forwards another safe method.
    ///
    /// Inlined: the request would be copied on the way.
    #[inline(always)]
    fn answer<ReqBody>(
        &mut self,
        parts: request::Parts,
        body: ReqBody,
        content: Content,
    ) -> ResponseFuture<S::Future, S::ResBody, S::Error>
    where
        S: HttpService<ReqBody>,
        ReqBody: Body + Send + 'static,
    {
        let classified = match self.cache.is_on() {
            Ok(()) => self.settings.classify(&self.cache.inner.prefix, &parts, content),
            Err(off) => Err(off),
        };
        let mut request = match classified {
            Ok(request) => request,
            Err((why, reason)) => {
                return self.bypass(Request::from_parts(parts, body), CacheStatus::not_stored(why, reason));
            }
        };
        let refresh = parts.extensions.get::<Refresh>().filter(|refresh| refresh.is_of(&self.cache)).cloned();
        request.nested = parts.extensions.get::<OuterFetch>().is_some_and(|outer| outer.is_of(&self.cache, &request.key));
        if request.nested || refresh.is_some() {
            return ResponseFuture::waiting(self.fetch(request, parts, body).fetch_regardless(refresh));
        }
        let Some(lookup) = self.cache.lookup_now(&self.settings, &request, &parts.headers) else {
            return ResponseFuture::waiting(self.fetch(request, parts, body).after_lookup());
        };
        let presented =
            PresentedRequest { request: &request, headers: &parts.headers, settings: &self.settings, now: self.cache.now() };
        match presented.reuse(&lookup) {
            Reuse::Serve(stored, status) => ResponseFuture::ready(presented.respond(stored, status)),
            Reuse::ServeAndRevalidate(stored, status) => {
                let response = presented.respond(stored, status);
                // An early refresh counts as stale, too.
                let miss = Miss::validating(lookup, Forward::Stale);
                self.fetch(request, parts, body).refresh_in_background(miss);
                ResponseFuture::ready(response)
            }
            Reuse::Validate(why) => {
                let miss = Miss::validating(lookup, why);
                ResponseFuture::waiting(self.fetch(request, parts, body).after_miss(miss))
            }
            Reuse::Fetch(why) => {
                let miss = Miss::fetching(lookup, why);
                ResponseFuture::waiting(self.fetch(request, parts, body).after_miss(miss))
            }
            Reuse::OnlyIfCached(why) => ResponseFuture::ready(only_if_cached(why)),
        }
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
        ResponseFuture::waiting(async move {
            let content = router::has_content(&mut body).await;
            service.answer(parts, body, content).await
        })
    }

    /// Forwards a request without the cache: in place if the inner service is ready, otherwise in a box that waits for it.
    fn bypass<ReqBody>(
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
