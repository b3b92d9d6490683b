//! The layer that observes, and its service.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, ready},
};

use http::{Method, Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    body::ObservedBody,
    exchange::{Context, Exchange, captured},
    observations::Observations,
    writes::RunningWrite,
};
use crate::{
    body::request_content::Content,
    clock::{Clock, Timestamp},
    error::Error,
    handler::invalidate::NothingImplied,
    http::{
        cache_status::CacheStatus,
        semantics::{is_safe, is_success},
    },
    policy::settings::Settings,
    router,
};

/// Measures an application before it has a cache; made by [`Cache::observer`](crate::Cache::observer).
#[derive(Debug, Clone)]
#[must_use = "an observer does nothing until its layer is put around a service"]
pub struct Observer(Context);

impl Observer {
    pub(crate) fn new(observations: Arc<Observations>, clock: Clock) -> Self {
        observations.writes.watch();
        let mut settings = Settings::default();
        settings.choices.ignore_cookies(true);
        settings.seal();
        Self(Context { observations, clock, settings: Arc::new(settings) })
    }

    /// Returns the layer. It passes every request and response through, and stores nothing.
    ///
    /// Put it outside of all routes, after routing: with `Router::layer`. A request costs some microseconds more, mostly for the digest of the
    /// body (a CRC of it, about 0.1 ms for 1 MiB) and for what is compared.
    pub fn layer(&self) -> ObserverLayer {
        ObserverLayer(self.0.clone())
    }
}

/// The layer of an [`Observer`].
#[derive(Debug, Clone)]
#[must_use = "a layer does nothing until it is put around a service"]
pub struct ObserverLayer(Context);

impl<S> Layer<S> for ObserverLayer {
    type Service = ObserverService<S>;

    fn layer(&self, inner: S) -> ObserverService<S> {
        ObserverService { inner, context: self.0.clone() }
    }
}

/// A service that an [`Observer`] observes.
#[derive(Debug, Clone)]
pub struct ObserverService<S> {
    inner: S,
    context: Context,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for ObserverService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ReqBody: Body,
    ResBody: Body,
{
    type Response = Response<ObservedBody<ResBody>>;
    type Error = S::Error;
    type Future = ObserverFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let observed = match &parts.method {
            // What larder cannot know either has no content by its fields.
            &Method::GET => match Content::of(&body) {
                Content::Unclear => Observed::Read(Exchange::begin(&self.context, &mut parts, Content::Absent)),
                content => Observed::Read(Exchange::begin(&self.context, &mut parts, content)),
            },
            method if is_safe(method) => Observed::Other(self.context.clone(), self.context.clock.now()),
            _ => {
                let captures = captured(&mut parts);
                let writes = &self.context.observations.writes;
                let write = writes.begin(&parts.method, router::route(&parts.extensions), captures, &self.context.clock);
                Observed::Write(write, self.context.clone(), self.context.clock.now())
            }
        };
        ObserverFuture { inner: self.inner.call(Request::from_parts(parts, body)), observed: Some(observed) }
    }
}

/// What is observed of a request.
enum Observed {
    Read(Box<Exchange>),
    Write(RunningWrite, Context, Timestamp),
    Other(Context, Timestamp),
}

impl Observed {
    /// Counts the head of the response.
    fn answered<B: Body>(self, response: Response<B>) -> Response<ObservedBody<B>> {
        let (head, body) = response.into_parts();
        let answer = match self {
            Self::Read(exchange) => exchange.answered(&head, body.size_hint().exact()),
            Self::Write(write, context, began) => {
                count_time(&context, began);
                let failed = !is_success(head.status) && head.extensions.get::<Error>().is_none();
                if failed || NothingImplied::is_in(&head.extensions) {
                    write.failed();
                }
                None
            }
            Self::Other(context, began) => {
                if !head.extensions.get::<CacheStatus>().is_some_and(|status| status.outcome().is_from_cache()) {
                    count_time(&context, began);
                }
                None
            }
        };
        Response::from_parts(head, ObservedBody::new(body, answer))
    }
}

fn count_time(context: &Context, began: Timestamp) {
    context.observations.totals.answered(context.clock.now().since(began));
}

pin_project! {
    /// The future of an [`ObserverService`].
    pub struct ObserverFuture<F> {
        #[pin]
        inner: F,
        observed: Option<Observed>,
    }
}

impl<F, B, E> Future for ObserverFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<ObservedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let projected = self.project();
        let response = ready!(projected.inner.poll(cx))?;
        Poll::Ready(Ok(match projected.observed.take() {
            Some(observed) => observed.answered(response),
            None => response.map(|body| ObservedBody::new(body, None)),
        }))
    }
}

impl<F> fmt::Debug for ObserverFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObserverFuture").finish_non_exhaustive()
    }
}
