use std::sync::Arc;

use http::Response;
use http_body::Body;
use tokio::time::Instant;

use crate::{
    body::ResponseBody,
    cache::{
        Cache,
        detached::Abandon,
        outage_log::{Consequence, report},
        places::Place,
    },
    http::cache_status::Reason,
    invalidation::response_tags::Ahead,
    lookup::{LookUp, reuse::Seeker},
    policy::{cacheable_request::Look, settings::Settings},
};

/// What one request wants to know, for all who help to answer it.
pub(crate) struct Inquiry {
    pub(crate) cache: Cache,
    pub(crate) settings: Arc<Settings>,
    pub(crate) look: Box<Look>,
    pub(crate) ahead: Ahead,
    /// Where its fetch counts.
    pub(crate) place: Place,
}

impl Abandon for Inquiry {
    fn abandon(&self) -> Option<Instant> {
        self.place.abandon()
    }
}

impl Inquiry {
    /// Looks up what is stored by now; `None` if the backend failed.
    pub(crate) async fn look_up(&self) -> Option<LookUp> {
        let (settings, look, request) = (&self.settings, &self.look, &self.ahead.request);
        if let Some(look_up) = self.cache.look_up_now(settings, look, request) {
            return Some(look_up);
        }
        // In a box: whatever may have to wait here is large, and mostly does not.
        match Box::pin(self.cache.look_up(settings, look, request, &self.ahead.known_tags())).await {
            Ok(look_up) => Some(look_up),
            Err(error) => {
                report(&error, Consequence::HandlerAnswers);
                None
            }
        }
    }

    /// A stale response to answer with after all; looked up anew, so that nothing invalidated meanwhile is answered.
    pub(crate) async fn stale<B: Body>(&self, reason: Reason) -> Option<Response<ResponseBody<B>>> {
        let look_up = self.look_up().await?;
        self.seeker().answer_stale(&look_up, reason)
    }

    /// The request as one that looks for an answer now.
    pub(crate) fn seeker(&self) -> Seeker<'_> {
        Seeker { look: &self.look, headers: &self.ahead.request, settings: &self.settings, now: self.cache.now() }
    }
}
