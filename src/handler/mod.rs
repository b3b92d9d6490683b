//! TODO folder

pub(crate) mod cache_tags;
