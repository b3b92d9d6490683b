//! A request that may be answered from the cache.

use std::ops::Range;

use crate::{
    http::{cache_control::RequestDirectives, no_vary_search::QueryVariance},
    key::Key,
};

/// A request that may be answered from the cache.
///
/// It is large, so it stays where it began for as long as nothing is fetched.
#[derive(Debug)]
pub(crate) struct CacheableRequest {
    pub(crate) key: Key,
    /// The query and where it stands in the key, if a response may say that it does not matter.
    pub(crate) search: Option<Box<Search>>,
    /// Only responses that may be shared between users will do.
    pub(crate) authorized: bool,
    /// It has preconditions or a range.
    pub(crate) selective: bool,
    /// A layer of the same cache further out fetches for the same key.
    pub(crate) within: bool,
    /// What its client demands of a response, if anything.
    pub(crate) demands: Option<Box<RequestDirectives>>,
    pub(crate) method: CacheableMethod,
}

/// What it takes to make the key of another query.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) query: Option<String>,
    pub(crate) span: Range<usize>,
}

impl CacheableRequest {
    /// Without anything so far; its key begins with what all keys of a cache begin with, and [`Settings::classify`] adds the rest.
    #[inline(always)]
    pub(crate) const fn new() -> Self {
        Self {
            key: Key::new(),
            search: None,
            authorized: false,
            selective: false,
            within: false,
            demands: None,
            method: CacheableMethod::Get,
        }
    }

    pub(crate) fn demands(&self) -> RequestDirectives {
        self.demands.as_deref().copied().unwrap_or_default()
    }

    /// The key under which `rule` has this request's response.
    pub(crate) fn key_by(&self, rule: &QueryVariance) -> Option<Key> {
        let Search { query, span } = self.search.as_deref()?;
        Some(self.key.with_query(span, rule.apply(query.as_deref()).as_deref()))
    }

    /// Where the rule for this request's path is kept.
    pub(crate) fn rule_key(&self) -> Option<Key> {
        Some(self.key.without_query(&self.search.as_deref()?.span))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheableMethod {
    Get,
    Head,
}
