use std::{
    convert::Infallible,
    future::Future as _,
    pin::pin,
    task::{Context, Poll, Waker},
};

use axum::{
    extract::{FromRequestParts, MatchedPath, OriginalUri, RawPathParams},
    response::{IntoResponse, IntoResponseParts, Response, ResponseParts},
};
use http::{Extensions, Uri, request::Parts};

use crate::{
    cache_policy::{CachePolicy, Private},
    invalidate::Invalidate,
    tag::CacheTags,
    validators::{Revalidate, Unchanged},
};

/// The URI before any `Router::nest` cut its prefix off.
pub(crate) fn original_uri(parts: &Parts) -> &Uri {
    parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0)
}

/// Changes the query of the request, wherever a handler may read it.
pub(crate) fn rewrite_uris(parts: &mut Parts, rewrite: impl Fn(&Uri) -> Uri) {
    parts.uri = rewrite(&parts.uri);
    if let Some(original) = parts.extensions.get_mut::<OriginalUri>() {
        original.0 = rewrite(&original.0);
    }
}

/// The route that the request matched, as it was written: `/posts/{id}`.
pub(crate) fn route(extensions: &Extensions) -> Option<&str> {
    extensions.get::<MatchedPath>().map(MatchedPath::as_str)
}

/// The captures of the matched route, decoded.
pub(crate) fn captures(parts: &mut Parts) -> Vec<(String, String)> {
    // It never waits. It fails where no route has matched yet, or where a capture is not UTF-8: then there are none to use.
    let reading = pin!(RawPathParams::from_request_parts(parts, &()));
    let Poll::Ready(Ok(captures)) = reading.poll(&mut Context::from_waker(Waker::noop())) else { return Vec::new() };
    captures.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl<S: Sync> FromRequestParts<S> for Revalidate {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::from_headers(&parts.headers))
    }
}

impl IntoResponse for Unchanged {
    fn into_response(self) -> Response {
        self.into_http()
    }
}

/// Makes a type a part of a response, and a response of nothing else.
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
response_part!(CachePolicy, |policy, extensions| _ = extensions.insert(policy));
response_part!(Private, |private, extensions| _ = extensions.insert(private));
