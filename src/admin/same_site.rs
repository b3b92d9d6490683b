//! Refuses requests that a page of another site has made a browser send.

use http::{HeaderMap, Uri, header::ORIGIN, request::Parts};

use crate::http::request_fields::RequestFields;

/// Whether a request that changes something comes from this page, or from a program that is no browser.
pub(super) fn is_from_here(parts: &Parts) -> bool {
    // Set by the browser itself, so it is believed first.
    if let Some(site) = parts.headers.get("sec-fetch-site") {
        return site == "same-origin" || site == "none";
    }
    let Some(origin) = parts.headers.get(ORIGIN) else { return true };
    let authority = RequestFields::read(&parts.headers).authority(parts).ok().flatten();
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let origin = origin.as_ref().and_then(Uri::authority);
    origin.is_some_and(|origin| authority.is_some_and(|own| origin.as_str().as_bytes().eq_ignore_ascii_case(own)))
}

/// Whether the client prefers a page to JSON.
pub(super) fn sends_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.starts_with("application/x-www-form-urlencoded")
}
