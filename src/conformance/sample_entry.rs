//! Sample entries of each kind, and their comparison.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE};

use crate::{
    clock::{Clock, Timestamp},
    entry::{
        epoch::Epoch,
        response::{StaleWindows, StoredResponse, response_head},
        stored::{Content, Stored},
        value::{StoredValue, ValueData},
        variants::Variants,
    },
    http::{no_vary_search::QueryVariance, stored_fields::StoredFields},
    tag::Tag,
};

/// Creates an entry for tests of a backend: a 200 response with this body and a few header fields, fresh for one hour.
///
/// ```
/// use larder::{backend::{Epoch, Tag}, conformance::{body, stored}};
///
/// let stored = stored(Epoch::new(7), vec![Tag::new("posts")?], "hello");
/// assert_eq!(body(&stored).unwrap(), "hello");
/// # Ok::<(), larder::Error>(())
/// ```
pub fn stored(born: Epoch, tags: Vec<Tag>, body: impl Into<Bytes>) -> Arc<Stored> {
    stored_until(Clock::default().now() + HOUR, born, tags, body)
}

/// Returns the body of a stored response; `None` for other entries, such as a list of variants.
pub fn body(stored: &Stored) -> Option<&Bytes> {
    match stored.content() {
        Content::Response(response) => Some(&response.body),
        Content::Variants(_) | Content::QueryVariance(_) | Content::Value(_) | Content::Tombstone => None,
    }
}

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Creates a stored response that is fresh until `fresh_until`.
pub(super) fn stored_until(fresh_until: Timestamp, born: Epoch, tags: Vec<Tag>, body: impl Into<Bytes>) -> Arc<Stored> {
    Arc::new(Stored::new(born, tags, Content::Response(response(fresh_until, body.into()))))
}

/// Creates an entry of each kind.
pub(super) fn of_every_kind(born: Epoch, tags: &[Tag]) -> Vec<Arc<Stored>> {
    let now = Clock::default().now();
    let accept = HeaderName::from_static("accept-language");
    let variants = Variants { vary_lists: [Box::from([accept])].into_iter().collect(), members: vec![([0xff; 16], now + HOUR)] };
    let no_vary_search = HeaderName::from_static("no-vary-search");
    let search = HeaderMap::from_iter([(no_vary_search, HeaderValue::from_static("params=(\"utm\")"))]);
    let rule = QueryVariance::parse(&search).map(Content::QueryVariance);
    let value = StoredValue {
        data: ValueData::encoded("a type", Bytes::from_static(b"\0\xff")),
        generated: now,
        fresh_until: now + HOUR,
        stale: StaleWindows::new(HOUR, HOUR),
        compute_millis: 7,
    };
    let response = response(now + HOUR, Bytes::from_static(b"\0\xff\r\n"));
    let contents = [Content::Response(response), Content::Variants(variants), Content::Value(value)];
    contents.into_iter().chain(rule).map(|content| Arc::new(Stored::new(born, tags.to_vec(), content))).collect()
}

/// Creates a tombstone.
pub(super) fn tombstone(born: Epoch, tags: Vec<Tag>) -> Arc<Stored> {
    Arc::new(Stored::new(born, tags, Content::Tombstone))
}

/// Returns the part in which two entries differ, if any.
pub(super) fn difference(one: &Stored, other: &Stored) -> Option<&'static str> {
    let same = |same: bool, part| (!same).then_some(part);
    same(one.born() == other.born(), "epoch of birth")
        .or_else(|| same(one.tags() == other.tags(), "tags"))
        .or_else(|| same(one.expires() == other.expires(), "expiry"))
        .or_else(|| match (one.content(), other.content()) {
            (Content::Response(one), Content::Response(other)) => response_difference(one, other),
            (Content::Variants(one), Content::Variants(other)) => same(one == other, "list of variants"),
            (Content::QueryVariance(one), Content::QueryVariance(other)) => same(one == other, "query rule"),
            (Content::Value(one), Content::Value(other)) => value_difference(one, other),
            (Content::Tombstone, Content::Tombstone) => None,
            _ => Some("kind"),
        })
}

fn value_difference(one: &StoredValue, other: &StoredValue) -> Option<&'static str> {
    [
        (one.data.type_name() == other.data.type_name(), "type of the value"),
        (one.data.to_bytes() == other.data.to_bytes(), "value"),
        ((one.generated, one.fresh_until) == (other.generated, other.fresh_until), "freshness"),
        (one.stale == other.stale, "stale windows"),
        (one.compute_millis == other.compute_millis, "duration of the computation"),
    ]
    .into_iter()
    .find_map(|(same, part)| (!same).then_some(part))
}

fn response_difference(one: &StoredResponse, other: &StoredResponse) -> Option<&'static str> {
    [
        (one.head.status == other.head.status, "status"),
        (one.head.headers == other.head.headers, "header fields"),
        (one.body == other.body, "body"),
        (one.generated == other.generated, "time of generation"),
        (one.fresh_until == other.fresh_until, "freshness"),
        (one.allows_authorization == other.allows_authorization, "permission for `Authorization`"),
        (one.stale == other.stale, "stale windows"),
        (one.must_not_serve_stale == other.must_not_serve_stale, "prohibition of stale use"),
        (one.immutable == other.immutable, "immutability"),
        (one.outlives_max_age == other.outlives_max_age, "the comparison with `max-age`"),
        (one.handler_millis == other.handler_millis, "duration of the handler run"),
    ]
    .into_iter()
    .find_map(|(same, part)| (!same).then_some(part))
}

fn response(fresh_until: Timestamp, body: Bytes) -> StoredResponse {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    // Not UTF-8, and a field of two lines.
    for value in [&b"caf\xe9"[..], b"second"].into_iter().flat_map(HeaderValue::from_bytes) {
        headers.append("x-lines", value);
    }
    let now = Clock::default().now();
    StoredResponse {
        head: response_head(StatusCode::OK, StoredFields::of(&headers, |_| false).complete(StatusCode::OK, body.len(), now)),
        body,
        codings: None,
        selection: None,
        generated: now,
        fresh_until,
        allows_authorization: true,
        stale: StaleWindows::default(),
        must_not_serve_stale: true,
        immutable: true,
        outlives_max_age: true,
        handler_millis: 7,
    }
}
