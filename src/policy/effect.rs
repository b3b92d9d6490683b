//! Requests whose content is part of the key: which are read, and which of them are writes.

use bytes::Bytes;
use http::{Method, request::Parts, response};

use super::{cacheable_request::CacheableMethod, settings::Settings, storable::states_lifetime};
use crate::{
    clock::Timestamp,
    handler::invalidate::{Invalidate, NothingImplied},
    http::cache_status::CacheStatus,
};

/// What a request does to the state of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Read,
    Write,
    /// The response says which of the two (RFC 9110 §9.3.3).
    ByResponse,
}

impl Settings {
    /// Returns how much content of a request with this method is read for its key, in bytes; `None` if none is.
    pub(crate) fn content_limit(&self, method: &Method) -> Option<usize> {
        let limit = match method.as_str() {
            "QUERY" => self.limits.query_content,
            "POST" => self.post.as_ref()?.limit,
            _ => return None,
        };
        (limit > 0).then_some(limit)
    }

    /// Returns the effect of a QUERY or POST; `content` is absent if it was not read.
    pub(crate) fn effect(&self, parts: &Parts, content: Option<&Bytes>) -> Effect {
        if parts.method != Method::POST {
            return Effect::Read;
        }
        match (self.post.as_ref().and_then(|post| post.reads.as_ref()), content) {
            (None, _) => Effect::ByResponse,
            (Some(reads), Some(content)) if reads(parts, content) => Effect::Read,
            (Some(_), _) => Effect::Write,
        }
    }

    /// Whether the response to a cacheable request shows that the request was a write.
    pub(crate) fn was_write(&self, method: CacheableMethod, response: &response::Parts, now: Timestamp) -> bool {
        if method != CacheableMethod::Post {
            return false;
        }
        if response.extensions.get::<CacheStatus>().is_some() {
            // A layer inside has decided.
            return !NothingImplied::is_in(&response.extensions);
        }
        let by_response = self.post.as_ref().is_some_and(|post| post.reads.is_none());
        Invalidate::is_asked_for(&response.extensions) || (by_response && !states_lifetime(&self.store, response, now))
    }
}
