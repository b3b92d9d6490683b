//! The future of a response.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use super::bypass::{bypassed, invalidate_as_asked};
use crate::{body::ResponseBody, cache::Cache, http::cache_status::CacheStatus, policy::settings::Settings};

pin_project! {
    /// The future of a [`CacheService`](crate::CacheService): a response, the inner future, or a boxed fetch.
    pub struct ResponseFuture<F, B, E>
    where
        B: Body,
    {
        #[pin]
        state: State<F, B, E>,
    }
}

type Boxed<B, E> = Pin<Box<dyn Future<Output = Result<Response<ResponseBody<B>>, E>> + Send>>;

pin_project! {
    #[project = Projected]
    enum State<F, B, E>
    where
        B: Body,
    {
        Ready { response: Option<Response<ResponseBody<B>>> },
        Bypassing { #[pin] inner: F, cache: Cache, settings: Arc<Settings>, status: CacheStatus },
        Waiting { future: Boxed<B, E> },
        Failed { error: Option<E> },
    }
}

impl<F, B: Body, E> ResponseFuture<F, B, E> {
    pub(crate) fn ready(response: Response<ResponseBody<B>>) -> Self {
        Self { state: State::Ready { response: Some(response) } }
    }

    pub(crate) fn bypassing(inner: F, cache: Cache, settings: Arc<Settings>, status: CacheStatus) -> Self {
        Self { state: State::Bypassing { inner, cache, settings, status } }
    }

    pub(crate) fn failed(error: E) -> Self {
        Self { state: State::Failed { error: Some(error) } }
    }

    pub(crate) fn waiting(future: impl Future<Output = Result<Response<ResponseBody<B>>, E>> + Send + 'static) -> Self {
        Self { state: State::Waiting { future: Box::pin(future) } }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body + Send + 'static,
    B::Error: Send,
    E: Send + 'static,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let next = match self.as_mut().project().state.project() {
            Projected::Ready { response } => return Poll::Ready(Ok(response.take().expect("polled after it was ready"))),
            Projected::Waiting { future } => return future.as_mut().poll(cx),
            Projected::Failed { error } => return Poll::Ready(Err(error.take().expect("polled after it was ready"))),
            Projected::Bypassing { inner, cache, settings, status } => {
                let (response, invalidate) = bypassed(ready!(inner.poll(cx))?, settings, *status);
                let Some(invalidate) = invalidate else { return Poll::Ready(Ok(response)) };
                State::Waiting { future: Box::pin(invalidate_as_asked(cache.clone(), invalidate, response)) }
            }
        };
        self.as_mut().project().state.set(next);
        self.poll(cx)
    }
}

impl<F, B: Body, E> fmt::Debug for ResponseFuture<F, B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.state {
            State::Ready { .. } => "ResponseFuture::Ready",
            State::Bypassing { .. } => "ResponseFuture::Bypassing",
            State::Waiting { .. } => "ResponseFuture::Waiting",
            State::Failed { .. } => "ResponseFuture::Failed",
        })
    }
}
