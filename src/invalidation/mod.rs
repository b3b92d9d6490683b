//! The tags that a response has, and the tags that it invalidates.

pub(crate) mod after_response;
pub(crate) mod response_tags;
pub(crate) mod target_uri;
