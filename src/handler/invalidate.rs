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
/// If a tag, a URI or a route is not valid, all others are invalidated, and an error is logged.
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
    nothing_implied: bool,
    warning: Arc<UnclaimedWarning>,
}

impl Invalidate {
    /// Invalidates stored responses that carry one of these tags, see [`Cache::invalidate_tags`](crate::Cache::invalidate_tags).
    pub fn tags<S>(tags: impl IntoTags<S>) -> Self {
        Self { tags: collect(tags), ..Self::empty() }
    }

    /// Invalidates stored responses for `uri`, see [`Cache::invalidate_uri`](crate::Cache::invalidate_uri).
    pub fn uri(uri: impl Into<String>) -> Self {
        Self { uris: vec![uri.into()], ..Self::empty() }
    }

    /// Invalidates stored responses of a route such as `/posts/{id}`, see [`Cache::invalidate_route`](crate::Cache::invalidate_route).
    pub fn route(route: impl Into<String>) -> Self {
        Self { routes: vec![route.into()], ..Self::empty() }
    }

    /// Makes stored responses with one of these tags stale, see [`Cache::expire_tags`](crate::Cache::expire_tags).
    pub fn expire_tags<S>(tags: impl IntoTags<S>) -> Self {
        Self { expired: collect(tags), ..Self::empty() }
    }

    /// Invalidates all stored responses, see [`Cache::clear`](crate::Cache::clear).
    pub fn clear() -> Self {
        Self { everything: true, ..Self::empty() }
    }

    /// States that the write changed nothing that is stored: its success does not imply that responses for its URI are invalidated
    /// (RFC 9111 §4.4). For a whole route, see [`CacheLayer::invalidate_on_write`](crate::CacheLayer::invalidate_on_write).
    ///
    /// Combined with another invalidation, exactly that is invalidated:
    ///
    /// ```
    /// use larder::Invalidate;
    ///
    /// async fn add_to_cart() -> (Invalidate, &'static str) {
    ///     (Invalidate::nothing().and(Invalidate::tags("cart:7")), "added")
    /// }
    /// # let _ = add_to_cart;
    /// ```
    pub fn nothing() -> Self {
        Self { nothing_implied: true, ..Self::empty() }
    }

    /// Combines two invalidations.
    pub fn and(mut self, other: Self) -> Self {
        self.tags.extend_from_slice(&other.tags);
        self.expired.extend_from_slice(&other.expired);
        self.uris.extend_from_slice(&other.uris);
        self.routes.extend_from_slice(&other.routes);
        self.everything |= other.everything;
        self.nothing_implied |= other.nothing_implied;
        other.warning.disarm();
        self
    }

    /// Adds the invalidation to the extensions of a response, in addition to any that it has already.
    pub fn add_to(self, extensions: &mut Extensions) {
        let both = match extensions.remove::<Self>() {
            Some(present) => present.and(self),
            None => self,
        };
        if both.nothing_implied {
            extensions.insert(NothingImplied);
        }
        if both.asks_for_something() {
            both.warning.arm();
        }
        extensions.insert(both);
    }

    /// Removes the invalidation of a response. The caller must carry it out.
    pub(crate) fn take(extensions: &mut Extensions) -> Option<Self> {
        let taken = extensions.remove::<Self>()?;
        taken.warning.disarm();
        Some(taken)
    }

    /// Whether a response asks for an invalidation.
    pub(crate) fn is_asked_for(extensions: &Extensions) -> bool {
        extensions.get::<Self>().is_some_and(Self::asks_for_something)
    }

    fn asks_for_something(&self) -> bool {
        let lists = [self.tags.len(), self.expired.len(), self.uris.len(), self.routes.len()];
        self.everything || lists.iter().any(|&length| length > 0)
    }

    fn empty() -> Self {
        Self {
            tags: Vec::new(),
            expired: Vec::new(),
            uris: Vec::new(),
            routes: Vec::new(),
            everything: false,
            nothing_implied: false,
            warning: Arc::default(),
        }
    }
}

/// Marks a response by [`Invalidate::nothing`], or one to a POST that has only read. It remains when the innermost layer takes the invalidation, for the layers around it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NothingImplied;

impl NothingImplied {
    /// Marks the response to a request that has changed nothing.
    pub(crate) fn mark(extensions: &mut Extensions) {
        extensions.insert(Self);
    }

    pub(crate) fn is_in(extensions: &Extensions) -> bool {
        extensions.get::<Self>().is_some()
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
