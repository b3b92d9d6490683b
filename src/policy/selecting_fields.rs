//! Which request fields select a stored response: those that its `Vary` names, and those that it must have been selected by.

use http::{
    HeaderName, HeaderValue,
    header::{ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_ENCODING, COOKIE, ORIGIN},
};
use smallvec::SmallVec;

use super::{response_view::ResponseView, settings::Settings, store_rules::Profile};
use crate::{http::vary::Vary, key::cookies::Cookies};

/// Returns the fields by which variants of the response are told apart (RFC 9111 §4.1), without those that are in the key already.
///
/// The safe profile adds what careless handlers forget: a response with a `Content-Encoding` was selected by `Accept-Encoding`, and one that
/// allows a single origin by `Origin`.
pub(crate) fn selecting_fields(settings: &Settings, response: &ResponseView<'_>) -> Vary {
    let mut fields = SmallVec::from(response.vary.fields());
    if settings.store.profile == Profile::Safe {
        fields.extend(response.has(&CONTENT_ENCODING).then_some(ACCEPT_ENCODING));
        fields.extend(allows_one_origin(response).then_some(ORIGIN));
    }
    // The handler has seen no coding in the request, and larder chooses one for each client.
    let is_negotiated_here = settings.compression.is_some() && !response.has(&CONTENT_ENCODING);
    let is_settled = |field: &HeaderName| is_negotiated_here && field == ACCEPT_ENCODING;
    fields.retain(|field| !settings.key.vary_on.contains(field) && !is_settled(field));
    Vary::of(fields)
}

fn allows_one_origin(response: &ResponseView<'_>) -> bool {
    response.get(&ACCESS_CONTROL_ALLOW_ORIGIN).is_some_and(|origin| origin != "*")
}

/// Returns a line for `Vary` with the fields that select the response and that it does not name, so that caches in front of larder select
/// by them, too; `accept-encoding` if larder serves it in codings.
pub(crate) fn missing_in_vary(settings: &Settings, selecting: &Vary, response: &ResponseView<'_>) -> Option<HeaderValue> {
    let named = &response.vary;
    let cookies = match settings.key.cookies {
        Cookies::Named(_) | Cookies::BypassOn(_) => Some(&COOKIE),
        Cookies::Unknown | Cookies::Ignored => None,
    };
    let codings = settings.is_compressed(response.parts.status, &response.parts.headers, response.length);
    let selecting =
        settings.key.vary_on.iter().chain(selecting.fields()).chain(cookies).chain(codings.then_some(&ACCEPT_ENCODING));
    let missing: Vec<&str> = selecting.filter(|field| !named.nominates(field)).map(HeaderName::as_str).collect();
    if missing.is_empty() { None } else { HeaderValue::try_from(missing.join(", ")).ok() }
}
