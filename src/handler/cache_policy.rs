use std::time::Duration;

/// What a handler says about storing its own response, where a header would be clumsy; it is not sent.
///
/// ```
/// use std::time::Duration;
/// use larder::CachePolicy;
///
/// async fn weather() -> (CachePolicy, &'static str) {
///     (CachePolicy::ttl(Duration::from_secs(5)), "sunny")
/// }
/// # let _ = weather;
/// ```
///
/// A lifetime goes before `Cache-Control` and before the route's; `no-store` and `private` in a header are stronger than
/// any lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachePolicy(Directive);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Directive {
    Ttl(Duration),
    NoStore,
    Private,
}

impl CachePolicy {
    /// Stores the response for `ttl`.
    pub const fn ttl(ttl: Duration) -> Self {
        Self(Directive::Ttl(ttl))
    }

    /// Does not store the response.
    pub const fn no_store() -> Self {
        Self(Directive::NoStore)
    }

    /// Does not store the response, because it is for one user; the same as the extension [`Private`].
    pub const fn private() -> Self {
        Self(Directive::Private)
    }

    pub(crate) fn directive(&self) -> Directive {
        self.0
    }
}

/// Marks a response as one user's own: a layer inside the cache that authenticates puts it into the response's
/// extensions, and the response is not stored, whatever the handler says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Private;
