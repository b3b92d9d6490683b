//! Types that handlers take as arguments and return as parts of responses.

pub(crate) mod cache_directive;
pub(crate) mod cache_tags;
pub(crate) mod invalidate;
pub(crate) mod preconditions;
