//! A request that may be answered from the cache.

use std::{borrow::Cow, ops::Range};

use http::{
    Extensions, HeaderMap, HeaderName, Method, Uri,
    header::{CONTENT_TYPE, IF_NONE_MATCH},
    request::Parts,
};

use super::settings::{Credentials, Settings};
use crate::{
    body::request_content::Content,
    handler::cache_directive::{CacheDirective, Directive},
    http::{
        cache_control::RequestDirectives,
        cache_status::{Forward, Reason},
        identity_fields::is_identity,
        no_vary_search::QueryVariance,
        request_fields::RequestFields,
    },
    key::Key,
    router,
};

/// A request that may be answered from the cache.
///
/// Large: it stays on the stack of `call`, and is boxed only for a fetch.
#[derive(Debug)]
pub(crate) struct CacheableRequest {
    pub(crate) key: Key,
    /// The query within the key, if the route obeys `No-Vary-Search`.
    pub(crate) query_span: Option<Box<QuerySpan>>,
    /// Only a response that may be shared between users is an answer (RFC 9111 §3.5).
    pub(crate) authorized: bool,
    /// It has preconditions or a range (RFC 9110 §13, §14).
    pub(crate) conditional: bool,
    /// An outer layer of the same cache fetches the same key.
    pub(crate) nested: bool,
    /// The cache directives of the request (RFC 9111 §5.2.1), if it has any and its client is trusted.
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
    /// Creates a request that [`Settings::classify`] has yet to fill.
    #[inline]
    pub(crate) const fn new() -> Self {
        Self {
            key: Key::new(),
            query_span: None,
            authorized: false,
            conditional: false,
            nested: false,
            directives: None,
            method: CacheableMethod::Get,
        }
    }

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
    /// Safe, with content (RFC 10008).
    Query,
    /// Where the route says that it may only read.
    Post,
}

impl CacheableMethod {
    /// Whether the content of the request is in its key.
    pub(crate) fn has_content(self) -> bool {
        matches!(self, Self::Query | Self::Post)
    }
}

impl Settings {
    /// Makes the key of a request that may be answered from the cache, or says why it must bypass.
    ///
    /// Writes into `request`, which is large, and would be copied on return.
    pub(crate) fn classify(
        &self,
        request: &mut CacheableRequest,
        key_prefix: &[u8],
        parts: &Parts,
        content: Content,
    ) -> Result<(), (Forward, Reason)> {
        let method = match parts.method {
            Method::GET => CacheableMethod::Get,
            Method::HEAD => CacheableMethod::Head,
            _ => return Err((Forward::Method, Reason::Method)),
        };
        let fields = RequestFields::read(&parts.headers);
        let has_content = fields.content || content != Content::Absent;
        self.classify_as(request, key_prefix, parts, (method, &fields, has_content))
    }

    /// The same for a QUERY or POST, whose content becomes part of the key.
    pub(crate) fn classify_content(
        &self,
        request: &mut CacheableRequest,
        key_prefix: &[u8],
        parts: &Parts,
        content: &[u8],
    ) -> Result<(), (Forward, Reason)> {
        let method = if parts.method == Method::POST { CacheableMethod::Post } else { CacheableMethod::Query };
        match method {
            CacheableMethod::Query if !parts.headers.contains_key(CONTENT_TYPE) => {
                return Err((Forward::Bypass, Reason::NoContentType));
            }
            // For a POST it says whether the method may be performed (RFC 9110 §13.1.2), not which response is wanted.
            CacheableMethod::Post if parts.headers.contains_key(IF_NONE_MATCH) => {
                return Err((Forward::Bypass, Reason::Precondition));
            }
            _ => {}
        }
        let fields = RequestFields::read(&parts.headers);
        self.classify_as(request, key_prefix, parts, (method, &fields, false))?;
        if method == CacheableMethod::Post {
            // `If-Modified-Since` and `Range` are of GET (RFC 9110 §13.1.3, §14.2).
            request.conditional = false;
        }
        let (key, added) = self.key.with_content(&request.key, key_prefix.len(), &parts.method, &parts.headers, content);
        request.key = key;
        if let Some(QuerySpan { span, .. }) = request.query_span.as_deref_mut() {
            *span = span.start + added..span.end + added;
        }
        Ok(())
    }

