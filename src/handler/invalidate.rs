//! Invalidations, as part of the response of a handler.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::Extensions;

use super::cache_tags::collect;
use crate::lists::IntoTags;

/// An invalidation as part of the response of a handler. It takes effect only if the response is a success or a redirect (2xx or 3xx),
/// and before the response is sent.
///
/// ```
/// use axum::{extract::Path, http::StatusCode};
/// use larder::Invalidate;
///
/// async fn delete(Path(id): Path<u64>) -> (StatusCode, Invalidate) {
///     // … the write itself …
///     (StatusCode::NO_CONTENT, Invalidate::tags((format!("post:{id}"), "posts")))
/// }
/// # let _ = delete;
/// ```
///
/// The route needs a larder layer: without one, nothing is invalidated, and an error is logged. The handler is not informed whether the
/// invalidation succeeded; call [`Cache::invalidate_tags`](crate::Cache::invalidate_tags) in the handler if it must know.
#[derive(Debug, Clone)]
#[must_use = "it takes effect as part of a response"]
pub struct Invalidate {
    pub(crate) tags: Vec<Arc<str>>,
    pub(crate) expired: Vec<Arc<str>>,
    pub(crate) uris: Vec<String>,
    pub(crate) routes: Vec<String>,
    pub(crate) everything: bool,
    warning: Arc<UnclaimedWarning>,
}

impl Invalidate {
    /// Invalidates stored responses that carry one of these tags, see [`Cache::invalidate_tags`](crate::Cache::invalidate_tags).
    pub fn tags<S>(tags: impl IntoTags<S>) -> Self {
        Self { tags: collect(tags), ..Self::nothing() }
    }

    /// Invalidates stored responses for `uri`, see [`Cache::invalidate_uri`](crate::Cache::invalidate_uri).
    pub fn uri(uri: impl Into<String>) -> Self {
        Self { uris: vec![uri.into()], ..Self::nothing() }
    }

    /// Invalidates stored responses of a route such as `/posts/{id}`, see [`Cache::invalidate_route`](crate::Cache::invalidate_route).
    pub fn route(route: impl Into<String>) -> Self {
        Self { routes: vec![route.into()], ..Self::nothing() }
    }

    /// Makes stored responses with one of these tags stale, see [`Cache::expire_tags`](crate::Cache::expire_tags).
    pub fn expire_tags<S>(tags: impl IntoTags<S>) -> Self {
        Self { expired: collect(tags), ..Self::nothing() }
    }

    /// Invalidates all stored responses, see [`Cache::clear`](crate::Cache::clear).
    pub fn clear() -> Self {
        Self { everything: true, ..Self::nothing() }
    }

    /// Combines two invalidations.
    pub fn and(mut self, other: Self) -> Self {
        self.tags.extend_from_slice(&other.tags);
        self.expired.extend_from_slice(&other.expired);
        self.uris.extend_from_slice(&other.uris);
        self.routes.extend_from_slice(&other.routes);
        self.everything |= other.everything;
        other.warning.disarm();
        self
    }

    /// Adds the invalidation to the extensions of a response, in addition to any that it has already.
    pub fn add_to(self, extensions: &mut Extensions) {
        let both = match extensions.remove::<Self>() {
            Some(present) => present.and(self),
            None => self,
        };
        both.warning.arm();
        extensions.insert(both);
    }

    /// Removes the invalidation of a response. The caller must carry it out.
    pub(crate) fn take(extensions: &mut Extensions) -> Option<Self> {
        let taken = extensions.remove::<Self>()?;
        taken.warning.disarm();
        Some(taken)
    }

    fn nothing() -> Self {
        Self {
            tags: Vec::new(),
            expired: Vec::new(),
            uris: Vec::new(),
            routes: Vec::new(),
            everything: false,
            warning: Arc::default(),
        }
    }
}

/// Logs an error if it is dropped while armed: no layer has carried out the invalidation of a response.
#[derive(Debug, Default)]
struct UnclaimedWarning {
    armed: AtomicBool,
}

impl UnclaimedWarning {
    fn arm(&self) {
        self.armed.store(true, Ordering::Relaxed);
    }

    fn disarm(&self) {
        self.armed.store(false, Ordering::Relaxed);
    }
}

impl Drop for UnclaimedWarning {
    fn drop(&mut self) {
        if *self.armed.get_mut() {
            tracing::error!(
                "a response carried `larder::Invalidate`, but its route has no larder layer: nothing was invalidated. Add the \
                 layer to the route, or call `cache.invalidate_tags` in the handler"
            );
        }
    }
}
