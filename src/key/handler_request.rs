//! The request as handlers see it: normalized like its key, and without what is ignored. So a handler cannot tell two requests apart that
//! share an entry, as far as the fields of this file are concerned.

use std::borrow::Cow;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri,
    header::{
        ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, COOKIE, FORWARDED, HOST, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
        RANGE,
    },
    request::Parts,
    uri::{self, Authority, PathAndQuery},
};

use super::{content::CONTENT_FIELDS, rules::KeyRules};
use crate::{
    http::{
        authority::{Scheme, is_normal, is_plain, normal_authority},
        field::lines::joined_lines,
        forwarded::{is_forwarding, shown_without_addresses},
    },
    router,
};

/// The fields that a handler of a sealed route sees beside those in the key. They are harmless: what they change in a response is
/// evaluated by the cache itself, stored only where the response allows it, or not stored.
const SHOWN: [HeaderName; 10] = [
    ACCEPT_ENCODING,
    AUTHORIZATION,
    CONTENT_LENGTH,
    HOST,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    RANGE,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

impl KeyRules {
    /// Changes the request of a fetch: query parameters, host, lists and fields become those that the key is made of, and hidden extensions
    /// are removed.
    pub(crate) fn rewrite(&self, parts: &mut Parts) {
        if !self.query.is_exact() && parts.uri.query().is_some() {
            router::rewrite_uris(parts, |uri| with_query(uri, self.query.apply(uri.query())));
        }
        match self.ignores_host {
            true => remove_host(parts),
            false => normalize_host(parts),
        }
        join_lines(&mut parts.headers);
        if self.sealed || !self.ignored.is_empty() {
            self.hide_fields(&mut parts.headers, is_keyed_by_content(&parts.method));
        }
        self.normalizers.rewrite(&mut parts.headers, |field| self.is_shown(field));
        for hide in &self.hidden_extensions {
            hide(&mut parts.extensions);
        }
    }

    fn hide_fields(&self, headers: &mut HeaderMap, with_content: bool) {
        let describes = |field: &HeaderName| with_content && CONTENT_FIELDS.contains(field) && !self.ignores(field.as_str());
        let hidden: Vec<_> = headers.keys().filter(|field| !self.is_shown(field) && !describes(field)).cloned().collect();
        hidden.iter().for_each(|field| drop(headers.remove(field)));
        if self.sealed && headers.contains_key(COOKIE) {
            self.cookies.hide_others(headers);
        }
        if self.sealed {
            hide_addresses(headers);
        }
    }

    fn is_shown(&self, field: &HeaderName) -> bool {
        let is_keyed = || field == COOKIE || self.vary_on.contains(field) || is_forwarding(field.as_str());
        !self.ignores(field.as_str()) && (!self.sealed || SHOWN.contains(field) || is_keyed())
    }
}

/// Whether the fields that describe the content of a request are in its key.
fn is_keyed_by_content(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

/// Removes the addresses from `Forwarded`, which are not in the key.
fn hide_addresses(headers: &mut HeaderMap) {
    let Some(shown) = headers.get(FORWARDED).map(|value| shown_without_addresses(value.as_bytes())) else { return };
    match HeaderValue::try_from(shown) {
        Ok(shown) if !shown.is_empty() => drop(headers.insert(FORWARDED, shown)),
        _ => drop(headers.remove(FORWARDED)),
    }
}

fn with_query(uri: &Uri, query: Option<Cow<'_, str>>) -> Uri {
    let path = uri.path();
    let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    // A part of a valid query is valid. If it were not, the handler would receive the query as sent.
    let Ok(target) = target.parse::<PathAndQuery>() else { return uri.clone() };
    changed(uri, |parts| parts.path_and_query = Some(target))
}

fn with_authority(uri: &Uri, authority: Option<&Authority>) -> Uri {
    changed(uri, |parts| {
        if authority.is_none() {
            parts.scheme = None;
        }
        parts.authority = authority.cloned();
    })
}

fn changed(uri: &Uri, change: impl FnOnce(&mut uri::Parts)) -> Uri {
    let mut parts = uri.clone().into_parts();
    change(&mut parts);
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

fn remove_host(parts: &mut Parts) {
    parts.headers.remove(HOST);
    if parts.uri.authority().is_some() {
        router::rewrite_uris(parts, |uri| with_authority(uri, None));
    }
}

/// Writes host and port as in the key: in lower case, without the default port (RFC 9110 §4.2.3).
fn normalize_host(parts: &mut Parts) {
    let scheme = Scheme::of(&parts.uri);
    let normal = |authority: &[u8]| {
        let is_default_port = scheme.without_default_port(authority).len() < authority.len();
        (is_default_port || !(is_plain(authority) || is_normal(authority))).then(|| normal_authority(authority, scheme))?
    };
    if let Some(host) = parts.headers.get(HOST).and_then(|host| normal(host.as_bytes()))
        && let Ok(host) = HeaderValue::try_from(host)
    {
        parts.headers.insert(HOST, host);
    }
    let authority = parts.uri.authority().and_then(|authority| normal(authority.as_str().as_bytes()));
    if let Some(authority) = authority.and_then(|authority| Authority::try_from(authority).ok()) {
        router::rewrite_uris(parts, |uri| with_authority(uri, Some(&authority)));
    }
}

/// Writes each field on one line (RFC 9110 §5.3; for cookies, RFC 9113 §8.2.3): some handlers read only the first line.
fn join_lines(headers: &mut HeaderMap) {
    if headers.len() == headers.keys_len() {
        return;
    }
    let repeated: Vec<_> = headers.keys().filter(|field| headers.get_all(*field).iter().nth(1).is_some()).cloned().collect();
    for field in repeated {
        let joined = match field {
            COOKIE => headers.get_all(&field).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]),
            _ => joined_lines(headers, &field).map(|joined| joined.to_vec()).unwrap_or_default(),
        };
        // The parts are valid values, and so is their list.
        if let Ok(value) = HeaderValue::from_bytes(&joined) {
            headers.insert(field, value);
        }
    }
}
