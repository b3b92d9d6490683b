//! Preconditions as an argument of a handler.

use std::time::SystemTime;

use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{ETAG, LAST_MODIFIED},
};

use crate::http::{
    conditional::{is_unmodified_since, names_etag},
    date::http_date,
};

/// What the asker has already, so that a handler can say "unchanged" before it builds a body.
///
/// The asker is a client, or the cache itself with a stale response: a 304 makes that one fresh again (RFC 9111 §4.3.4), and
/// its next readers cost nothing.
///
/// ```
/// use axum::{Json, extract::Path, response::{IntoResponse, Response}};
/// use larder::Preconditions;
///
/// # struct Post; impl Post { fn version(_: u64) -> u64 { 1 } fn load(_: u64) -> String { String::new() } }
/// async fn show(Path(id): Path<u64>, preconditions: Preconditions) -> Response {
///     let etag = format!("\"{}\"", Post::version(id)); // a cheap query
///     if let Some(not_modified) = preconditions.etag(&etag) {
///         return not_modified.into_response();
///     }
///     ([("etag", etag)], Json(Post::load(id))).into_response() // the slow one
/// }
/// # let _ = show;
/// ```
///
/// With another framework than axum, make one with [`from_headers`](Self::from_headers).
#[derive(Debug, Clone)]
pub struct Preconditions {
    request: HeaderMap,
}

/// A 304 for a representation that the asker has; it is a response of its own.
#[derive(Debug, Clone)]
#[must_use = "it is the response"]
pub struct NotModified {
    field: (http::HeaderName, HeaderValue),
}

impl Preconditions {
    /// Reads the preconditions of a request.
    pub fn from_headers(request: &HeaderMap) -> Self {
        Self { request: request.clone() }
    }

    /// The answer, if the asker has the representation with this entity tag (`"…"` or `W/"…"`, quotes included), by weak
    /// comparison (RFC 9110 §13.1.2).
    pub fn etag(&self, etag: &str) -> Option<NotModified> {
        let etag = HeaderValue::from_str(etag).ok()?;
        names_etag(&self.request, Some(&etag)).then_some(NotModified { field: (ETAG, etag) })
    }

    /// The answer, if the asker has what was last modified then (RFC 9110 §13.1.3), to the second; never if it named entity tags.
    pub fn last_modified(&self, modified: SystemTime) -> Option<NotModified> {
        let field = (LAST_MODIFIED, http_date(modified.into()));
        is_unmodified_since(&self.request, modified.into()).then_some(NotModified { field })
    }
}

impl NotModified {
    /// The 304, without a body.
    pub fn into_http<B: Default>(self) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().insert(self.field.0, self.field.1);
        response
    }
}
