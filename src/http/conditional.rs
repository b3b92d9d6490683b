//! Conditional requests: preconditions and validation (RFC 9110 §13, RFC 9111 §4.3).

use std::time::Duration;

use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{
        CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, DATE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
        LAST_MODIFIED, RANGE,
    },
};

use super::{
    date::parse_date,
    field::scan::{find, trim},
    range::{Part, part},
};
use crate::clock::Timestamp;

/// The part of a stored response that answers a request with preconditions or a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Selection {
    Whole,
    /// The client has the current representation: 304.
    NotModified,
    Part(u64, u64),
    Unsatisfiable,
}

/// Evaluates preconditions and range in the order of RFC 9110 §13.2.2. `If-Match` and `If-Unmodified-Since` do not occur here: such
/// requests bypass the cache.
pub(crate) fn evaluate_preconditions(request: &HeaderMap, status: StatusCode, stored: &HeaderMap, length: u64) -> Selection {
    // RFC 9111 §4.3.2: preconditions apply to a stored 200 only.
    if status != StatusCode::OK {
        return Selection::Whole;
    }
    if is_unmodified(request, stored) {
        return Selection::NotModified;
    }
    match request.get(RANGE) {
        Some(range) if range_applies(request, stored) => match part(range.as_bytes(), length) {
            Part::Whole => Selection::Whole,
            Part::Bytes(start, end) => Selection::Part(start, end),
            Part::Unsatisfiable => Selection::Unsatisfiable,
        },
        _ => Selection::Whole,
    }
}

/// RFC 9111 §4.3.2: `If-None-Match` takes precedence over `If-Modified-Since`.
pub(crate) fn is_unmodified(request: &HeaderMap, stored: &HeaderMap) -> bool {
    if request.contains_key(IF_NONE_MATCH) {
        return names_etag(request, stored.get(ETAG));
    }
    let (Some(since), Some(modified)) = (date(request.get(IF_MODIFIED_SINCE)), modified(stored)) else { return false };
    modified <= since
}

/// Returns whether `If-None-Match` contains the entity tag, by weak comparison (RFC 9110 §13.1.2); `*` matches any.
pub(crate) fn names_etag(request: &HeaderMap, etag: Option<&HeaderValue>) -> bool {
    let lines = request.get_all(IF_NONE_MATCH).iter().map(HeaderValue::as_bytes);
    lines.into_iter().any(|line| {
        trim(line) == b"*"
            || etag
                .is_some_and(|etag| entity_tags(line).any(|named| without_weakness(named) == without_weakness(etag.as_bytes())))
    })
}

/// Returns `Last-Modified` of the stored response, or else its `Date`.
fn modified(stored: &HeaderMap) -> Option<Timestamp> {
    date(stored.get(LAST_MODIFIED)).or_else(|| date(stored.get(DATE)))
}

fn date(value: Option<&HeaderValue>) -> Option<Timestamp> {
    parse_date(value?.as_bytes())
}

/// RFC 9110 §13.1.5: a range applies only to the representation of which the client has a part, by strong comparison.
fn range_applies(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let Some(validator) = request.get(IF_RANGE) else { return true };
    match validator.as_bytes() {
        [b'"', ..] => stored.get(ETAG) == Some(validator),
        [b'W', b'/', ..] => false,
        _ => date(stored.get(LAST_MODIFIED)).is_some_and(|modified| {
            // RFC 9110 §8.8.2.2: a date is a strong validator only if the response was made at least a second after the modification.
            let strong = date(stored.get(DATE)).is_some_and(|date| date >= modified + Duration::from_secs(1));
            strong && date(Some(validator)) == Some(modified)
        }),
    }
}

/// Splits a list of entity tags. A quoted tag may contain commas; an unquoted one is taken verbatim.
fn entity_tags(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = line;
    std::iter::from_fn(move || {
        rest = rest.trim_ascii_start();
        while let [b',', after @ ..] = rest {
            rest = after.trim_ascii_start();
        }
        if rest.is_empty() {
            return None;
        }
        let quoted = rest.strip_prefix(b"W/").unwrap_or(rest);
        let prefix = rest.len() - quoted.len();
        let end = match quoted.strip_prefix(b"\"") {
            Some(inside) => find(inside, |byte| byte == b'"').map_or(rest.len(), |at| prefix + at + 2),
            None => find(rest, |byte| byte == b',').unwrap_or(rest.len()),
        };
        let (tag, after) = rest.split_at(end);
        rest = after;
        Some(trim(tag))
    })
}

