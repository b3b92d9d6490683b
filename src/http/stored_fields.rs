//! Which fields of a response are stored, and in what form.

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
        interned::{is_internable, shared},
        name_filter::NameFilter,
    },
};
use crate::clock::Timestamp;

/// The fields of a response that outlive the exchange it came in, until its body is known.
#[derive(Debug, Default)]
pub(crate) struct StoredFields(Vec<Field>);

/// How many fields the map has room for that is kept: a copy has the index of the original, whatever it holds.
const SCRATCH_ROOM: usize = 12;

thread_local! {
    /// A map without fields, to gather them in: one of their exact number can only be had by copying.
    static SCRATCH: Cell<HeaderMap> = Cell::default();
}

#[derive(Debug)]
struct Field {
    name: HeaderName,
    value: HeaderValue,
    /// Whether other responses share it.
    is_internable: bool,
}

impl StoredFields {
    /// The fields of a response, without those `left_out`.
    pub(crate) fn of(response: &HeaderMap, left_out: impl Fn(&HeaderName) -> bool) -> Self {
        /// `Date` and `Content-Length`.
        const MORE: usize = 2;
        let named: Vec<_> = connection_options(response).collect();
        let mut fields = Vec::with_capacity(response.len() + MORE);
        for (name, value) in response {
            // Those two are of this moment and this body; others will stand in their place.
            let is_written_anew = matches!(*name, AGE | CONTENT_LENGTH);
            if !is_written_anew && !is_of_a_connection(name) && !named.contains(name) && !left_out(name) {
                let is_internable = is_internable(name, value);
                let value = if is_internable { shared(value) } else { value.clone() };
                fields.push(Field { name: name.clone(), value, is_internable });
            }
        }
        Self(fields)
    }

    pub(crate) fn contains(&self, field: &HeaderName) -> bool {
        self.0.iter().any(|Field { name, .. }| name == field)
    }

    pub(crate) fn push(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push(Field { name, value, is_internable: false });
    }

    /// The fields of a response whose body has `length` bytes, in their final form: a slot for `Age`, which stands first, and the
    /// values that came with the response in one allocation of the exact size. A stored field must not keep a connection's whole read buffer alive.
    pub(crate) fn complete(mut self, status: StatusCode, length: usize, now: Timestamp) -> HeaderMap {
        if !self.contains(&DATE) {
            self.push(DATE, http_date(now));
        }
        let mut values = self.own_values();
        let mut headers = SCRATCH.try_with(Cell::take).unwrap_or_default();
        headers.reserve(self.0.len() + 2);
        headers.insert(AGE, HeaderValue::from_static("0"));
        for Field { name, value, is_internable } in self.0 {
            let value = if is_internable { value } else { moved(&value, &mut values) };
            headers.append(name, value);
        }
        if has_content_length(status) {
            headers.append(CONTENT_LENGTH, decimal(length as u64));
        }
        let exact = headers.clone();
        if headers.capacity() <= SCRATCH_ROOM {
            headers.clear();
            // Without it, the next is made anew.
            let _ = SCRATCH.try_with(|scratch| scratch.set(headers));
        }
        exact
    }

    /// The values that no other response shares, one after the other.
    fn own_values(&self) -> Bytes {
        let own = || self.0.iter().filter(|field| !field.is_internable).map(|field| &field.value);
        let mut values = Vec::with_capacity(own().map(HeaderValue::len).sum());
        own().for_each(|value| values.extend_from_slice(value.as_bytes()));
        values.into()
    }
}

/// The same value, in the bytes that begin `values`.
fn moved(value: &HeaderValue, values: &mut Bytes) -> HeaderValue {
    // The bytes were a header value a moment ago, so they still are.
    let mut moved = HeaderValue::from_maybe_shared(values.split_to(value.len())).unwrap_or_else(|_| value.clone());
    moved.set_sensitive(value.is_sensitive());
    moved
}

/// Whether a field belongs to one connection, never to a stored response (RFC 9111 §3.1, RFC 9110 §7.6.1).
fn is_of_a_connection(name: &HeaderName) -> bool {
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
    static SIEVE: NameFilter = NameFilter::of(&NAMES);
    SIEVE.passes(name.as_str()) && NAMES.contains(&name.as_str())
}

/// Whether a field describes the request which filled the cache, and would lie about every later one.
pub(crate) fn is_of_a_request(name: &HeaderName) -> bool {
    const NAMES: [&str; 5] = ["x-request-id", "x-correlation-id", "traceparent", "tracestate", "server-timing"];
    static SIEVE: NameFilter = NameFilter::of(&NAMES);
    SIEVE.passes(name.as_str()) && NAMES.contains(&name.as_str())
}

/// Removes what belongs to one connection, and what its `Connection` names.
pub(crate) fn remove_connection_fields(headers: &mut HeaderMap) {
    let named: Vec<_> = connection_options(headers).collect();
    remove_all(headers, |name| is_of_a_connection(name) || named.contains(name));
}

/// Removes the few fields, if any, that are found: looking for each of many names would cost more.
fn remove_all(headers: &mut HeaderMap, found: impl Fn(&HeaderName) -> bool) {
    let removed: Vec<_> = headers.keys().filter(|name| found(name)).cloned().collect();
    removed.iter().for_each(|name| drop(headers.remove(name)));
}

/// RFC 9110 §8.6: no `Content-Length` with 204 and 1xx.
fn has_content_length(status: StatusCode) -> bool {
    !(status.is_informational() || status == StatusCode::NO_CONTENT)
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let lines = headers.get_all(CONNECTION).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
}
