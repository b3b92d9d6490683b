//! The data that all steps of a fetch share.

use std::sync::Arc;

use http::{HeaderValue, Response, header::ACCEPT_ENCODING, request::Parts};
use http_body::Body;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::{
    body::ResponseBody,
    cache::{
        Cache,
        detached::{OnDisconnect, until},
        fetch_slots::FetchSlot,
        fillers::Filler,
        outage_log::{Effect, report},
    },
    error::Error,
    http::cache_status::Reason,
    invalidation::response_tags::RequestTags,
    key::revision::NextRevision,
    lookup::{reuse::PresentedRequest, variants::Lookup},
    policy::{
        cacheable_request::{CacheableMethod, CacheableRequest},
        settings::Settings,
    },
    rewarm::repeat::Repeatable,
    stats::{fill::Fill, fill_result::Trigger, route_table::RouteId},
};

/// A request that a lookup did not answer, with all that the steps of its fetch need.
pub(crate) struct FetchContext {
    pub(crate) cache: Cache,
    pub(crate) settings: Arc<Settings>,
    pub(crate) request: Box<CacheableRequest>,
    pub(crate) tags: RequestTags,
    /// The slot of this fetch on its route.
    pub(crate) slot: FetchSlot,
    /// The request, to be repeated after an invalidation, if its layer wants that.
    pub(crate) repeatable: Option<Arc<dyn Repeatable>>,
    /// The place of its route in the statistics.
    pub(crate) route: RouteId,
    /// The revision for which the request fills the cache, if that is prepared only.
    pub(crate) prepared: Option<NextRevision>,
    /// The type of the inner service.
    pub(crate) inner: &'static str,
}

impl OnDisconnect for Arc<FetchContext> {
    const NEEDS_NO_TIMER: bool = false;

    fn on_disconnect(&self) -> Option<Instant> {
        let deadline = self.slot.on_disconnect();
        if deadline.is_none() && self.slot.may_be_abandoned() {
            self.settings.warn_once(self.slot.path(), "max_abandoned_fetches", |route| {
                tracing::warn!(
                    route,
                    "a fetch of the route `{route}` ended with its client, because too many fetches continue without one: \
                     `Cache::with_max_abandoned_fetches` sets the limit. Logged once a route."
                );
            });
        }
        deadline
    }

    fn on_limit(&self) {
        warn_of_abandoned_limit(&self.settings, self.slot.path());
    }
}

/// Limits a run of the handler that no client waits for. It does not hold the context, which the run changes.
pub(crate) struct BackgroundLimit {
    deadline: Instant,
    settings: Arc<Settings>,
    route: Option<String>,
}

impl BackgroundLimit {
    pub(crate) fn new(deadline: Instant, settings: &Arc<Settings>, slot: &FetchSlot) -> Self {
        Self { deadline, settings: Arc::clone(settings), route: slot.path().map(str::to_owned) }
    }

    /// Runs `work` until the deadline at most.
    pub(crate) async fn run(self, work: impl Future<Output = ()>) {
        let Self { deadline, settings, route } = self;
        until(deadline, move || warn_of_abandoned_limit(&settings, route.as_deref()), work).await;
    }

    /// Runs `work` in a task of its own.
    pub(crate) fn spawn(self, work: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.run(work).in_current_span());
    }
}

/// Logs once a route that a fetch without a client was dropped at its limit.
fn warn_of_abandoned_limit(settings: &Settings, route: Option<&str>) {
    settings.warn_once(route, "abandoned_fetch_limit", |route| {
        tracing::warn!(
            route,
            "a handler of the route `{route}` for which no client waited exceeded its time limit and was dropped: \
             `Cache::with_abandoned_fetch_limit` sets the limit. Logged once a route."
        );
    });
}

impl FetchContext {
    /// Returns the limit for a run of the handler that no client waits for.
    pub(crate) fn in_background_until(&self, deadline: Instant) -> BackgroundLimit {
        BackgroundLimit::new(deadline, &self.settings, &self.slot)
    }

