//! What the recipes with sessions share: a secret token, escaped text, and an error.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tower_sessions::session;

pub(crate) fn random_token() -> Result<String, Failed> {
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).map_err(|_| Failed::Internal)?;
    Ok(secret.iter().map(|byte| format!("{byte:02x}")).collect())
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

pub(crate) enum Failed {
    Forbidden,
    Internal,
    /// Written, and not invalidated yet: the cache repeats the invalidation by itself.
    NotInvalidated(larder::Error),
}

impl From<session::Error> for Failed {
    fn from(_: session::Error) -> Self {
        Self::Internal
    }
}

impl From<larder::Error> for Failed {
    fn from(error: larder::Error) -> Self {
        Self::NotInvalidated(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        match self {
            Self::Forbidden => StatusCode::FORBIDDEN.into_response(),
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Self::NotInvalidated(error) => error.into_response(),
        }
    }
}
