//! The error of the crate.

use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc};

type Source = Arc<dyn StdError + Send + Sync>;

/// What went wrong in the cache; never what went wrong in a handler.
///
/// The middleware never answers a request with this error: reads fail open and the handler runs. It reaches the code that
/// asked for something the cache could not promise, such as an invalidation.
///
/// With the feature `axum`, a handler can return it: the answer is 503 without a body, and the error is logged.
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
}

impl Error {
    /// An error for input that can never work, such as an empty tag; `message` says what to do instead.
    pub fn invalid_input(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::InvalidInput, message)
    }

    /// An error for an operation that took longer than its limit.
    pub fn timeout(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Timeout, message)
    }

    /// An error for a backend that cannot be reached or that refuses to work.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// Keeps `source` as the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// Whether the input was at fault: the same call will fail again.
    pub fn is_invalid_input(&self) -> bool {
        self.kind == Kind::InvalidInput
    }

    /// Whether a time limit ran out; the operation may or may not have taken effect.
    pub fn is_timeout(&self) -> bool {
        self.kind == Kind::Timeout
    }

    /// Whether the backend could not be reached or refused to work.
    pub fn is_unavailable(&self) -> bool {
        self.kind == Kind::Unavailable
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
