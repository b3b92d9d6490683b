//! The header fields of a response that are stored (RFC 9111 §3.1), and the form in which they are stored.

use std::cell::Cell;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{AGE, CONNECTION, CONTENT_LENGTH, DATE},
};

use super::{
    date::http_date,
    field::{
        decimal::decimal,
        interned::{intern, is_internable},
        lines::members,
        name_filter::NameFilter,
    },
};
use crate::clock::Timestamp;

/// The fields of a response that will be stored, while its body is still incomplete.
#[derive(Debug, Default)]
pub(crate) struct StoredFields(Vec<Field>);

/// The largest scratch map that is reused: `HeaderMap::clone` copies the whole index, so a large map would bloat every entry.
const MAX_SCRATCH_CAPACITY: usize = 12;

thread_local! {
    /// An empty map to collect fields in: only a clone of a `HeaderMap` allocates exactly as many entries as it has.
    static SCRATCH: Cell<HeaderMap> = Cell::default();
}

#[derive(Debug)]
struct Field {
    name: HeaderName,
    value: HeaderValue,
    is_interned: bool,
}

impl StoredFields {
    /// Selects the fields of a response that may be stored, without those that `excluded` accepts.
    pub(crate) fn of(response: &HeaderMap, excluded: impl Fn(&HeaderName) -> bool) -> Self {
        /// `Date` and `Content-Length`, which [`complete`](StoredFields::complete) may add.
        const ADDED: usize = 2;
        let named: Vec<_> = connection_options(response).collect();
        let mut fields = Vec::with_capacity(response.len() + ADDED);
        for (name, value) in response {
            // `complete` writes both again: they depend on the time of use, and on the stored body.
            let is_rewritten = matches!(*name, AGE | CONTENT_LENGTH);
            if !is_rewritten && !is_connection_specific(name) && !named.contains(name) && !excluded(name) {
                let is_interned = is_internable(name, value);
                let value = if is_interned { intern(value) } else { value.clone() };
                fields.push(Field { name: name.clone(), value, is_interned });
            }
        }
        Self(fields)
    }

    pub(crate) fn contains(&self, field: &HeaderName) -> bool {
        self.0.iter().any(|Field { name, .. }| name == field)
    }

    pub(crate) fn push(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push(Field { name, value, is_interned: false });
    }

    /// Builds the header map of a stored response whose body has `length` bytes: a slot for `Age` comes first, and all values that are
    /// not interned share one allocation of the exact size. Otherwise one stored value would keep a connection's read buffer alive.
    pub(crate) fn complete(mut self, status: StatusCode, length: usize, now: Timestamp) -> HeaderMap {
        if !self.contains(&DATE) {
            self.push(DATE, http_date(now));
        }
        let mut values = self.separate_values();
        let mut headers = SCRATCH.try_with(Cell::take).unwrap_or_default();
        headers.reserve(self.0.len() + 2);
        headers.insert(AGE, HeaderValue::from_static("0"));
        for Field { name, value, is_interned } in self.0 {
            let value = if is_interned { value } else { slice_of(&value, &mut values) };
            headers.append(name, value);
        }
        if has_content_length(status) {
            headers.append(CONTENT_LENGTH, decimal(length as u64));
        }
        let exact = headers.clone();
        if headers.capacity() <= MAX_SCRATCH_CAPACITY {
            headers.clear();
            // Fails only while the thread ends.
            let _ = SCRATCH.try_with(|scratch| scratch.set(headers));
        }
        exact
    }

    /// Concatenates the values that are not interned.
    fn separate_values(&self) -> Bytes {
        let separate = || self.0.iter().filter(|field| !field.is_interned).map(|field| &field.value);
        let mut values = Vec::with_capacity(separate().map(HeaderValue::len).sum());
        separate().for_each(|value| values.extend_from_slice(value.as_bytes()));
        values.into()
    }
}

/// Returns the same value as a slice of `values`, which begins with its bytes.
fn slice_of(value: &HeaderValue, values: &mut Bytes) -> HeaderValue {
    // The bytes are those of a valid header value.
    let mut slice = HeaderValue::from_maybe_shared(values.split_to(value.len())).unwrap_or_else(|_| value.clone());
    slice.set_sensitive(value.is_sensitive());
    slice
}

/// Returns whether a field belongs to one connection, and is never stored (RFC 9111 §3.1, RFC 9110 §7.6.1).
fn is_connection_specific(name: &HeaderName) -> bool {
    const NAMES: [&str; 10] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    static FILTER: NameFilter = NameFilter::of(&NAMES);
    FILTER.passes(name.as_str()) && NAMES.contains(&name.as_str())
}

/// Returns whether a field describes the request that filled the cache, and is wrong for every later request: identifiers, traces,
/// durations and the client's quota.
pub(crate) fn is_request_specific(name: &HeaderName) -> bool {
    const NAMES: [&str; 24] = [
        "x-request-id",
        "x-correlation-id",
        "traceparent",
        "tracestate",
        "server-timing",
        "retry-after",
        "ratelimit",
        "ratelimit-policy",
        "ratelimit-limit",
        "ratelimit-remaining",
        "ratelimit-reset",
        "request-id",
        "x-trace-id",
        "x-runtime",
        "x-response-time",
        "x-amzn-trace-id",
        "x-amzn-requestid",
        "x-amz-request-id",
        "x-amz-cf-id",
        "x-azure-ref",
        "x-cloud-trace-context",
        "x-vercel-id",
        "fly-request-id",
        "cf-ray",
    ];
    const PREFIXES: [&str; 3] = ["x-ratelimit-", "x-rate-limit-", "x-b3-"];
    static FILTER: NameFilter = NameFilter::of(&NAMES);
    let name = name.as_str();
    (FILTER.passes(name) && NAMES.contains(&name)) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Returns whether a field gives its receiver a credential, as `Set-Cookie` does.
pub(crate) fn is_credential(name: &HeaderName) -> bool {
    const NAMES: [&str; 9] = [
        "authorization",
        "x-csrf-token",
        "csrf-token",
        "x-xsrf-token",
        "x-auth-token",
        "x-access-token",
        "x-session-token",
        "x-amz-security-token",
        "x-refresh-token",
    ];
    static FILTER: NameFilter = NameFilter::of(&NAMES);
    FILTER.passes(name.as_str()) && NAMES.contains(&name.as_str())
}

/// Removes the fields that belong to one connection, including those that `Connection` names (RFC 9110 §7.6.1).
pub(crate) fn remove_connection_fields(headers: &mut HeaderMap) {
    let named: Vec<_> = connection_options(headers).collect();
    remove_all(headers, |name| is_connection_specific(name) || named.contains(name));
}

/// Removes the fields that `matches` accepts. Usually there are none: one pass over the present fields costs less than a search for
/// each of many names.
fn remove_all(headers: &mut HeaderMap, matches: impl Fn(&HeaderName) -> bool) {
    let removed: Vec<_> = headers.keys().filter(|name| matches(name)).cloned().collect();
    removed.iter().for_each(|name| drop(headers.remove(name)));
}

/// Returns whether a response with this status has `Content-Length`: not with 1xx and 204 (RFC 9110 §8.6).
fn has_content_length(status: StatusCode) -> bool {
    !(status.is_informational() || status == StatusCode::NO_CONTENT)
}

/// Returns the field names that `Connection` lists.
fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    members(headers, &CONNECTION).filter_map(|name| HeaderName::from_bytes(name).ok())
}
