//! Whether a response may be stored (RFC 9111 §3).

use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, SET_COOKIE, TRAILER},
    response,
};

use super::response_view::ResponseView;
use super::{
    freshness::{Freshness, Timing, freshness, stated_lifetime},
    store_rules::{Profile, SetCookie, StoreRules, names_fields},
};
use crate::{
    clock::Timestamp,
    handler::cache_directive::{CacheDirective, Directive},
    http::{
        cache_control::{CacheControl, named_fields},
        cache_status::{CacheStatus, Reason},
        field::lines::members_of,
        stored_fields::{is_credential, is_request_specific},
        vary::Vary,
    },
};

/// The targeted field for larder alone (RFC 9213 §2): it takes precedence over `Cache-Control` and `Expires`, and is removed from the
/// response.
const LARDER_CACHE_CONTROL: HeaderName = HeaderName::from_static("larder-cache-control");

/// The targeted field for caches near the origin (RFC 9213 §3.1); other caches may use it too, so it stays in the response.
const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

const AVAILABLE_DICTIONARY: HeaderName = HeaderName::from_static("available-dictionary");

/// Removes larder's own field from a response. Hardly any has it: a look at all names costs less than the hash of this one.
pub(crate) fn remove_larder_cache_control(headers: &mut HeaderMap) {
    if headers.keys().any(|name| *name == LARDER_CACHE_CONTROL) {
        headers.remove(LARDER_CACHE_CONTROL);
    }
}

/// Properties of the request that restrict storing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RequestConstraints {
    /// It has `Authorization`, and the route does not ignore it.
    pub(crate) authorized: bool,
    /// It has the directive `no-store`.
    pub(crate) no_store: bool,
}

/// Decides whether a response may be stored, and for how long (RFC 9111 §3).
pub(crate) fn storable(
    rules: &StoreRules,
    request: RequestConstraints,
    response: &ResponseView<'_>,
    timing: Timing,
) -> Result<Freshness, Reason> {
    let ResponseView { parts, length, .. } = *response;
    let (control, field) = directives(rules, response);
    let directive = parts.extensions.get::<CacheDirective>().map(CacheDirective::directive);
    if parts.extensions.get::<CacheStatus>().is_some() {
        return Err(Reason::InnerLayer);
    }
    check_status(rules, parts.status)?;
    check_privacy(rules, request, response, (&control, &field), directive)?;
    check_reusable(rules, response)?;
    let freshness = freshness(rules, directive, response, (&control, &field), timing)?;
    if length.is_some_and(|length| length > rules.max_body) {
        return Err(Reason::TooLarge);
    }
    if rules.store_if.as_ref().is_some_and(|store_if| !store_if(parts, length)) {
        return Err(Reason::StoreIf);
    }
    Ok(freshness)
}

/// Returns the directives that apply, and the field that contains them.
///
/// RFC 9213 §2.2: the first valid, non-empty targeted field replaces `Cache-Control`. An invalid one is ignored, except that
/// prohibitions in `Larder-Cache-Control` still apply.
fn directives(rules: &StoreRules, response: &ResponseView<'_>) -> (CacheControl, HeaderName) {
    let headers = &response.parts.headers;
    let targets: &[HeaderName] = match rules.profile {
        Profile::Safe => &[LARDER_CACHE_CONTROL],
        Profile::Strict => &[LARDER_CACHE_CONTROL, CDN_CACHE_CONTROL],
    };
    let targeted = targets
        .iter()
        .filter(|field| response.may_have(field))
        .find_map(|field| Some((CacheControl::parse_targeted(headers, field)?, field.clone())));
    targeted.unwrap_or_else(|| {
        let parsed = |field| if response.may_have(field) { CacheControl::parse(headers, field) } else { CacheControl::default() };
        (parsed(&CACHE_CONTROL).with_vetoes_of(parsed(&LARDER_CACHE_CONTROL)), CACHE_CONTROL)
    })
}

/// Returns whether a response states a lifetime for caches, with which it says that it may be reused (RFC 9110 §9.3.3).
pub(crate) fn states_lifetime(rules: &StoreRules, response: &response::Parts, now: Timestamp) -> bool {
    let view = ResponseView::new(response, None);
    let (control, field) = directives(rules, &view);
    match response.extensions.get::<CacheDirective>().map(CacheDirective::directive) {
        _ if control.no_store => false,
        Some(Directive::Ttl(ttl)) => !ttl.is_zero(),
        Some(Directive::NoStore | Directive::Private) => false,
        None => stated_lifetime(&view, (&control, &field), now).is_some_and(|lifetime| !lifetime.is_zero()),
    }
}

/// Returns a predicate for the fields of a response that are not stored: excluded by name, by the profile, or by its directives.
pub(crate) fn excluded_fields<'r>(rules: &'r StoreRules, response: &response::Parts) -> impl Fn(&HeaderName) -> bool + use<'r> {
    let named = match rules.profile {
        Profile::Safe => Vec::new(),
        Profile::Strict => {
            let (_, field) = directives(rules, &ResponseView::new(response, None));
            named_fields(&response.headers, &field).unwrap_or_default()
        }
    };
    move |name| {
        *name == LARDER_CACHE_CONTROL
            || (rules.profile == Profile::Safe && is_request_specific(name))
            || (rules.set_cookie == SetCookie::Strip && (*name == SET_COOKIE || is_credential(name)))
            || rules.dropped.contains(name)
            || named.contains(name)
    }
}