    /// Logs once a route that a limit was met, if that is what `reason` says.
    pub(crate) fn warn_of_limit(&self, reason: Reason) {
        self.settings.warn_of_limit(self.slot.path(), reason);
    }

    /// Logs once a route that a lifetime was shortened by the default of `max_ttl`.
    pub(crate) fn warn_of_max_ttl(&self) {
        self.settings.warn_once(self.slot.path(), "max_ttl", |route| {
            tracing::warn!(
                route,
                "a response of the route `{route}` states a lifetime of more than 24 hours, and is stored for 24 hours: \
                 `CacheLayer::max_ttl` sets the limit. Logged once a route."
            );
        });
    }

    /// Whether the handler may be asked with the validators of a stored response: a POST has no such form (RFC 9110 §13.1.2).
    pub(crate) fn may_validate(&self) -> bool {
        matches!(self.request.method, CacheableMethod::Get | CacheableMethod::Query)
    }

    /// Gives a request the form in which the handler of a fetch sees it.
    pub(crate) fn rewrite(&self, parts: &mut Parts) {
        self.settings.key.rewrite(parts);
        if self.settings.compression.is_some() {
            // The codings are made of the response without one.
            parts.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
    }

    /// Logs once a route that another service has filled the key with this digest, now that this one has.
    pub(crate) fn note_filler(&self, digest: u64) {
        let Self { cache, settings, slot, .. } = self;
        let filler = Filler { made_at: settings.made_at, settings: settings.hash(), route: slot.path(), inner: self.inner };
        let Some(other) = cache.inner.fillers.note(digest, &filler) else { return };
        settings.warn_once(slot.path(), "scope", |route| {
            tracing::warn!(
                route,
                "two services share entries: {other}, and {filler}. A client of one may be answered with a page of the other: if they answer \
                 the same URI differently, give each its own `CacheLayer::scope`, else make both from one layer. Logged once a route."
            );
        });
    }

    /// Begins to count a run of the handler.
    pub(crate) fn fill(&self, trigger: Trigger) -> Fill {
        Fill::begin(Arc::clone(&self.cache.inner.statistics), self.route, trigger)
    }

    /// Looks the request up again; `None` if the backend failed.
    pub(crate) async fn lookup(&self) -> Option<Lookup> {
        self.try_lookup().await.inspect_err(|error| report(error, Effect::HandlerAnswers)).ok()
    }

    /// Looks the request up.
    pub(crate) async fn try_lookup(&self) -> Result<Lookup, Error> {
        let (settings, request, headers) = (&self.settings, &self.request, &self.tags.headers);
        if let Some(lookup) = self.cache.lookup_now(settings, request, headers) {
            return Ok(lookup);
        }
        // Boxed: the future is large, and most lookups in memory return above.
        Box::pin(self.cache.lookup(settings, request, headers, &self.tags.known_tags())).await
    }

    /// Looks the request up among the near copies, after the store has failed with `failure`; `None` if no copy is found.
    pub(crate) fn lookup_in_outage(&self, failure: &Error) -> Option<Lookup> {
        if failure.is_invalid_input() {
            return None;
        }
        self.cache.lookup_in_outage(&self.settings, &self.request, &self.tags.headers)
    }

    /// Answers with a stale response if one is allowed. It is looked up again, so that one that has been invalidated meanwhile is
    /// not used.
    pub(crate) async fn answer_stale<B: Body>(&self, reason: Reason) -> Option<Response<ResponseBody<B>>> {
        let lookup = match self.try_lookup().await {
            Ok(lookup) => lookup,
            Err(failure) => {
                report(&failure, Effect::HandlerAnswers);
                self.lookup_in_outage(&failure)?
            }
        };
        self.presented().answer_stale(&lookup, reason)
    }

    /// The request, presented to the cache now.
    pub(crate) fn presented(&self) -> PresentedRequest<'_> {
        PresentedRequest { request: &self.request, headers: &self.tags.headers, settings: &self.settings, now: self.cache.now() }
    }
}
