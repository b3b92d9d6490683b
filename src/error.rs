//! The crate's error type.

use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc};

type Source = Arc<dyn StdError + Send + Sync>;

/// An error of the cache, never of a handler.
///
/// The middleware never answers a request with this error: if a read of the store fails, the handler runs. Calls whose effect the caller
/// must be able to rely on return it, such as an invalidation.
///
/// With the feature `axum`, a handler can return it: the response is 503 without a body, and the error is logged.
///
/// ```
/// use axum::{extract::State, http::StatusCode};
/// use larder::Cache;
///
/// async fn publish(State(cache): State<Cache>) -> Result<StatusCode, larder::Error> {
///     // … the write itself …
///     cache.invalidate_tags(["posts"]).await?;
///     Ok(StatusCode::NO_CONTENT)
/// }
/// # let _ = publish;
/// ```
#[derive(Debug, Clone)]
pub struct Error {
    kind: Kind,
    message: Cow<'static, str>,
    source: Option<Source>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    InvalidInput,
    Timeout,
    Unavailable,
    Suspended,
    Unconfirmed,
}

impl Error {
    /// Creates an error for input that can never work, such as an empty tag; `message` should say what to do instead.
    pub fn invalid_input(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::InvalidInput, message)
    }

    /// Creates an error for an operation that exceeded its time limit.
    pub fn timeout(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Timeout, message)
    }

    /// Creates an error for a backend that is unreachable or refuses to work.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// Creates an error for a backend that is not used for the moment, because it has failed.
    #[allow(dead_code, reason = "only stores over the network are suspended")]
    pub(crate) fn suspended() -> Self {
        Self::new(Kind::Suspended, "the store failed, and is not used until it answers again")
    }

    /// Creates an error for an invalidation that was carried out, and that fewer replicas confirmed than required.
    #[allow(dead_code, reason = "only Redis confirms by its replicas")]
    pub(crate) fn unconfirmed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Unconfirmed, message)
    }

    /// Sets the cause of the error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// Returns whether the input was invalid: the same call will fail again.
    pub fn is_invalid_input(&self) -> bool {
        self.kind == Kind::InvalidInput
    }

    /// Returns whether a time limit was exceeded; the operation may or may not have taken effect.
    pub fn is_timeout(&self) -> bool {
        self.kind == Kind::Timeout
    }

    /// Returns whether the backend was unreachable or refused to work, or whether replicas of it were.
    pub fn is_unavailable(&self) -> bool {
        matches!(self.kind, Kind::Unavailable | Kind::Suspended | Kind::Unconfirmed)
    }

    /// Returns whether the backend was not used, because it has failed before.
    pub(crate) fn is_suspended(&self) -> bool {
        self.kind == Kind::Suspended
    }

    /// Returns whether an invalidation was carried out, and fewer replicas confirmed it than `RedisBuilder::durability` requires: it
    /// holds unless the server fails before its replicas have received it.
    pub fn is_unconfirmed(&self) -> bool {
        self.kind == Kind::Unconfirmed
    }

    fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
