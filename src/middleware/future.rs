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
use crate::{
    body::ResponseBody, cache::Cache, http::cache_status::CacheStatus, policy::settings::Settings, stats::in_flight::InFlight,
};

pin_project! {
    /// The future of a [`CacheService`](crate::CacheService): a response, the inner future, or a boxed fetch.
    pub struct ResponseFuture<F, B, E>
    where
        B: Body,
    {
        #[pin]
        state: State<F, B, E>,
        // Counts the request, unless that has happened.
        in_flight: Option<InFlight>,
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
        Self { state: State::Ready { response: Some(response) }, in_flight: None }
    }

    pub(crate) fn bypassing(inner: F, cache: Cache, settings: Arc<Settings>, status: CacheStatus) -> Self {
        Self { state: State::Bypassing { inner, cache, settings, status }, in_flight: None }
    }

    pub(crate) fn failed(error: E) -> Self {
        Self { state: State::Failed { error: Some(error) }, in_flight: None }
    }

    pub(crate) fn waiting(future: impl Future<Output = Result<Response<ResponseBody<B>>, E>> + Send + 'static) -> Self {
        Self { state: State::Waiting { future: Box::pin(future) }, in_flight: None }
    }

    /// Counts the request when this future ends.
    pub(crate) fn counted_by(self, in_flight: InFlight) -> Self {
        Self { in_flight: Some(in_flight), ..self }
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
        let projected = self.as_mut().project();
        let next = match projected.state.project() {
            Projected::Ready { response } => return Poll::Ready(Ok(response.take().expect("polled after it was ready"))),
            Projected::Waiting { future } => return counted(projected.in_flight, future.as_mut().poll(cx)),
            Projected::Failed { error } => {
                return counted(projected.in_flight, Poll::Ready(Err(error.take().expect("polled after it was ready"))));
            }
            Projected::Bypassing { inner, cache, settings, status } => match ready!(inner.poll(cx)) {
                Err(error) => return counted(projected.in_flight, Poll::Ready(Err(error))),
                Ok(response) => {
                    let (response, invalidate) = bypassed(response, settings, *status);
                    let Some(invalidate) = invalidate else {
                        return counted(projected.in_flight, Poll::Ready(Ok(response)));
                    };
                    State::Waiting { future: Box::pin(invalidate_as_asked(cache.clone(), invalidate, response)) }
                }
            },
        };
        self.as_mut().project().state.set(next);
        self.poll(cx)
    }
}

/// Counts the request if it has ended.
#[inline(always)]
fn counted<B: Body, E>(
    in_flight: &mut Option<InFlight>,
    polled: Poll<Result<Response<ResponseBody<B>>, E>>,
) -> Poll<Result<Response<ResponseBody<B>>, E>> {
    if let Poll::Ready(result) = &polled
        && let Some(in_flight) = in_flight.take()
    {
        match result
            .as_ref()
            .ok()
            .and_then(|response| Some((CacheStatus::of(response)?, response.status(), response.body().size_hint().exact())))
        {
            Some((status, code, bytes)) => in_flight.answered(status, code, bytes),
            None => in_flight.failed(),
        }
    }
    polled
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