fn without_weakness(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// Returns whether the client has the version of `modified`; never if it sent `If-None-Match`, which takes precedence.
pub(crate) fn is_unmodified_since(request: &HeaderMap, modified: Timestamp) -> bool {
    !request.contains_key(IF_NONE_MATCH)
        && date(request.get(IF_MODIFIED_SINCE)).is_some_and(|since| modified.whole_seconds() <= since)
}

/// Returns whether a stored response has a validator (RFC 9110 §8.8).
pub(crate) fn has_validator(stored: &HeaderMap) -> bool {
    stored.contains_key(ETAG) || stored.contains_key(LAST_MODIFIED)
}

/// Makes a request conditional on all validators of the stored response (RFC 9111 §4.3.1); returns whether it has any.
///
/// Removes the client's own preconditions, which are evaluated on the outcome.
pub(crate) fn make_conditional(request: &mut HeaderMap, stored: &HeaderMap) -> bool {
    remove_conditions(request);
    if let Some(etag) = stored.get(ETAG) {
        request.insert(IF_NONE_MATCH, etag.clone());
    }
    if let Some(modified) = stored.get(LAST_MODIFIED) {
        request.insert(IF_MODIFIED_SINCE, modified.clone());
    }
    has_validator(stored)
}

/// Removes the preconditions that a stored response can answer.
pub(crate) fn remove_conditions(request: &mut HeaderMap) {
    request.remove(IF_NONE_MATCH);
    request.remove(IF_MODIFIED_SINCE);
}

/// Returns whether a 304 is for another representation than the stored one, by its strong entity tag (RFC 9111 §4.3.4).
pub(crate) fn selects_other_representation(not_modified: &HeaderMap, stored: &HeaderMap) -> bool {
    let strong = |headers: &HeaderMap| headers.get(ETAG).filter(|etag| !etag.as_bytes().starts_with(b"W/")).cloned();
    strong(not_modified).is_some_and(|etag| strong(stored).is_none_or(|stored| stored != etag))
}

/// Returns whether a 304 has no entity tag, or that of the stored response by weak comparison (RFC 9110 §8.8.3.2).
pub(crate) fn weakly_matches(not_modified: &HeaderMap, stored: &HeaderMap) -> bool {
    match (not_modified.get(ETAG), stored.get(ETAG)) {
        (Some(new), Some(old)) => without_weakness(new.as_bytes()) == without_weakness(old.as_bytes()),
        (Some(_), None) => false,
        (None, _) => true,
    }
}

/// Removes the fields that a 304 does not carry (RFC 9110 §15.4.5).
pub(crate) fn retain_304_fields(headers: &mut HeaderMap) {
    for field in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_LANGUAGE] {
        headers.remove(field);
    }
    if headers.contains_key(ETAG) {
        headers.remove(LAST_MODIFIED);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    const MONDAY: &str = "Mon, 02 Nov 2026 08:00:00 GMT";
    const TUESDAY: &str = "Tue, 03 Nov 2026 08:00:00 GMT";

    fn fields(fields: &[(HeaderName, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    fn selected(request: &[(HeaderName, &'static str)], stored: &[(HeaderName, &'static str)]) -> Selection {
        evaluate_preconditions(&fields(request), StatusCode::OK, &fields(stored), 10)
    }

    #[test]
    fn s58_if_none_match_compares_weakly_and_goes_first() {
        let stored = [(ETAG, "\"a,b\""), (LAST_MODIFIED, TUESDAY)];
        for list in ["\"a,b\"", "W/\"a,b\"", "\"x\", \"a,b\"", "*", " , \"x\",W/\"a,b\" "] {
            assert_eq!(selected(&[(IF_NONE_MATCH, list)], &stored), Selection::NotModified, "{list}");
        }
        assert_eq!(selected(&[(IF_NONE_MATCH, "\"a\", \"b\""), (IF_MODIFIED_SINCE, TUESDAY)], &stored), Selection::Whole);
    }

    #[test]
    fn s59_if_modified_since_falls_back_to_the_date() {
        assert_eq!(selected(&[(IF_MODIFIED_SINCE, MONDAY)], &[(LAST_MODIFIED, MONDAY)]), Selection::NotModified);
        assert_eq!(selected(&[(IF_MODIFIED_SINCE, MONDAY)], &[(LAST_MODIFIED, TUESDAY)]), Selection::Whole);
        assert_eq!(selected(&[(IF_MODIFIED_SINCE, TUESDAY)], &[(DATE, MONDAY)]), Selection::NotModified);
        assert_eq!(selected(&[(IF_MODIFIED_SINCE, "yesterday")], &[(DATE, MONDAY)]), Selection::Whole);
    }

    #[test]
    fn s60_preconditions_apply_to_a_stored_200_alone() {
        let request = fields(&[(IF_NONE_MATCH, "\"a\""), (RANGE, "bytes=0-1")]);
        assert_eq!(evaluate_preconditions(&request, StatusCode::NOT_FOUND, &fields(&[(ETAG, "\"a\"")]), 10), Selection::Whole);
    }

    #[test]
    fn s62_if_range_takes_an_exact_strong_match() {
        let range = |if_range, stored| selected(&[(RANGE, "bytes=0-1"), (IF_RANGE, if_range)], stored);
        assert_eq!(range("\"a\"", &[(ETAG, "\"a\"")]), Selection::Part(0, 2));
        assert_eq!(range("\"b\"", &[(ETAG, "\"a\"")]), Selection::Whole);
        assert_eq!(range("W/\"a\"", &[(ETAG, "W/\"a\"")]), Selection::Whole);
        assert_eq!(range(MONDAY, &[(LAST_MODIFIED, MONDAY), (DATE, TUESDAY)]), Selection::Part(0, 2));
        assert_eq!(range(MONDAY, &[(LAST_MODIFIED, MONDAY), (DATE, MONDAY)]), Selection::Whole);
        assert_eq!(range(TUESDAY, &[(LAST_MODIFIED, MONDAY)]), Selection::Whole);
    }

    #[test]
    fn s55_a_304_with_another_strong_validator_is_about_something_else() {
        let selects_other_representation = |new, old| selects_other_representation(&fields(new), &fields(old));
        assert!(selects_other_representation(&[(ETAG, "\"b\"")], &[(ETAG, "\"a\"")]));
        assert!(!selects_other_representation(&[(ETAG, "\"a\"")], &[(ETAG, "\"a\"")]));
        assert!(!selects_other_representation(&[(ETAG, "W/\"b\"")], &[(ETAG, "\"a\"")]));
        assert!(!selects_other_representation(&[], &[(ETAG, "\"a\"")]));
    }
}
