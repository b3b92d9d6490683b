//! The settings for requests whose content is part of the key.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::request;
use http_body::Body;

use super::layer::{CacheLayer, LONGEST_WAIT};
use crate::{
    body::request_body::{ContentReader, RequestBody},
    policy::post_rule::PostRule,
};

/// Requests with content. The key of a QUERY or POST has its method, the SHA-256 of its content, and the fields that describe the
/// content (`Content-Type`, `Content-Encoding`, `Content-Language`, `Content-Location`, `Content-Range`), beside all that is in the key
/// of a GET.
///
/// The content is read before the lookup, and the handler still gets every byte. Everything else is as for GET: collapsing, tags,
/// staleness, `Vary`, and the promise. Nothing of it costs a GET anything.
impl CacheLayer {
    /// Answers QUERY (RFC 10008) from the cache if its content has at most `bytes` bytes; default: 16 KiB. A larger one is forwarded as it
    /// arrives. With 0, no QUERY is answered from the cache.
    ///
    /// QUERY is safe and idempotent by its specification, as GET is, so its responses have the route's [`ttl`](Self::ttl) like those of GET. A
    /// QUERY without `Content-Type` bypasses the cache, since its handler must refuse it (§2).
    ///
    /// axum's `MethodFilter` has no QUERY: route it with `any`, or with `MethodRouter::fallback`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use axum::{Router, http::{Method, StatusCode}, routing::any};
    ///
    /// # let cache = larder::Cache::in_memory(1 << 20);
    /// let search = any(|method: Method, query: String| async move {
    ///     match method.as_str() {
    ///         "QUERY" => Ok(format!("results for {query}")),
    ///         _ => Err(StatusCode::METHOD_NOT_ALLOWED),
    ///     }
    /// });
    /// let app: Router = Router::new().route("/search", search.layer(cache.layer().ttl(Duration::from_secs(60)).cache_query(64 << 10)));
    /// # let _ = app;
    /// ```
    ///
    /// Cost of a request: the content in memory until the handler has it, counted in
    /// [`Cache::with_max_request_bytes`](crate::Cache::with_max_request_bytes), and its SHA-256.
    pub fn cache_query(self, bytes: usize) -> Self {
        self.edit(|settings| settings.limits.query_content = bytes)
    }

    /// Answers POST from the cache if its content has at most `bytes` bytes, and **if its response says that it may be reused**; default:
    /// off, every POST is a write. With 0, it is off again. The last call of this and [`cache_post_if`](Self::cache_post_if) wins.
    ///
    /// A response says so by a lifetime of its own: [`CacheDirective::ttl`](crate::CacheDirective::ttl), `Cache-Control: max-age`, or
    /// `Expires` (RFC 9110 §9.3.3 asks for that as well). The route's [`ttl`](Self::ttl) is not enough. Any other POST **is a write**, as it
    /// is without this setting: it runs each time, and its success invalidates the responses stored for its URL, those to GET, QUERY and
    /// other POSTs. So a mutation whose handler says nothing is never answered from the cache. One whose response asks for an invalidation
    /// ([`Invalidate`](crate::Invalidate)) is a write even if it states a lifetime.
    ///
    /// ```
    /// use std::time::Duration;
    /// use axum::{Router, response::{IntoResponse, Response}, routing::post};
    /// use larder::{CacheDirective, Invalidate};
    ///
    /// # let cache = larder::Cache::in_memory(1 << 20);
    /// async fn graphql(body: String) -> Response {
    ///     if body.contains("mutation") {
    ///         (Invalidate::tags("posts"), "done").into_response()
    ///     } else {
    ///         (CacheDirective::ttl(Duration::from_secs(60)), "posts").into_response()
    ///     }
    /// }
    /// let app: Router = Router::new().route("/graphql", post(graphql).layer(cache.layer().tags(["posts"]).cache_post(64 << 10)));
    /// # let _ = app;
    /// ```
    ///
    /// Concurrent requests with the same content share a run. If it turns out to be a write, each of the others runs for itself, and later ones
    /// do not wait. A write costs a lookup, its content in memory, and a SHA-256 of it. A run continues when its client leaves, within
    /// [`Cache::with_abandoned_write_limit`](crate::Cache::with_abandoned_write_limit).
    ///
    /// A POST with `If-None-Match` bypasses the cache (RFC 9110 §13.1.2), and `Range` has no effect. A response to POST never answers a GET.
    pub fn cache_post(self, bytes: usize) -> Self {
        self.edit(|settings| settings.post = Some(PostRule { limit: bytes, reads: None }))
    }

    /// Answers POST from the cache if its content has at most `bytes` bytes and `reads` returns `true` for it: the request changes nothing, and
    /// may be answered from the cache, repeated in the background, or not run at all. The responses have the route's [`ttl`](Self::ttl),
    /// as those of GET.
    ///
    /// Any other POST is a write, as without this setting, and so is one with more content, for which `reads` is not called. A request
    /// whose response asks for an invalidation ([`Invalidate`](crate::Invalidate)) counts as a write in spite of `reads`: it is not stored.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let cache = larder::Cache::in_memory(1 << 20);
    /// // A search that is sent by POST: every request only reads.
    /// let search = cache.layer().ttl(Duration::from_secs(60)).cache_post_if(16 << 10, |_, _| true);
    /// ```
    ///
    /// # Security
    /// A write for which `reads` returns `true` is lost when a stored response answers it. If in doubt, return `false`, or let responses
    /// say so with [`cache_post`](Self::cache_post).
    pub fn cache_post_if(self, bytes: usize, reads: impl Fn(&request::Parts, &Bytes) -> bool + Send + Sync + 'static) -> Self {
        self.edit(|settings| settings.post = Some(PostRule { limit: bytes, reads: Some(Arc::new(reads)) }))
    }

    /// Limits how long the content of a QUERY or POST may take to arrive before the request is forwarded without the cache; default: 2
    /// seconds, at most a year. What has arrived comes before the rest. Without tokio's timer, there is no limit.
    pub fn request_body_wait(self, limit: Duration) -> Self {
        self.edit(|settings| settings.limits.content_wait = limit.min(LONGEST_WAIT))
    }

    /// Makes a body for the handler after the content of a request was read, for requests whose body is of type `B`. Default: bodies of
    /// axum's type are made by `axum::body::Body::new`; requests with other bodies bypass the cache. The last call wins.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http_body_util::{BodyExt as _, combinators::BoxBody};
    /// use larder::RequestBody;
    ///
    /// # let cache = larder::Cache::in_memory(1 << 20);
    /// type Body = BoxBody<Bytes, std::io::Error>;
    ///
    /// // For a tower service of `Request<Body>`.
    /// let layer = cache.layer().cache_post(64 << 10).request_body(|body: RequestBody<Body>| body.boxed());
    /// ```
    pub fn request_body<B>(self, make: impl Fn(RequestBody<B>) -> B + Send + Sync + 'static) -> Self
    where
        B: Body + Send + 'static,
        B::Error: Send,
    {
        self.edit(|settings| settings.content_reader = Some(ContentReader::new(make)))
    }
}
