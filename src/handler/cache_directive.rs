//! A directive about storing, as part of the response of a handler.

use std::time::Duration;

use http::Extensions;

/// A handler's directive about storing its own response, as an alternative to `Cache-Control`. It is not sent to the client.
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
/// A lifetime takes precedence over the lifetime of `Cache-Control` and over the route's. `no-store` and `private` in `Cache-Control` take
/// precedence over any lifetime.
///
/// The directive is an extension of the response. An authenticating layer inside the cache can add [`private`](Self::private) after
/// the handler has run: then the response is not stored, even if the handler has set a lifetime.
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
    /// Returns how restrictive the directive is; a higher rank takes precedence.
    fn rank(self) -> u8 {
        match self {
            Self::Ttl(_) => 0,
            Self::NoStore => 1,
            Self::Private => 2,
        }
    }
}

impl CacheDirective {
    /// Stores the response for `ttl`, at most for [`CacheLayer::max_ttl`](crate::CacheLayer::max_ttl) if the layer sets that.
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

    /// Adds the directive to the extensions of a response. Of several directives the most restrictive applies: `private`, then
    /// `no_store`, then the lifetime that was added last.
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
