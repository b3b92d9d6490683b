//! The realistic response: JSON made for the request, six fields with `Vary`, and two tags that only the handler knows.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::LazyLock,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::Body,
    extract,
    response::IntoResponse,
    routing::{MethodRouter, get},
};
use http::{
    HeaderMap, HeaderValue, Request, Response,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LAST_MODIFIED, VARY},
};
use larder::CacheTags;
use tower::Service;

use crate::{made, router};

/// Most of a body of about 1 KiB.
static TEXT: LazyLock<String> = LazyLock::new(|| "A larder is a cool place for food. ".repeat(29));

/// A handler that answers `/items/{id}` with about 1 KiB of JSON and does nothing else: the cheapest that a cache may have to compete with.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    varies: bool,
}

impl Page {
    /// Answers each client by its `Accept-Encoding`.
    pub fn varied() -> Self {
        Self { varies: true }
    }

    /// Answers all clients alike: five fields, no `Vary`.
    pub fn plain() -> Self {
        Self { varies: false }
    }

    /// Returns the response for an item.
    pub fn respond(self, id: u64) -> Response<Body> {
        let body = format!("{{\"id\":{id},\"text\":\"{}\"}}", *TEXT);
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
        headers.insert(CONTENT_LENGTH, body.len().into());
        headers.insert(ETAG, made("\"33a64df551425fcc55e4d42a148795d9f25f89d4\""));
        headers.insert(LAST_MODIFIED, made("Sat, 05 Nov 1994 08:49:37 GMT"));
        if self.varies {
            headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        let mut response = Response::new(Body::from(body));
        *response.headers_mut() = headers;
        CacheTags::new(["items".to_owned(), format!("item:{id}")]).add_to(response.extensions_mut());
        response
    }

    /// Returns the handler as a route for GET.
    pub fn route(self) -> MethodRouter {
        get(move |extract::Path(id): extract::Path<u64>| ready(self.respond(id)))
    }

    /// Returns the handler as the one route of an axum application.
    pub fn router(self) -> Router {
        router(self.route())
    }
}

impl Service<Request<Body>> for Page {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let id = request.uri().path().strip_prefix("/items/").and_then(|id| id.parse().ok());
        ready(Ok(id.map_or_else(|| http::StatusCode::NOT_FOUND.into_response(), |id| self.respond(id))))
    }
}
