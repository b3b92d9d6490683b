use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    body::ResponseBody, cache::Cache, fetch::Fetch, future::ResponseFuture, hit::answer, method::is_safe, settings::Settings,
    status::CacheStatus, write::write_through,
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
}

impl<S: Clone> CacheService<S> {
    /// The inner service that was found ready; its clone, which may not be, stays for the next call.
    fn take_ready(&mut self) -> S {
        let clone = self.inner.clone();
        mem::replace(&mut self.inner, clone)
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

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (parts, body) = request.into_parts();
        if !is_safe(&parts.method) {
            let (cache, settings) = (self.cache.clone(), Arc::clone(&self.settings));
            return ResponseFuture::waiting(write_through(self.take_ready(), cache, settings, parts, body));
        }
        let look = match self.settings.look(&self.cache.inner.prefix, &parts, body.is_end_stream()) {
            Ok(look) => look,
            Err((why, reason)) => {
                let status = CacheStatus::not_stored(why, reason);
                let inner = self.inner.call(Request::from_parts(parts, body));
                return ResponseFuture::passing(inner, self.cache.clone(), self.settings.status_field, status);
            }
        };
        let look_up = self.cache.look_up_now(&self.settings, &look.key, &parts.headers);
        let missing = match look_up.map(|look_up| answer(look_up, &look, self.cache.now(), self.settings.status_field)) {
            Some(Ok(response)) => return ResponseFuture::hit(response),
            Some(Err(missing)) => Some(missing),
            None => None,
        };
        let (cache, settings) = (self.cache.clone(), Arc::clone(&self.settings));
        ResponseFuture::waiting(Fetch { cache, settings, look }.run(self.take_ready(), parts, body, missing))
    }
}
