//! The integration with axum: extractors, response parts, matched routes. No other file names axum.

use std::{
    any::Any,
    convert::Infallible,
    future::Future as _,
    pin::pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll, Waker},
};

use axum::{
    body::Body,
    extract::{FromRequestParts, MatchedPath, NestedPath, OriginalUri, RawPathParams},
    response::{IntoResponse, IntoResponseParts, Response, ResponseParts},
};
use http::{Extensions, StatusCode, Uri, request::Parts};

use super::captures::Captures;
use crate::{
    body::{
        first_frame::{Resumed, first_frame},
        request_body::{MadeBy, ReadContent},
        request_content::Content,
    },
    error::Error,
    handler::{
        cache_directive::CacheDirective,
        cache_tags::CacheTags,
        invalidate::Invalidate,
        preconditions::{NotModified, Preconditions},
    },
};

/// Returns the URI of the request before `Router::nest` removed a prefix.
pub(crate) fn original_uri(parts: &Parts) -> &Uri {
    parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0)
}

/// Rewrites each URI of the request that a handler may read.
pub(crate) fn rewrite_uris(parts: &mut Parts, rewrite: impl Fn(&Uri) -> Uri) {
    parts.uri = rewrite(&parts.uri);
    if let Some(original) = parts.extensions.get_mut::<OriginalUri>() {
        original.0 = rewrite(&original.0);
    }
}

/// Returns the route that the request matched, as the application wrote it: `/posts/{id}`.
pub(crate) fn route(extensions: &Extensions) -> Option<&str> {
    extensions.get::<MatchedPath>().map(MatchedPath::as_str)
}

/// Returns the captures of the matched route, as seen from the router that the layer is in.
pub(crate) fn captures(parts: &mut Parts) -> Captures {
    // It is absent outside of a nest, and has the whole prefix inside.
    let prefix = parts.extensions.get::<NestedPath>().cloned();
    // The extractor never waits. It fails if no route has matched yet, or if a capture is not UTF-8: then there are no captures.
    let reading = pin!(RawPathParams::from_request_parts(parts, &()));
    let Poll::Ready(Ok(captures)) = reading.poll(&mut Context::from_waker(Waker::noop())) else { return Captures::default() };
    let captures = captures.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let prefix = prefix.as_ref().map_or("", NestedPath::as_str);
    Captures::new(captures, prefix)
}

/// Returns whether a body has content, by its first frame, which is put back. Only axum's own body type can be rebuilt; a body of
/// another type is not read, and remains unclear.
pub(crate) async fn has_content<B: Send + 'static>(body: &mut B) -> Content {
    let Some(body) = (body as &mut (dyn Any + Send)).downcast_mut::<Body>() else { return Content::Unclear };
    match first_frame(body).await {
        Ok(None) => {
            // Some bodies must not be polled again after their end.
            *body = Body::empty();
            Content::Absent
        }
        Ok(Some(first)) => {
            *body = Body::new(Resumed::new(first, std::mem::take(body)));
            Content::Present
        }
        Err(_) => Content::Unclear,
    }
}

/// Returns how the content of bodies of axum's type is read; `None` for other types.
pub(crate) fn content_reader<B: 'static>() -> Option<Arc<dyn ReadContent<B>>> {
    static READER: LazyLock<Arc<dyn ReadContent<Body>>> = LazyLock::new(|| Arc::new(MadeBy::new(Body::new)));
    let reader: &dyn Any = &*READER;
    reader.downcast_ref().cloned()
}

/// Returns a body without content, if the type is axum's or a `String`.
pub(crate) fn empty_body<B: 'static>() -> Option<B> {
    let empty: [Box<dyn Any>; 2] = [Box::new(Body::empty()), Box::new(String::new())];
    empty.into_iter().find_map(|body| body.downcast::<B>().ok()).map(|body| *body)
}

impl<S: Sync> FromRequestParts<S> for Preconditions {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::from_headers(&parts.headers))
    }
}

impl IntoResponse for NotModified {
    fn into_response(self) -> Response {
        self.into_http()
    }
}

/// The response of a handler that returns the error with `?`: 503 without a body, and the error in its extensions. The message is for
/// operators, so it is logged. The write itself has succeeded: a larder layer around the route still invalidates its URI.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        tracing::error!(error = &self as &dyn std::error::Error, "a handler returned an error of the cache: responded with 503");
        let mut response = StatusCode::SERVICE_UNAVAILABLE.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Implements `IntoResponseParts` and `IntoResponse` for a type that adds itself to the extensions of a response.
macro_rules! response_part {
    ($part:ty, $add:expr) => {
        impl IntoResponseParts for $part {
            type Error = Infallible;

            fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Infallible> {
                let add: fn(Self, &mut Extensions) = $add;
                add(self, response.extensions_mut());
                Ok(response)
            }
        }

        impl IntoResponse for $part {
            fn into_response(self) -> Response {
                (self, ()).into_response()
            }
        }
    };
}

response_part!(CacheTags, CacheTags::add_to);
response_part!(Invalidate, Invalidate::add_to);
response_part!(CacheDirective, CacheDirective::add_to);

/// Returns the address of the client, if the server gives it.
#[cfg(feature = "admin")]
pub(crate) fn peer(parts: &Parts) -> Option<std::net::SocketAddr> {
    parts.extensions.get::<axum::extract::ConnectInfo<std::net::SocketAddr>>().map(|info| info.0)
}
