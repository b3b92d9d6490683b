//! The inner service as an HTTP service, and one call of it.

use std::{
    future::{Future, poll_fn},
    task::{Context, Poll},
};

use http::{
    Method, Request, Response,
    header::{IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE},
    request,
};
use http_body::Body;
use tower_service::Service;

/// A service that answers HTTP requests and may run in a task of its own: the bounds of the middleware, written once.
pub(crate) trait HttpService<ReqBody>: Clone + Send + 'static {
    type ResBody: Body<Error: Send> + Send + 'static;
    type Error: Send + 'static;
    type Future: Future<Output = Result<Response<Self::ResBody>, Self::Error>> + Send + 'static;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>>;
    fn call(&mut self, request: Request<ReqBody>) -> Self::Future;
}

impl<S, ReqBody, ResBody> HttpService<ReqBody> for S
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    ResBody: Body + Send + 'static,
    ResBody::Error: Send,
{
    type ResBody = ResBody;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Service::poll_ready(self, cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> S::Future {
        Service::call(self, request)
    }
}

/// One call of a service; boxed because several futures move it before it runs.
pub(crate) struct Oneshot<S, ReqBody> {
    pub(crate) inner: S,
    pub(crate) parts: request::Parts,
    pub(crate) body: ReqBody,
}

impl<S, ReqBody> Oneshot<S, ReqBody> {
    /// Makes the request one for the whole response: the response to a HEAD request, to a range or to the client's own preconditions could not
    /// be stored for all.
    pub(crate) fn ask_for_all(&mut self) {
        if self.parts.method == Method::HEAD {
            self.parts.method = Method::GET;
        }
        for field in [RANGE, IF_RANGE, IF_NONE_MATCH, IF_MODIFIED_SINCE] {
            self.parts.headers.remove(field);
        }
    }
}

impl<S: HttpService<ReqBody>, ReqBody> Oneshot<S, ReqBody> {
    /// Waits until the service is ready, and calls it.
    pub(crate) async fn run(mut self: Box<Self>) -> Result<Response<S::ResBody>, S::Error> {
        poll_fn(|cx| self.inner.poll_ready(cx)).await?;
        let Self { mut inner, parts, body } = *self;
        let response = inner.call(Request::from_parts(parts, body));
        response.await
    }
}
