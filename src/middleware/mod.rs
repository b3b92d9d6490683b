//! The face toward tower: layer, service, and future.

pub(crate) mod bypass;
#[cfg(feature = "compression")]
pub(crate) mod compress;
pub(crate) mod future;
mod keyed_by_content;
pub(crate) mod layer;
pub(crate) mod layer_limits;
mod request_content;
pub(crate) mod request_rules;
mod rewarm;
pub(crate) mod service;
pub(crate) mod unsafe_method;
