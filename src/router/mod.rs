//! Access to the router: matched route, captures, original URI. Only `axum.rs` names axum.

#[cfg(feature = "axum")]
mod axum;
pub(crate) mod captures;
#[cfg(not(feature = "axum"))]
mod none;

#[cfg(feature = "axum")]
pub(crate) use self::axum::*;
#[cfg(not(feature = "axum"))]
pub(crate) use self::none::*;
