//! A call of the inner service, after it has become ready.

use std::future::poll_fn;

use http::{Request, request};
use tower_service::Service;

/// A request, taken apart, and the service that will answer it; boxed, since it is handed on more often than it is used.
pub(crate) struct Oneshot<S, ReqBody> {
    pub(crate) inner: S,
    pub(crate) parts: request::Parts,
    pub(crate) body: ReqBody,
}

impl<S: Service<Request<ReqBody>>, ReqBody> Oneshot<S, ReqBody> {
    /// Waits until the service is ready, and lets it answer.
    pub(crate) async fn run(mut self: Box<Self>) -> Result<S::Response, S::Error> {
        poll_fn(|cx| self.inner.poll_ready(cx)).await?;
        let Self { mut inner, parts, body } = *self;
        let answered = inner.call(Request::from_parts(parts, body));
        answered.await
    }
}
