//! Which tags a response has, and which tags it invalidates.

pub(crate) mod after_response;
pub(crate) mod response_tags;
pub(crate) mod target_uri;
