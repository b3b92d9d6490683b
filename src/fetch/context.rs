//! The data that all steps of a fetch share.

use std::sync::Arc;

use http::Response;
use http_body::Body;
use tokio::time::Instant;

use crate::{
    body::ResponseBody,
    cache::{
        Cache,
        detached::OnDisconnect,
        fetch_slots::FetchSlot,
        outage_log::{Effect, report},
    },
    http::cache_status::Reason,
    invalidation::response_tags::RequestTags,
    lookup::{Lookup, reuse::PresentedRequest},
    policy::{cacheable_request::CacheableRequest, settings::Settings},
};

/// A request that a lookup did not answer, with all that the steps of its fetch need.
pub(crate) struct FetchContext {
    pub(crate) cache: Cache,
    pub(crate) settings: Arc<Settings>,
    pub(crate) request: Box<CacheableRequest>,
    pub(crate) tags: RequestTags,
    /// The slot of this fetch on its route.
    pub(crate) slot: FetchSlot,
}

impl OnDisconnect for FetchContext {
    fn on_disconnect(&self) -> Option<Instant> {
        self.slot.on_disconnect()
    }
}

impl FetchContext {
    /// Looks the request up again; `None` if the backend failed.
    pub(crate) async fn lookup(&self) -> Option<Lookup> {
        let (settings, request, headers) = (&self.settings, &self.request, &self.tags.headers);
        if let Some(lookup) = self.cache.lookup_now(settings, request, headers) {
            return Some(lookup);
        }
        // Boxed: the future is large, and most lookups in memory return above.
        match Box::pin(self.cache.lookup(settings, request, headers, &self.tags.known_tags())).await {
            Ok(lookup) => Some(lookup),
            Err(error) => {
                report(&error, Effect::HandlerAnswers);
                None
            }
        }
    }

    /// Answers with a stale response if one is allowed. It is looked up again, so that one that has been invalidated meanwhile is
    /// not used.
    pub(crate) async fn answer_stale<B: Body>(&self, reason: Reason) -> Option<Response<ResponseBody<B>>> {
        let lookup = self.lookup().await?;
        self.presented().answer_stale(&lookup, reason)
    }

    /// The request, presented to the cache now.
    pub(crate) fn presented(&self) -> PresentedRequest<'_> {
        PresentedRequest { request: &self.request, headers: &self.tags.headers, settings: &self.settings, now: self.cache.now() }
    }
}
