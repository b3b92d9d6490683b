//! Preconditions, as an argument of a handler.

use std::time::SystemTime;

use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{ETAG, LAST_MODIFIED},
};

use crate::http::{
    conditional::{is_unmodified_since, names_etag},
    date::http_date,
};

/// The preconditions of a request (RFC 9110 §13), by which a handler can return 304 before it builds a body.
///
/// They come from the client, or from the cache, which validates a stale response: a 304 makes that response fresh again (RFC 9111
/// §4.3.4), and the following requests are hits.
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
/// It is an extractor for axum. Without axum, use [`from_headers`](Self::from_headers).
#[derive(Debug, Clone)]
pub struct Preconditions {
    request: HeaderMap,
}

/// A complete 304 response, for a request whose sender has the current representation.
#[derive(Debug, Clone)]
#[must_use = "it is the response"]
pub struct NotModified {
    field: (http::HeaderName, HeaderValue),
}

impl Preconditions {
    /// Reads the preconditions from the header fields of a request.
    pub fn from_headers(request: &HeaderMap) -> Self {
        Self { request: request.clone() }
    }

    /// Returns a 304 if `If-None-Match` contains this entity tag (`"…"` or `W/"…"`, including the quotes), by weak comparison (RFC 9110
    /// §13.1.2). `None` means that the handler must build the response.
    pub fn etag(&self, etag: &str) -> Option<NotModified> {
        let etag = HeaderValue::from_str(etag).ok()?;
        names_etag(&self.request, Some(&etag)).then_some(NotModified { field: (ETAG, etag) })
    }

    /// Returns a 304 if `If-Modified-Since` is not earlier than `modified`, to the second (RFC 9110 §13.1.3). Returns `None` if the request
    /// has `If-None-Match`, which takes precedence.
    pub fn last_modified(&self, modified: SystemTime) -> Option<NotModified> {
        let field = (LAST_MODIFIED, http_date(modified.into()));
        is_unmodified_since(&self.request, modified.into()).then_some(NotModified { field })
    }
}

impl NotModified {
    /// Converts it into a response with an empty body.
    pub fn into_http<B: Default>(self) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().insert(self.field.0, self.field.1);
        response
    }
}
