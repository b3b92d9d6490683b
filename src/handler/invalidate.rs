//! Invalidations that a handler returns as part of its response.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::Extensions;

use super::cache_tags::collect;
use crate::lists::IntoTags;

/// What a write handler invalidates, as part of its response: it takes effect only if the handler succeeded (2xx or
/// 3xx), and before the response leaves.
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
/// A larder layer must stand around the route; where none does, an error is logged, because nothing was
/// invalidated. The handler does not learn whether the invalidation worked: use
/// [`Cache::invalidate_tags`](crate::Cache::invalidate_tags) where it must.
#[derive(Debug, Clone)]
#[must_use = "it takes effect as part of a response"]
pub struct Invalidate {
    pub(crate) tags: Vec<Arc<str>>,
    pub(crate) expired: Vec<Arc<str>>,
    pub(crate) uris: Vec<String>,
    pub(crate) routes: Vec<String>,
    pub(crate) everything: bool,
    heed: Arc<UnclaimedWarning>,
}

impl Invalidate {
    /// Never again serves what carries one of these tags; see [`Cache::invalidate_tags`](crate::Cache::invalidate_tags).
    pub fn tags<S>(tags: impl IntoTags<S>) -> Self {
        Self { tags: collect(tags), ..Self::nothing() }
    }

    /// Never again serves what is stored for `uri`; see [`Cache::invalidate_uri`](crate::Cache::invalidate_uri).
    pub fn uri(uri: impl Into<String>) -> Self {
        Self { uris: vec![uri.into()], ..Self::nothing() }
    }

    /// Never again serves what is stored for a route; see [`Cache::invalidate_route`](crate::Cache::invalidate_route).
    pub fn route(route: impl Into<String>) -> Self {
        Self { routes: vec![route.into()], ..Self::nothing() }
    }

    /// Makes stale what carries one of these tags; see [`Cache::expire_tags`](crate::Cache::expire_tags).
    pub fn expire_tags<S>(tags: impl IntoTags<S>) -> Self {
        Self { expired: collect(tags), ..Self::nothing() }
    }

    /// Never again serves anything that is stored now; see [`Cache::clear`](crate::Cache::clear).
    pub fn clear() -> Self {
        Self { everything: true, ..Self::nothing() }
    }

    /// Both of two invalidations.
    pub fn and(mut self, other: Self) -> Self {
        self.tags.extend_from_slice(&other.tags);
        self.expired.extend_from_slice(&other.expired);
        self.uris.extend_from_slice(&other.uris);
        self.routes.extend_from_slice(&other.routes);
        self.everything |= other.everything;
        other.heed.settle();
        self
    }

    /// Adds this to what a response already invalidates.
    pub fn add_to(self, extensions: &mut Extensions) {
        let both = match extensions.remove::<Self>() {
            Some(present) => present.and(self),
            None => self,
        };
        both.heed.expect();
        extensions.insert(both);
    }

    /// Takes what a response invalidates out of it; whoever does so sees to it.
    pub(crate) fn take(extensions: &mut Extensions) -> Option<Self> {
        let taken = extensions.remove::<Self>()?;
        taken.heed.settle();
        Some(taken)
    }

    fn nothing() -> Self {
        Self {
            tags: Vec::new(),
            expired: Vec::new(),
            uris: Vec::new(),
            routes: Vec::new(),
            everything: false,
            heed: Arc::default(),
        }
    }
}

/// Notices when a response leaves with an invalidation that no layer carried out.
#[derive(Debug, Default)]
struct UnclaimedWarning {
    expected: AtomicBool,
}

impl UnclaimedWarning {
    fn expect(&self) {
        self.expected.store(true, Ordering::Relaxed);
    }

    fn settle(&self) {
        self.expected.store(false, Ordering::Relaxed);
    }
}

impl Drop for UnclaimedWarning {
    fn drop(&mut self) {
        if *self.expected.get_mut() {
            tracing::error!(
                "a response carried `larder::Invalidate`, but no larder layer stands around its route: nothing was \
                 invalidated. Put the layer around the route, or call `cache.invalidate_tags` in the handler"
            );
        }
    }
}