    #[inline(always)]
    fn classify_as(
        &self,
        request: &mut CacheableRequest,
        key_prefix: &[u8],
        parts: &Parts,
        (method, fields, has_content): (CacheableMethod, &RequestFields<'_>, bool),
    ) -> Result<(), (Forward, Reason)> {
        if fields.size > self.limits.request_fields {
            return Err((Forward::Bypass, Reason::RequestFieldsTooLarge));
        }
        let has_long_query = |uri: &Uri| uri.query().is_some_and(|query| query.len() > self.limits.query);
        if self.reads_parameters() && [router::original_uri(parts), &parts.uri].into_iter().any(has_long_query) {
            return Err((Forward::Bypass, Reason::QueryTooLong));
        }
        let principal = self.key.principal.as_ref().and_then(|principal| principal(parts));
        self.check(fields, has_content, parts, principal.is_some()).map_err(|reason| (Forward::Bypass, reason))?;
        request.authorized = principal.is_none() && self.is_authorized(fields, &parts.headers);
        request.conditional = fields.conditional;
        request.directives =
            (fields.directives && self.trusts(parts)).then(|| Box::new(RequestDirectives::parse(&parts.headers)));
        request.method = method;
        request.key.extend(key_prefix);
        let span = self.key.push(&mut request.key, parts, fields, principal.as_deref());
        let span = span.map_err(|reason| (Forward::Bypass, reason))?;
        request.query_span = self.no_vary_search.then(|| {
            let query = self.key.query.apply(router::original_uri(parts).query()).map(Cow::into_owned);
            Box::new(QuerySpan { query, span })
        });
        Ok(())
    }

    /// Whether a rule reads the parameters of the query one by one.
    fn reads_parameters(&self) -> bool {
        self.no_vary_search || !self.key.query.is_exact()
    }

    /// Whether the cache directives of the request are obeyed.
    fn trusts(&self, parts: &Parts) -> bool {
        self.trusted.as_ref().is_some_and(|trusted| trusted(parts))
    }

    /// Returns an error for a request that no shared response can answer.
    fn check(&self, fields: &RequestFields<'_>, has_content: bool, parts: &Parts, known_principal: bool) -> Result<(), Reason> {
        let has_cookie = fields.cookie && !self.key.ignores("cookie");
        let cookie = has_cookie && !known_principal && self.key.cookies.bypass(&parts.headers);
        match fields {
            RequestFields { repeated_host: true, .. } => Err(Reason::InvalidHost),
            RequestFields { overridden: true, .. } => Err(Reason::RequestOverride),
            _ if has_content => Err(Reason::RequestBody),
            RequestFields { precondition: true, .. } => Err(Reason::Precondition),
            RequestFields { upgrade: true, .. } => Err(Reason::Upgrade),
            RequestFields { connection_options: true, .. } => Err(Reason::ConnectionOptions),
            _ if cookie => Err(Reason::RequestCookie),
            _ if forbids_storing(&parts.extensions) => Err(Reason::RequestDirective),
            _ if self.bypass_if.as_ref().is_some_and(|bypass_if| bypass_if(parts)) => Err(Reason::BypassIf),
            _ => Ok(()),
        }
    }

    /// Whether a field names the user of the request, and may have an effect.
    #[inline]
    fn is_authorized(&self, fields: &RequestFields<'_>, headers: &HeaderMap) -> bool {
        (fields.authorization && self.authorization == Credentials::Matter && !self.key.ignores("authorization"))
            || (fields.identity && self.identity_fields == Credentials::Matter && self.has_identity(headers))
    }

    /// Whether a field that names the user is neither in the key nor hidden from the handler.
    #[cold]
    fn has_identity(&self, headers: &HeaderMap) -> bool {
        let keyed = |field: &HeaderName| self.key.vary_on.contains(field) || self.key.ignores(field.as_str());
        headers.keys().any(|field| is_identity(field.as_str()) && !keyed(field))
    }
}

/// Whether a layer outside the cache has forbidden to store the response to this request.
fn forbids_storing(request: &Extensions) -> bool {
    let directive = request.get::<CacheDirective>().map(CacheDirective::directive);
    matches!(directive, Some(Directive::NoStore | Directive::Private))
}
