//! The one exit for decisions: every response that the layer returns has its decision attached here.

use http::response;

use crate::{http::cache_status::CacheStatus, policy::settings::Settings};

/// Attaches the decision to a response: as an extension and, if the layer sends it, as a `Cache-Status` field.
#[inline(always)]
pub(crate) fn finish(status: CacheStatus, settings: &Settings, head: &mut response::Parts) {
    status.append_to(settings.status_field, &mut head.headers);
    head.extensions.insert(status);
}

/// Attaches the decision to a response that larder generates itself, and that no `Cache-Status` field describes (RFC 9211 §2).
pub(crate) fn finish_own(status: CacheStatus, head: &mut response::Parts) {
    head.extensions.insert(status);
}
