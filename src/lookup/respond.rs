//! Makes a response from a stored one.

use bytes::Bytes;
use http::{
    Extensions, HeaderMap, HeaderValue, Response, StatusCode,
    header::{AGE, CONTENT_LENGTH, CONTENT_RANGE, DATE},
};
use http_body::Body;

use crate::{
    body::ResponseBody,
    clock::Timestamp,
    entry::response::StoredResponse,
    http::{
        cache_status::{CACHE_STATUS, CacheStatus},
        conditional::{Selection, evaluate_preconditions, retain_304_fields},
        field::decimal::decimal,
    },
    lookup::{
        finish::{finish, finish_own},
        representation::Representation,
    },
    policy::{cacheable_request::CacheableMethod, settings::Settings},
};

/// Makes a response from a stored one; `conditions` are the fields of a request that has preconditions or a range, and `extensions` are
/// empty.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "each is a value that the caller has already")]
pub(crate) fn respond<B: Body>(
    stored: &StoredResponse,
    representation: Representation<'_>,
    method: CacheableMethod,
    conditions: Option<&HeaderMap>,
    status: CacheStatus,
    now: Timestamp,
    settings: &Settings,
    extensions: Extensions,
) -> Response<ResponseBody<B>> {
    let body = match method {
        CacheableMethod::Head => Bytes::new(),
        _ => representation.body.clone(),
    };
    // Cloning the whole head is faster than filling a new one.
    let mut head = representation.head.clone();
    head.extensions = extensions;
    set_age(&mut head.headers, stored.sent_age(now));
    finish(status, settings, &mut head);
    let mut response = Response::from_parts(head, ResponseBody::stored(body));
    if let Some(conditions) = conditions {
        apply_selection(&mut response, representation, method, conditions);
    }
    response
}

/// Returns the length of the body of the response that [`respond`] makes, in bytes.
#[inline(always)]
pub(crate) fn body_length(stored: Representation<'_>, method: CacheableMethod, conditions: Option<&HeaderMap>) -> u64 {
    match (method, conditions) {
        (CacheableMethod::Head, _) => 0,
        (_, None) => stored.body.len() as u64,
        (_, Some(conditions)) => selected_length(stored, method, conditions),
    }
}

#[cold]
fn selected_length(stored: Representation<'_>, method: CacheableMethod, conditions: &HeaderMap) -> u64 {
    let length = stored.body.len() as u64;
    match evaluate_preconditions(conditions, stored.head.status, &stored.head.headers, length) {
        Selection::Whole => length,
        Selection::Part(..) | Selection::Unsatisfiable if method != CacheableMethod::Get => length,
        Selection::Part(start, end) => end - start,
        Selection::NotModified | Selection::Unsatisfiable => 0,
    }
}

/// Fills the field that every stored head has in first place: finding it by name would cost more than writing it.
fn set_age(headers: &mut HeaderMap, age: u64) {
    match headers.iter_mut().next() {
        Some((name, slot)) if *name == AGE => *slot = decimal(age),
        _ => _ = headers.insert(AGE, decimal(age)),
    }
}

/// Reduces a response to the part that the request selects, to a 304, or to a 416 (RFC 9110 §13.2, §14.2).
fn apply_selection<B: Body>(
    response: &mut Response<ResponseBody<B>>,
    stored: Representation<'_>,
    method: CacheableMethod,
    conditions: &HeaderMap,
) {
    let length = stored.body.len();
    let (status, body) = match evaluate_preconditions(conditions, stored.head.status, &stored.head.headers, length as u64) {
        Selection::Whole => return,
        // A range applies to GET only (RFC 9110 §14.2); a QUERY selects a part of its result itself (RFC 10008 §2.8).
        Selection::Part(..) | Selection::Unsatisfiable if method != CacheableMethod::Get => return,
        Selection::NotModified => {
            retain_304_fields(response.headers_mut());
            (StatusCode::NOT_MODIFIED, Bytes::new())
        }
        Selection::Part(start, end) => {
            describe_part(response.headers_mut(), &format!("bytes {start}-{}/{length}", end - 1), end - start);
            // Both are at most the body's length, which is a `usize`.
            let part = usize::try_from(start).unwrap_or(length)..usize::try_from(end).unwrap_or(length);
            (StatusCode::PARTIAL_CONTENT, stored.body.slice(part))
        }
        Selection::Unsatisfiable => {
            // The stored fields describe the stored response, not this one; a cache downstream must not reuse their lifetime.
            let kept = [DATE, CACHE_STATUS].map(|field| (field.clone(), response.headers().get(field).cloned()));
            let described = response.headers_mut();
            described.clear();
            described.extend(kept.into_iter().filter_map(|(field, value)| Some((field, value?))));
            describe_part(described, &format!("bytes */{length}"), 0);
            (StatusCode::RANGE_NOT_SATISFIABLE, Bytes::new())
        }
    };
    *response.status_mut() = status;
    *response.body_mut() = ResponseBody::stored(body);
}

fn describe_part(headers: &mut HeaderMap, range: &str, length: u64) {
    const CONTENT_DIGEST: &str = "content-digest";
    if let Ok(range) = HeaderValue::from_str(range) {
        headers.insert(CONTENT_RANGE, range);
    }
    headers.insert(CONTENT_LENGTH, length.into());
    // The digest covers the content as sent (RFC 9530 §2), which is now a part.
    headers.remove(CONTENT_DIGEST);
}

/// A response that larder itself generates.
pub(crate) fn error_response<B: Body>(code: StatusCode, status: CacheStatus) -> Response<ResponseBody<B>> {
    let mut head = Response::new(()).into_parts().0;
    head.status = code;
    finish_own(status, &mut head);
    Response::from_parts(head, ResponseBody::stored(Bytes::new()))
}
