//! Storage directives that a handler returns as part of its response.

use std::time::Duration;

use http::Extensions;

/// What a handler says about storing its own response, where a header would be clumsy; it is not sent.
///
/// ```
/// use std::time::Duration;
/// use larder::CacheDirective;
///
/// async fn weather() -> (CacheDirective, &'static str) {
///     (CacheDirective::ttl(Duration::from_secs(5)), "sunny")
/// }
/// # let _ = weather;
/// ```
///
/// A lifetime goes before `Cache-Control` and before the route's; `no-store` and `private` in a header are stronger than
/// any lifetime.
///
/// It is an extension of the response. A layer inside the cache that authenticates can insert [`private`](Self::private) after the
/// handler has run, and the response is not stored, whatever the handler says:
///
/// ```
/// use axum::response::Response;
/// use larder::CacheDirective;
///
/// fn for_one_user(mut response: Response) -> Response {
///     CacheDirective::private().add_to(response.extensions_mut());
///     response
/// }
/// # let _ = for_one_user;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheDirective(Directive);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Directive {
    Ttl(Duration),
    NoStore,
    Private,
}

impl Directive {
    /// A higher one is more restrictive.
    fn rank(self) -> u8 {
        match self {
            Self::Ttl(_) => 0,
            Self::NoStore => 1,
            Self::Private => 2,
        }
    }
}

impl CacheDirective {
    /// Stores the response for `ttl`.
    pub const fn ttl(ttl: Duration) -> Self {
        Self(Directive::Ttl(ttl))
    }

    /// Does not store the response.
    pub const fn no_store() -> Self {
        Self(Directive::NoStore)
    }

    /// Does not store the response, because it is for one user.
    pub const fn private() -> Self {
        Self(Directive::Private)
    }

    /// Adds this to a response. Of several directives the most restrictive applies: `private`, then `no_store`, then the last lifetime.
    pub fn add_to(self, extensions: &mut Extensions) {
        let present = extensions.get::<Self>();
        if present.is_none_or(|present| present.0.rank() <= self.0.rank()) {
            extensions.insert(self);
        }
    }

    pub(crate) fn directive(&self) -> Directive {
        self.0
    }
}
