//! Which representation of a stored response answers a request: as the handler sent it, or in a content coding (RFC 9110 §12.5.3).

use bytes::Bytes;
use http::{HeaderMap, response};

use crate::{
    coding::{accepted::Accepted, content_coding::ContentCoding},
    entry::{codings::Codings, response::StoredResponse},
    policy::settings::Settings,
};

/// The representation of a stored response that answers a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Representation<'s> {
    pub(crate) head: &'s response::Parts,
    pub(crate) body: &'s Bytes,
    /// A coding that the client wants more than this one, and that has not been made yet.
    pub(crate) missing: Option<ContentCoding>,
}

impl<'s> Representation<'s> {
    /// Selects one for a request with these fields.
    #[inline(always)]
    pub(crate) fn of(stored: &'s StoredResponse, request: &HeaderMap, settings: &Settings) -> Self {
        match &stored.codings {
            None => Self { head: &stored.head, body: &stored.body, missing: None },
            Some(codings) => Self::negotiated(stored, codings, request, settings),
        }
    }

    #[inline(never)]
    fn negotiated(stored: &'s StoredResponse, codings: &'s Codings, request: &HeaderMap, settings: &Settings) -> Self {
        let accepted = Accepted::of(request);
        let order = settings.compression.as_ref().map_or(&ContentCoding::ALL[..], |options| &options.codings);
        let wanted = accepted.best(order.iter().copied());
        let missing = wanted.filter(|coding| settings.compression.is_some() && !codings.has(*coding));
        match codings.select(accepted, order) {
            None => Self { head: &stored.head, body: &stored.body, missing },
            Some(coded) => Self { head: coded.head(&stored.head), body: &coded.body, missing },
        }
    }
}
