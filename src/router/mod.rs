//! What the router knows about a request. axum is named in one file.

#[cfg(feature = "axum")]
mod axum;
#[cfg(not(feature = "axum"))]
mod none;

#[cfg(feature = "axum")]
pub(crate) use self::axum::*;
#[cfg(not(feature = "axum"))]
pub(crate) use self::none::*;
