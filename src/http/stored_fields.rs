//! The header fields of a response that are stored (RFC 9111 §3.1), and the form in which they are stored.

use std::{cell::Cell, iter, mem};

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
pub(crate) struct StoredFields {
    fields: Vec<Field>,
    /// The values that are not interned, one after the other: copied at once, since a clone would share them with the response, which takes
    /// an allocation for each.
    values: Vec<u8>,
    /// The value of `Content-Length`, which is not among the fields.
    pub(crate) content_length: Option<u64>,
}

/// The largest scratch map that is reused: `HeaderMap::clone` copies the whole index, so a large map would bloat every entry.
const MAX_SCRATCH_CAPACITY: usize = 12;

thread_local! {
    /// The names of the latest response's fields, with empty values: only a clone of a `HeaderMap` allocates exactly as many entries as it
    /// has. Most responses of a site have the same fields, whose names need not be inserted again.
    static SCRATCH: Cell<HeaderMap> = Cell::default();
}

const EMPTY: HeaderValue = HeaderValue::from_static("");

#[derive(Debug)]
struct Field {
    name: HeaderName,
    value: FieldValue,
}

#[derive(Debug)]
enum FieldValue {
    Interned(HeaderValue),
    /// The next bytes of the values.
    Separate {
        length: usize,
        is_sensitive: bool,
    },
}

impl StoredFields {
    /// Selects the fields of a response that may be stored, without those that `excluded` accepts.
    pub(crate) fn of(response: &HeaderMap, excluded: impl Fn(&HeaderName) -> bool) -> Self {
        /// `Date`, which [`complete`](StoredFields::complete) may add.
        const ADDED: usize = 1;
        const DATE_BYTES: usize = 29;
        // `complete` writes both again: they depend on the time of use, and on the stored body.
        let is_rewritten = |name: &HeaderName| matches!(*name, AGE | CONTENT_LENGTH);
        let (mut bytes, mut named) = (DATE_BYTES, Vec::new());
        for (name, value) in response {
            if !is_rewritten(name) && !is_internable(name, value) {
                bytes += value.len();
            }
            if *name == CONNECTION && named.is_empty() {
                named.extend(connection_options(response));
            }
        }
        let mut stored =
            Self { fields: Vec::with_capacity(response.len() + ADDED), values: Vec::with_capacity(bytes), content_length: None };
        let mut content_length = None;
        for (name, value) in response {
            if *name == CONTENT_LENGTH {
                // The first line counts.
                content_length.get_or_insert_with(|| value.to_str().ok()?.parse().ok());
            }
            if is_rewritten(name) || is_connection_specific(name) || named.contains(name) || excluded(name) {
                continue;
            }
            match is_internable(name, value) {
                true => stored.fields.push(Field { name: name.clone(), value: FieldValue::Interned(intern(value)) }),
                false => stored.push(name.clone(), value),
            }
        }
        Self { content_length: content_length.flatten(), ..stored }
    }

    pub(crate) fn contains(&self, field: &HeaderName) -> bool {
        self.fields.iter().any(|Field { name, .. }| name == field)
    }

    pub(crate) fn push(&mut self, name: HeaderName, value: &HeaderValue) {
        self.values.extend_from_slice(value.as_bytes());
        let value = FieldValue::Separate { length: value.len(), is_sensitive: value.is_sensitive() };
        self.fields.push(Field { name, value });
    }

    /// Builds the header map of a stored response whose body has `length` bytes: a slot for `Age` comes first, and all values that are
    /// not interned share one allocation of the exact size. Otherwise one stored value would keep a connection's read buffer alive.
    pub(crate) fn complete(mut self, status: StatusCode, length: usize, now: Timestamp) -> HeaderMap {
        if !self.contains(&DATE) {
            self.push(DATE, &http_date(now));
        }
        let mut separate = Bytes::from(mem::take(&mut self.values).into_boxed_slice());
        let length = has_content_length(status).then(|| decimal(length as u64));
        let names = self.names(length.is_some());
        let mut headers = names.clone();
        if names.capacity() <= MAX_SCRATCH_CAPACITY {
            // Fails only while the thread ends.
            let _ = SCRATCH.try_with(|scratch| scratch.set(names));
        }
        let value_of = |Field { value, .. }| match value {
            FieldValue::Interned(value) => value,
            FieldValue::Separate { length, is_sensitive } => slice(separate.split_to(length), is_sensitive),
        };
        let values = iter::once(decimal(0)).chain(self.fields.into_iter().map(value_of)).chain(length);
        headers.values_mut().zip(values).for_each(|(empty, value)| *empty = value);
        headers
    }

    /// Returns a map of `Age`, these names and maybe `Content-Length`, with empty values. Its values have the order of the names: equal names
    /// follow each other, here as in the response.
    fn names(&self, has_length: bool) -> HeaderMap {
        let fields = self.fields.iter().map(|field| &field.name);
        let names = iter::once(&AGE).chain(fields).chain(has_length.then_some(&CONTENT_LENGTH));
        let mut headers = SCRATCH.try_with(Cell::take).unwrap_or_default();
        if headers.len() != self.fields.len() + 1 + usize::from(has_length)
            || !headers.iter().map(|(name, _)| name).eq(names.clone())
        {
            headers.clear();
            headers.reserve(self.fields.len() + 2);
            names.for_each(|name| _ = headers.append(name, EMPTY));
        }
        headers
    }
}

/// Returns the value with these bytes, which were those of a value.
fn slice(bytes: Bytes, is_sensitive: bool) -> HeaderValue {
    let mut slice = HeaderValue::from_maybe_shared(bytes).expect("the bytes of a valid value");
    slice.set_sensitive(is_sensitive);
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
