//! A request that may be answered from the cache.

use std::{borrow::Cow, ops::Range};

use http::{Method, Uri, request::Parts};

use super::settings::{Authorization, Settings};
use crate::{
    body::request_content::Content,
    http::{
        cache_control::RequestDirectives,
        cache_status::{Forward, Reason},
        no_vary_search::QueryVariance,
        request_fields::{MAX_FIELDS_SIZE, RequestFields},
    },
    key::{Key, query::MAX_QUERY, rules::Cookies},
    router,
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

impl Settings {
    /// Makes the key of a request that may be answered from the cache, or says why it must bypass.
    ///
    /// Inlined: the request is large, and would be copied on return.
    #[inline(always)]
    pub(crate) fn classify(
        &self,
        key_prefix: &[u8],
        parts: &Parts,
        content: Content,
    ) -> Result<CacheableRequest, (Forward, Reason)> {
        let method = match parts.method {
            Method::GET => CacheableMethod::Get,
            Method::HEAD => CacheableMethod::Head,
            _ => return Err((Forward::Method, Reason::Method)),
        };
        let fields = RequestFields::read(&parts.headers);
        if fields.size > MAX_FIELDS_SIZE {
            return Err((Forward::Bypass, Reason::RequestFieldsTooLarge));
        }
        if self.reads_parameters() && [router::original_uri(parts), &parts.uri].into_iter().any(has_long_query) {
            return Err((Forward::Bypass, Reason::QueryTooLong));
        }
        let principal = self.key.principal.as_ref().and_then(|principal| principal(parts));
        self.check(&fields, content, principal.is_some()).map_err(|reason| (Forward::Bypass, reason))?;
        let mut request = CacheableRequest {
            key: Key::new(),
            query_span: None,
            authorized: fields.authorization && self.authorization == Authorization::Matters && principal.is_none(),
            conditional: fields.conditional,
            nested: false,
            directives: fields.directives.then(|| Box::new(self.directives(parts))),
            method,
        };
        request.key.extend(key_prefix);
        let span = self.key.push(&mut request.key, parts, &fields, principal.as_deref());
        let span = span.map_err(|reason| (Forward::Bypass, reason))?;
        request.query_span = self.no_vary_search.then(|| {
            let query = self.key.query.apply(router::original_uri(parts).query()).map(Cow::into_owned);
            Box::new(QuerySpan { query, span })
        });
        Ok(request)
    }

    /// Whether a rule reads the parameters of the query one by one.
    fn reads_parameters(&self) -> bool {
        self.no_vary_search || !self.key.query.is_exact()
    }

    /// The request's cache directives; of an untrusted client only those that cause no fetch.
    fn directives(&self, parts: &Parts) -> RequestDirectives {
        let directives = RequestDirectives::parse(&parts.headers);
        if self.trusted.as_ref().is_some_and(|trusted| trusted(parts)) { directives } else { directives.untrusted() }
    }

    /// Returns an error for a request that no shared response can answer.
    fn check(&self, fields: &RequestFields<'_>, content: Content, known_principal: bool) -> Result<(), Reason> {
        let cookie = fields.cookie && self.key.cookies == Cookies::Unknown && !known_principal;
        let content = fields.content || content != Content::Absent;
        match fields {
            RequestFields { repeated_host: true, .. } => Err(Reason::InvalidHost),
            RequestFields { overridden: true, .. } => Err(Reason::RequestOverride),
            _ if content => Err(Reason::RequestBody),
            RequestFields { precondition: true, .. } => Err(Reason::Precondition),
            RequestFields { upgrade: true, .. } => Err(Reason::Upgrade),
            RequestFields { connection_options: true, .. } => Err(Reason::ConnectionOptions),
            _ if cookie => Err(Reason::RequestCookie),
            _ => Ok(()),
        }
    }
}

fn has_long_query(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| query.len() > MAX_QUERY)
}
