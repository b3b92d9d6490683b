//! What all steps of a fetch share.

use std::sync::Arc;

use http::Response;
use http_body::Body;
use tokio::time::Instant;

use crate::{
    body::ResponseBody,
    cache::{
        Cache,
        detached::Abandon,
        outage_log::{Effect, report},
        places::Place,
    },
    http::cache_status::Reason,
    invalidation::response_tags::RequestTags,
    lookup::{Lookup, reuse::Seeker},
    policy::{cacheable_request::CacheableRequest, settings::Settings},
};

/// What one request wants to know, for all who help to answer it.
pub(crate) struct FetchContext {
    pub(crate) cache: Cache,
    pub(crate) settings: Arc<Settings>,
    pub(crate) look: Box<CacheableRequest>,
    pub(crate) ahead: RequestTags,
    /// Where its fetch counts.
    pub(crate) place: Place,
}

impl Abandon for FetchContext {
    fn abandon(&self) -> Option<Instant> {
        self.place.abandon()
    }
}

impl FetchContext {
    /// Looks up what is stored by now; `None` if the backend failed.
    pub(crate) async fn lookup(&self) -> Option<Lookup> {
        let (settings, look, request) = (&self.settings, &self.look, &self.ahead.request);
        if let Some(lookup) = self.cache.lookup_now(settings, look, request) {
            return Some(lookup);
        }
        // In a box: whatever may have to wait here is large, and mostly does not.
        match Box::pin(self.cache.lookup(settings, look, request, &self.ahead.known_tags())).await {
            Ok(lookup) => Some(lookup),
            Err(error) => {
                report(&error, Effect::HandlerAnswers);
                None
            }
        }
    }

    /// A stale response to answer with after all; looked up anew, so that nothing invalidated meanwhile is answered.
    pub(crate) async fn stale<B: Body>(&self, reason: Reason) -> Option<Response<ResponseBody<B>>> {
        let lookup = self.lookup().await?;
        self.seeker().answer_stale(&lookup, reason)
    }

    /// The request as one that looks for an answer now.
    pub(crate) fn seeker(&self) -> Seeker<'_> {
        Seeker { look: &self.look, headers: &self.ahead.request, settings: &self.settings, now: self.cache.now() }
    }
}
