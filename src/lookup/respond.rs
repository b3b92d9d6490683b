//! From an entry to a response.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{AGE, CONTENT_LENGTH, CONTENT_RANGE, DATE},
};
use http_body::Body;

use crate::{
    body::ResponseBody,
    clock::Timestamp,
    entry::response::StoredResponse,
    http::{
        cache_status::{CACHE_STATUS, CacheStatus, StatusField},
        conditional::{Selection, evaluate_preconditions, retain_304_fields},
        field::decimal::decimal,
    },
    policy::cacheable_request::CacheableMethod,
};

/// Makes a response of what is stored; `selecting` are the fields of a request that has preconditions or a range.
#[inline(always)]
pub(crate) fn respond<B: Body>(
    stored: &StoredResponse,
    method: CacheableMethod,
    selecting: Option<&HeaderMap>,
    status: CacheStatus,
    now: Timestamp,
    field: StatusField,
) -> Response<ResponseBody<B>> {
    let body = match method {
        CacheableMethod::Get => stored.body.clone(),
        CacheableMethod::Head => Bytes::new(),
    };
    // A copy as it is: to make a response and replace all that it has takes longer.
    let mut head = stored.head.clone();
    set_age(&mut head.headers, stored.age(now));
    status.attach_field(field, &mut head.headers);
    head.extensions.insert(status);
    let mut response = Response::from_parts(head, ResponseBody::stored(body));
    if let Some(request) = selecting {
        reduce(&mut response, stored, method, request);
    }
    response
}

/// Fills the slot, which stands first: to look for it would cost more than to fill it.
fn set_age(headers: &mut HeaderMap, age: u64) {
    match headers.iter_mut().next() {
        Some((name, slot)) if *name == AGE => *slot = decimal(age),
        _ => _ = headers.insert(AGE, decimal(age)),
    }
}

/// Reduces a response to what the request selects of it.
fn reduce<B: Body>(
    response: &mut Response<ResponseBody<B>>,
    stored: &StoredResponse,
    method: CacheableMethod,
    request: &HeaderMap,
) {
    let length = stored.body.len();
    let (status, body) = match evaluate_preconditions(request, stored.head.status, &stored.head.headers, length as u64) {
        Selection::Whole => return,
        // A range is a matter of GET (RFC 9110 §14.2).
        Selection::Part(..) | Selection::Unsatisfiable if method == CacheableMethod::Head => return,
        Selection::NotModified => {
            retain_304_fields(response.headers_mut());
            (StatusCode::NOT_MODIFIED, Bytes::new())
        }
        Selection::Part(start, end) => {
            describe_part(response.headers_mut(), &format!("bytes {start}-{}/{length}", end - 1), end - start);
            // Both lie within the body, whose length is a `usize`.
            let within = usize::try_from(start).unwrap_or(length)..usize::try_from(end).unwrap_or(length);
            (StatusCode::PARTIAL_CONTENT, stored.body.slice(within))
        }
        Selection::Unsatisfiable => {
            // Nothing that the stored response says of itself, its lifetime least of all, is true of this one.
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
    // It covers the content as it is sent (RFC 9530 §2), and that is another now.
    headers.remove(CONTENT_DIGEST);
}

/// An answer of our own making, which the field does not describe (RFC 9211 §2).
pub(crate) fn failed<B: Body>(code: StatusCode, status: CacheStatus) -> Response<ResponseBody<B>> {
    let mut response = Response::new(ResponseBody::stored(Bytes::new()));
    *response.status_mut() = code;
    response.extensions_mut().insert(status);
    response
}
