//! The types by which handlers talk to the cache: arguments of a handler, and parts of its response.

pub(crate) mod cache_directive;
pub(crate) mod cache_tags;
pub(crate) mod invalidate;
pub(crate) mod preconditions;
