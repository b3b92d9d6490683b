//! Which POSTs of a route a stored response may answer.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;

pub(crate) type ReadsOnly = Arc<dyn Fn(&Parts, &Bytes) -> bool + Send + Sync>;

/// Which POSTs of a route a stored response may answer.
#[derive(Clone)]
pub(crate) struct PostRule {
    /// The largest content that is read, in bytes.
    pub(crate) limit: usize,
    /// Whether a request only reads; without it, its response says so.
    pub(crate) reads: Option<ReadsOnly>,
}
