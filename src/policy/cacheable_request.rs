//! A request that may be answered from the cache.

use std::ops::Range;

use crate::{
    http::{cache_control::RequestDirectives, no_vary_search::QueryVariance},
    key::Key,
};

/// A request that may be answered from the cache.
///
/// Large: it stays on the stack of `call`, and is boxed only for a fetch.
#[derive(Debug)]
pub(crate) struct CacheableRequest {
    pub(crate) key: Key,
    /// The query within the key, if the route heeds `No-Vary-Search`.
    pub(crate) query_span: Option<Box<QuerySpan>>,
    /// Only a response that may be shared between users is an answer (RFC 9111 §3.5).
    pub(crate) authorized: bool,
    /// It has preconditions or a range (RFC 9110 §13, §14).
    pub(crate) conditional: bool,
    /// An outer layer of the same cache fetches the same key.
    pub(crate) nested: bool,
    /// The cache directives of the request, if it has any (RFC 9111 §5.2.1).
    pub(crate) directives: Option<Box<RequestDirectives>>,
    pub(crate) method: CacheableMethod,
}

/// A query and its place within a key.
#[derive(Debug)]
pub(crate) struct QuerySpan {
    pub(crate) query: Option<String>,
    pub(crate) span: Range<usize>,
}

impl CacheableRequest {
    pub(crate) fn directives(&self) -> RequestDirectives {
        self.directives.as_deref().copied().unwrap_or_default()
    }

    /// The key of this request under a `No-Vary-Search` rule.
    pub(crate) fn key_by(&self, rule: &QueryVariance) -> Option<Key> {
        let QuerySpan { query, span } = self.query_span.as_deref()?;
        Some(self.key.with_query(span, rule.apply(query.as_deref()).as_deref()))
    }

    /// The key under which the `No-Vary-Search` rule of this request's path is stored.
    pub(crate) fn rule_key(&self) -> Option<Key> {
        Some(self.key.without_query(&self.query_span.as_deref()?.span))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheableMethod {
    Get,
    Head,
}
