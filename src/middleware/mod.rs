//! The face toward tower: layer, service, and future.

pub(crate) mod bypass;
pub(crate) mod future;
pub(crate) mod layer;
pub(crate) mod service;
pub(crate) mod unsafe_method;
