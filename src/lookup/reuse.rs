//! Whether a stored response may be used for a request (RFC 9111 §4). What an invalidation has made unusable is not found at all: stores judge it by
//! `backend/tag_record.rs`.

use std::sync::Arc;

use http::{Extensions, HeaderMap, HeaderValue, Response, StatusCode, header::CACHE_CONTROL};
use http_body::Body;

use super::{
    representation::Representation,
    respond::{body_length, error_response, respond},
    store::failure_of,
    variants::Lookup,
};
use crate::{
    backend::validity::Validity,
    body::ResponseBody,
    clock::Timestamp,
    entry::{
        epoch::Epoch,
        response::StoredResponse,
        stored::{Content, FreshnessState, Stored},
    },
    error::Error,
    http::{
        cache_control::RequestDirectives,
        cache_status::{CacheStatus, Forward, Reason},
    },
    key::Key,
    policy::{
        cacheable_request::{CacheableMethod, CacheableRequest},
        refresh_ahead::is_due,
        settings::Settings,
    },
};

/// What a lookup means for a request.
pub(crate) enum Reuse<'l> {
    Serve(&'l StoredResponse, CacheStatus),
    /// Serve it, and refresh it in the background.
    ServeAndRevalidate(&'l StoredResponse, CacheStatus),
    /// Serve it, and compare it with what the handler responds, in the background.
    ServeAndVerify(&'l StoredResponse, CacheStatus),
    /// Ask the handler; the stored response may be validated (RFC 9111 §4.3).
    Validate(Forward),
    /// Ask the handler; no stored response is of use.
    Fetch(Forward),
    /// Respond with 504: the client allows no fetch (RFC 9111 §5.2.1.7).
    OnlyIfCached(Forward),
}

/// Why a fetch is needed, and what it may store.
#[derive(Debug, Clone)]
pub(crate) struct Miss {
    pub(crate) why: Forward,
    /// Read before the handler runs; `None` if nothing may be stored.
    pub(crate) epoch: Option<Epoch>,
    /// How the store failed, if the lookup did.
    pub(crate) failure: Option<Reason>,
    /// The key of the variant that is missing or stale; `None` for the request's own key.
    pub(crate) variant_key: Option<Box<Key>>,
    /// The stored response that the fetch may validate.
    pub(crate) stored: Option<Arc<Stored>>,
}

impl Miss {
    /// A miss without a stored response to validate.
    pub(crate) fn fetching(lookup: Lookup, why: Forward) -> Self {
        Self { why, epoch: lookup.epoch, failure: None, variant_key: lookup.variant_key, stored: None }
    }

    /// A miss whose stored response may be validated.
    pub(crate) fn validating(lookup: Lookup, why: Forward) -> Self {
        let stored = lookup.found.map(|(stored, _)| stored);
        Self { why, epoch: lookup.epoch, failure: None, variant_key: lookup.variant_key, stored }
    }

    /// A miss after a lookup that failed with `error`: nothing may be stored, since no epoch is known.
    pub(crate) fn without_lookup(error: &Error) -> Self {
        Self { why: Forward::UriMiss, epoch: None, failure: Some(failure_of(error)), variant_key: None, stored: None }
    }

    /// Returns the epoch at which the handler's response is born; the error is the reason why there is none.
    pub(crate) fn known_epoch(&self) -> Result<Epoch, Reason> {
        // A store that is suspended finds nothing, and does not fail.
        self.epoch.ok_or(self.failure.unwrap_or(Reason::StoreSuspended))
    }

    /// The key under which the response is missing or stale.
    pub(crate) fn key<'k>(&'k self, request: &'k CacheableRequest) -> &'k Key {
        self.variant_key.as_deref().unwrap_or(&request.key)
    }
}

/// A request as it is presented to the cache at one point in time.
pub(crate) struct PresentedRequest<'r> {
    pub(crate) request: &'r CacheableRequest,
    pub(crate) headers: &'r HeaderMap,
    pub(crate) settings: &'r Settings,
    pub(crate) now: Timestamp,
}

impl PresentedRequest<'_> {
    /// Decides whether the lookup answers this request (RFC 9111 §4).
    #[inline]
    pub(crate) fn reuse<'l>(&self, lookup: &'l Lookup) -> Reuse<'l> {
        let Some((stored, validity)) = &lookup.found else { return self.must_fetch(lookup.why) };
        let Content::Response(response) = stored.content() else { return self.must_fetch(lookup.why) };
        if !self.may_share(response) {
            return self.must_fetch(Forward::Request);
        }
        let freshness = self.freshness(response, *validity);
        let ttl = freshness.ttl();
        if freshness.is_fresh() {
            if self.request.directives.as_ref().is_some_and(|directives| !satisfies(directives, response, self.now, ttl)) {
                return self.must_validate(Forward::Request);
            }
            let status = self.describe(CacheStatus::hit(ttl), stored, response);
            if self.settings.acts_after_hits {
                return self.serve_and_act(response, status, *validity);
            }
            return Reuse::Serve(response, status);
        }
        let directives = self.request.directives();
        if freshness.is_usable_while_revalidating() && directives.accept_fresh(response.age(self.now), ttl) {
            let status = self.describe(CacheStatus::stale_hit(ttl), stored, response);
            return Reuse::ServeAndRevalidate(response, status);
        }
        // `max-stale` (RFC 9111 §5.2.1.2); it does not extend to a response whose tag was expired.
        if *validity == Validity::Valid && !response.must_not_serve_stale && directives.accept_stale(response.age(self.now), ttl)
        {
            return Reuse::Serve(response, self.describe(CacheStatus::stale_hit(ttl), stored, response));
        }
        self.must_validate(Forward::Stale)
    }

    /// Answers from the response that another request's fetch has stored.
    pub(crate) fn answer_collapsed<B: Body>(&self, lookup: &Lookup, why: Forward) -> Option<Response<ResponseBody<B>>> {
        let (stored, response, freshness) = self.usable(lookup)?;
        let status = CacheStatus::collapsed(why, freshness.ttl());
        freshness.is_fresh().then(|| self.respond(response, self.describe(status, stored, response)))
    }

    /// Answers from a stale response because the handler failed or is slow (RFC 9111 §4.2.4, RFC 5861 §4).
    pub(crate) fn answer_stale<B: Body>(&self, lookup: &Lookup, reason: Reason) -> Option<Response<ResponseBody<B>>> {
        let (stored, response, freshness) = self.usable(lookup)?;
        let allowed = match reason {
            Reason::StaleWhileSlow => freshness.is_usable_while_revalidating() || freshness.is_usable_on_error(),
            _ => freshness.is_usable_on_error(),
        };
        let status = CacheStatus::stale(reason, freshness.ttl());
        allowed.then(|| self.respond(response, self.describe(status, stored, response)))
    }

    /// Adds to a status what the stored response that answers says.
    #[inline]
    fn describe(&self, status: CacheStatus, stored: &Stored, response: &StoredResponse) -> CacheStatus {
        status.answered_from(response.age(self.now), response.handler_millis).with_tags(stored.tags().len())
    }

    /// Answers from a stored response.
    ///
    /// Inlined like [`respond`]: a response is large, and each return of one by value is a copy.
    #[inline(always)]
    pub(crate) fn respond<B: Body>(&self, stored: &StoredResponse, status: CacheStatus) -> Response<ResponseBody<B>> {
        self.respond_with(stored, self.representation(stored), status, Extensions::new())
    }

    /// Answers with this representation of a stored response.
    #[inline(always)]
    pub(crate) fn respond_with<B: Body>(
        &self,
        stored: &StoredResponse,
        representation: Representation<'_>,
        status: CacheStatus,
        extensions: Extensions,
    ) -> Response<ResponseBody<B>> {
        let conditions = self.request.conditional.then_some(self.headers);
        respond(stored, representation, self.request.method, conditions, status, self.now, self.settings, extensions)
    }

    /// Selects the representation of a stored response that answers.
    #[inline(always)]
    pub(crate) fn representation<'s>(&self, stored: &'s StoredResponse) -> Representation<'s> {
        Representation::of(stored, self.headers, self.settings)
    }

    /// Returns the length of the body of that response, in bytes.
    #[inline(always)]
    pub(crate) fn body_length(&self, representation: Representation<'_>) -> u64 {
        body_length(representation, self.request.method, self.request.conditional.then_some(self.headers))
    }

    fn usable<'l>(&self, lookup: &'l Lookup) -> Option<(&'l Stored, &'l StoredResponse, FreshnessState)> {
        let (stored, validity) = lookup.found.as_ref()?;
        let Content::Response(response) = stored.content() else { return None };
        self.may_share(response).then(|| (&**stored, response, self.freshness(response, *validity)))
    }

    /// Whether a request with credentials may be answered from this response (RFC 9111 §3.5).
    fn may_share(&self, response: &StoredResponse) -> bool {
        !self.request.authorized || response.allows_authorization
    }

    #[inline]
    fn freshness(&self, response: &StoredResponse, validity: Validity) -> FreshnessState {
        let freshness = FreshnessState::of(response, self.now);
        match validity {
            Validity::Valid => freshness,
            Validity::Stale { since } => freshness.expired(since),
        }
    }

    fn must_fetch(&self, why: Forward) -> Reuse<'static> {
        if self.request.directives().only_if_cached { Reuse::OnlyIfCached(why) } else { Reuse::Fetch(why) }
    }

    fn must_validate(&self, why: Forward) -> Reuse<'static> {
        if self.request.directives().only_if_cached { Reuse::OnlyIfCached(why) } else { Reuse::Validate(why) }
    }

    /// Serves a fresh response, and lets the handler run afterwards if that is due.
    #[inline(never)]
    fn serve_and_act<'l>(&self, response: &'l StoredResponse, status: CacheStatus, validity: Validity) -> Reuse<'l> {
        if self.is_due_for_early_refresh(response) {
            return Reuse::ServeAndRevalidate(response, status);
        }
        let verified = validity == Validity::Valid && self.is_verified();
        if verified { Reuse::ServeAndVerify(response, status) } else { Reuse::Serve(response, status) }
    }

    /// Whether this hit is one of those that are verified: not a HEAD, for a response that is shared.
    fn is_verified(&self) -> bool {
        let shared = !self.request.authorized && self.settings.key.principal.is_none();
        let one_in = self.settings.verification.one_in;
        one_in > 0 && shared && self.request.method != CacheableMethod::Head && fastrand::u32(..one_in) == 0
    }

    /// Whether a fresh response is due for a refresh before it becomes stale.
    fn is_due_for_early_refresh(&self, response: &StoredResponse) -> bool {
        let Some(eagerness) = self.settings.refresh_ahead else { return false };
        is_due(eagerness, response.handler_millis, response.fresh_until.since(self.now))
    }
}

/// The response to a request that only the cache may answer, if it cannot (RFC 9111 §5.2.1.7).
pub(crate) fn only_if_cached<B: Body>(why: Forward) -> Response<ResponseBody<B>> {
    let mut response = error_response(StatusCode::GATEWAY_TIMEOUT, CacheStatus::not_stored(why, Reason::OnlyIfCached));
    // Of this moment only: another cache must not keep it.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether a fresh response satisfies the client's directives. An immutable response is revalidated only on `no-cache`
/// (RFC 8246 §2).
fn satisfies(directives: &RequestDirectives, response: &StoredResponse, now: Timestamp, ttl: i64) -> bool {
    if response.immutable { !directives.no_cache } else { directives.accept_fresh(response.age(now), ttl) }
}
