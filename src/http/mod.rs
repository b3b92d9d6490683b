//! HTTP header fields and rules, as pure functions that do not depend on the cache.

pub(crate) mod accept;
pub(crate) mod authority;
pub(crate) mod cache_control;
pub(crate) mod cache_groups;
pub(crate) mod cache_status;
pub(crate) mod conditional;
pub(crate) mod date;
pub(crate) mod etag;
pub(crate) mod field;
pub(crate) mod forwarded;
pub(crate) mod identity_fields;
pub(crate) mod no_vary_search;
pub(crate) mod outcome;
pub(crate) mod range;
pub(crate) mod request_fields;
pub(crate) mod semantics;
pub(crate) mod stored_fields;
pub(crate) mod vary;
