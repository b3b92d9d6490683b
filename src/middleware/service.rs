//! The service that the layer builds.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use http::{Method, Request, Response, header::EXPECT, request};
use http_body::Body;
use tower_service::Service;

use super::{bypass::pass, future::ResponseFuture, unsafe_method::forward_and_invalidate};
use crate::{
    body::{ResponseBody, request_content::Content},
    cache::{
        Cache,
        detached::{Detached, Write},
    },
    fetch::{
        Fetch,
        inner_call::Oneshot,
        refresh::{OuterFetch, Refresh},
    },
    http::{
        cache_status::{CacheStatus, Forward},
        request_fields::RequestFields,
    },
    invalidation::after_response::is_safe,
    lookup::reuse::{Miss, Reuse, Seeker, Validation, unavailable},
    policy::{cacheable_request::CacheableRequest, settings::Settings},
    router,
};

/// A service with a cache in front of it; made by [`CacheLayer`](crate::CacheLayer).
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

    /// Returns the inner service; requests that are under way keep the clone that they have.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service and drops the cache's handle.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: Clone> CacheService<S> {
    fn fetch<B>(&self, look: CacheableRequest, parts: request::Parts, body: B) -> Fetch<S, B> {
        let errand = Box::new(Oneshot { inner: self.inner.clone(), parts, body });
        Fetch { cache: self.cache.clone(), settings: Arc::clone(&self.settings), look: Box::new(look), errand }
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

    /// Always ready: a hit does not wait for the inner service, and takes none of its permits. Whatever goes to the inner service
    /// waits for its readiness on the way.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (parts, body) = request.into_parts();
        if !is_safe(&parts.method) {
            let errand = Box::new(Oneshot { inner: self.inner.clone(), parts, body });
            // A client that leaves must not come between a write and its invalidation.
            let write = forward_and_invalidate(errand, self.cache.clone(), Arc::clone(&self.settings));
            return ResponseFuture::waiting(Detached::new(Box::pin(write), Write));
        }
        match Content::of(&body) {
            Content::Unclear if self.cache.is_on().is_ok() && may_look_into(&parts) => self.look_into(parts, body),
            content => self.answer(parts, body, content),
        }
    }
}

/// Whether only the body can tell if there is content, and reading its first frame does not make the client send it.
fn may_look_into(parts: &request::Parts) -> bool {
    let cached = matches!(parts.method, Method::GET | Method::HEAD);
    cached && !RequestFields::read(&parts.headers).content && !parts.headers.contains_key(EXPECT)
}

impl<S> CacheService<S> {
    /// Answers a GET or HEAD, or another safe method.
    fn answer<ReqBody, ResBody>(
        &mut self,
        parts: request::Parts,
        body: ReqBody,
        content: Content,
    ) -> ResponseFuture<S::Future, ResBody, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Send + 'static,
        ReqBody: Body + Send + 'static,
        ResBody: Body + Send + 'static,
        ResBody::Error: Send,
    {
        let mut look = CacheableRequest::new();
        look.key.extend(&self.cache.inner.prefix);
        let looked = self.cache.is_on().and_then(|()| self.settings.classify(&mut look, &parts, content));
        if let Err((why, reason)) = looked {
            return self.bypass(Request::from_parts(parts, body), CacheStatus::not_stored(why, reason));
        }
        let refresh = parts.extensions.get::<Refresh>().filter(|refresh| refresh.is_of(&self.cache)).cloned();
        look.within = parts.extensions.get::<OuterFetch>().is_some_and(|within| within.is_of(&self.cache, &look.key));
        if look.within || refresh.is_some() {
            return ResponseFuture::waiting(self.fetch(look, parts, body).refresh_noting(refresh));
        }
        let Some(lookup) = self.cache.lookup_now(&self.settings, &look, &parts.headers) else {
            return ResponseFuture::waiting(self.fetch(look, parts, body).run(None));
        };
        let seeker = Seeker { look: &look, headers: &parts.headers, settings: &self.settings, now: self.cache.now() };
        match seeker.judge(&lookup) {
            Reuse::Serve(stored, status) => ResponseFuture::hit(seeker.respond(stored, status)),
            Reuse::ServeAndRevalidate(stored, status) => {
                let response = seeker.respond(stored, status);
                let missing = Miss::after(lookup, Forward::Stale, Validation::Possible);
                self.fetch(look, parts, body).refresh_in_background(missing);
                ResponseFuture::hit(response)
            }
            Reuse::Forward(why, validation) => {
                let missing = Miss::after(lookup, why, validation);
                ResponseFuture::waiting(self.fetch(look, parts, body).run(Some(missing)))
            }
            Reuse::OnlyIfCached(why) => ResponseFuture::hit(unavailable(why)),
        }
    }

    /// Answers a request after its body's first frame has come, which says whether it has content.
    fn look_into<ReqBody, ResBody>(
        &self,
        parts: request::Parts,
        mut body: ReqBody,
    ) -> ResponseFuture<S::Future, ResBody, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Send + 'static,
        ReqBody: Body + Send + 'static,
        ResBody: Body + Send + 'static,
        ResBody::Error: Send,
    {
        let mut service = self.clone();
        ResponseFuture::waiting(async move {
            let content = router::look_into(&mut body).await;
            service.answer(parts, body, content).await
        })
    }

    /// Lets a request pass: in place if the inner service is ready, as it mostly is, or in a box that waits until it is.
    fn bypass<ReqBody, ResBody>(
        &mut self,
        request: Request<ReqBody>,
        status: CacheStatus,
    ) -> ResponseFuture<S::Future, ResBody, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        ReqBody: Send + 'static,
        ResBody: Body + Send + 'static,
        ResBody::Error: Send,
    {
        let (cache, field) = (self.cache.clone(), self.settings.status_field);
        match self.inner.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => ResponseFuture::passing(self.inner.call(request), cache, field, status),
            Poll::Ready(Err(error)) => ResponseFuture::failed(error),
            // Polled again in the box, with the waker that counts.
            Poll::Pending => ResponseFuture::waiting(pass(self.inner.clone(), request, cache, field, status)),
        }
    }
}
