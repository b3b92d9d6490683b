//! TODO folder

pub(crate) mod cache_policy;
pub(crate) mod cache_tags;
pub(crate) mod invalidate;
pub(crate) mod preconditions;