/// The status codes that the safe profile stores if the response or the route sets a lifetime; others only if the route names them.
const CACHEABLE: [StatusCode; 7] = [
    StatusCode::OK,
    StatusCode::NON_AUTHORITATIVE_INFORMATION,
    StatusCode::NO_CONTENT,
    StatusCode::MOVED_PERMANENTLY,
    StatusCode::PERMANENT_REDIRECT,
    StatusCode::NOT_FOUND,
    StatusCode::GONE,
];

fn check_status(rules: &StoreRules, status: StatusCode) -> Result<(), Reason> {
    // 206, 304 and 1xx are not complete responses: they are never stored, even if the route names them (RFC 9111 §3).
    let incomplete = status.is_informational() || matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED);
    let named = rules.statuses.iter().any(|(named, _)| *named == status);
    let cacheable = named || rules.profile == Profile::Strict || CACHEABLE.contains(&status);
    if !incomplete && cacheable { Ok(()) } else { Err(Reason::Status) }
}

fn check_privacy(
    rules: &StoreRules,
    request: RequestConstraints,
    response: &ResponseView<'_>,
    (control, field): (&CacheControl, &HeaderName),
    directive: Option<Directive>,
) -> Result<(), Reason> {
    // RFC 9111 §5.2.2.3: `must-understand` overrides `no-store` if the cache understands the status code.
    let understood = response.parts.status.canonical_reason().is_some();
    if directive == Some(Directive::NoStore)
        || (control.no_store && !control.must_understand)
        || (control.must_understand && !understood)
    {
        return Err(Reason::NoStore);
    }
    if (control.private && !names_fields(rules, response, field)) || directive == Some(Directive::Private) {
        return Err(Reason::Private);
    }
    if rules.set_cookie == SetCookie::Refuse && response.has(&SET_COOKIE) {
        return Err(Reason::SetCookie);
    }
    if rules.set_cookie == SetCookie::Refuse && response.parts.headers.keys().any(is_credential) {
        return Err(Reason::Credential);
    }
    if request.authorized && !control.allows_authorized() {
        return Err(Reason::Authorization);
    }
    if request.no_store {
        return Err(Reason::RequestNoStore);
    }
    Ok(())
}

/// Rejects responses that cannot be correct for a second request, regardless of their directives.
fn check_reusable(rules: &StoreRules, response: &ResponseView<'_>) -> Result<(), Reason> {
    let vary = &response.vary;
    if *vary == Vary::Everything {
        return Err(Reason::VaryStar);
    }
    if is_endless(response) {
        return Err(Reason::EventStream);
    }
    if response.has(&TRAILER) {
        return Err(Reason::Trailers);
    }
    if is_dictionary_compressed(response) && !(vary.nominates(&ACCEPT_ENCODING) && vary.nominates(&AVAILABLE_DICTIONARY)) {
        return Err(Reason::Dictionary);
    }
    if rules.profile == Profile::Strict {
        return Ok(());
    }
    if has_nonce(response) {
        return Err(Reason::Nonce);
    }
    Ok(())
}

/// Returns whether only clients with a dictionary can decode the response (RFC 9842 §6.2).
fn is_dictionary_compressed(response: &ResponseView<'_>) -> bool {
    let mut codings = members_of(response.lines(&CONTENT_ENCODING));
    codings.any(|coding| coding.eq_ignore_ascii_case(b"dcb") || coding.eq_ignore_ascii_case(b"dcz"))
}

fn is_endless(response: &ResponseView<'_>) -> bool {
    let media_type = response.get(&CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    has_type(media_type, &["text/event-stream", "multipart/x-mixed-replace"])
}

/// Returns whether the content type is usually streamed. Such a response may or may not end.
pub(crate) fn is_streamed(response: &HeaderMap) -> bool {
    const STREAMED: [&str; 4] = ["application/x-ndjson", "application/jsonl", "application/json-seq", "application/grpc"];
    response.get(CONTENT_TYPE).is_some_and(|value| has_type(value.as_bytes(), &STREAMED))
}

fn has_type(media_type: &[u8], types: &[&str]) -> bool {
    types.iter().any(|of| media_type.get(..of.len()).is_some_and(|start| start.eq_ignore_ascii_case(of.as_bytes())))
}

fn has_nonce(response: &ResponseView<'_>) -> bool {
    const REPORT_ONLY: HeaderName = HeaderName::from_static("content-security-policy-report-only");
    let mut policies = response.lines(&CONTENT_SECURITY_POLICY).chain(response.lines(&REPORT_ONLY));
    policies.any(|policy| contains_ignoring_case(policy.as_bytes(), b"'nonce-"))
}

fn contains_ignoring_case(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}
