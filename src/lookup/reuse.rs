//! Whether a stored response may be used for a request (RFC 9111 §4).

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode};
use http_body::Body;

use super::{
    Lookup,
    respond::{error_response, respond},
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
    http::{
        cache_control::RequestDirectives,
        cache_status::{CacheStatus, Forward, Reason},
    },
    key::Key,
    policy::{cacheable_request::CacheableRequest, settings::Settings},
};

/// What a lookup means for a request.
pub(crate) enum Reuse<'l> {
    Serve(&'l StoredResponse, CacheStatus),
    /// Serve it, and refresh it in the background.
    ServeAndRevalidate(&'l StoredResponse, CacheStatus),
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
    /// The key of the variant that is missing or stale; `None` for the request's own key.
    pub(crate) variant_key: Option<Box<Key>>,
    /// The stored response that the fetch may validate.
    pub(crate) stored: Option<Arc<Stored>>,
}

impl Miss {
    /// A miss without a stored response to validate.
    pub(crate) fn fetching(lookup: Lookup, why: Forward) -> Self {
        Self { why, epoch: lookup.epoch, variant_key: lookup.variant_key, stored: None }
    }

    /// A miss whose stored response may be validated.
    pub(crate) fn validating(lookup: Lookup, why: Forward) -> Self {
        let stored = lookup.found.map(|(stored, _)| stored);
        Self { why, epoch: lookup.epoch, variant_key: lookup.variant_key, stored }
    }

    /// A miss after a failed lookup: nothing may be stored, since no epoch is known.
    pub(crate) fn without_lookup() -> Self {
        Self { why: Forward::UriMiss, epoch: None, variant_key: None, stored: None }
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
            let status = CacheStatus::hit(ttl);
            let due = self.is_due_for_early_refresh(response);
            return if due { Reuse::ServeAndRevalidate(response, status) } else { Reuse::Serve(response, status) };
        }
        let directives = self.request.directives();
        if freshness.is_usable_while_revalidating() && directives.accept_fresh(response.age(self.now), ttl) {
            return Reuse::ServeAndRevalidate(response, CacheStatus::hit(ttl));
        }
        // `max-stale` (RFC 9111 §5.2.1.2); it does not extend to a response whose tag was expired.
        if *validity == Validity::Valid && !response.must_not_serve_stale && directives.accept_stale(response.age(self.now), ttl)
        {
            return Reuse::Serve(response, CacheStatus::hit(ttl));
        }
        self.must_validate(Forward::Stale)
    }

    /// Answers from the response that another request's fetch has stored.
    pub(crate) fn answer_collapsed<B: Body>(&self, lookup: &Lookup, why: Forward) -> Option<Response<ResponseBody<B>>> {
        let (response, freshness) = self.usable(lookup)?;
        freshness.is_fresh().then(|| self.respond(response, CacheStatus::collapsed(why, freshness.ttl())))
    }

    /// Answers from a stale response because the handler failed or is slow (RFC 9111 §4.2.4, RFC 5861 §4).
    pub(crate) fn answer_stale<B: Body>(&self, lookup: &Lookup, reason: Reason) -> Option<Response<ResponseBody<B>>> {
        let (response, freshness) = self.usable(lookup)?;
        let allowed = match reason {
            Reason::StaleWhileSlow => freshness.is_usable_while_revalidating() || freshness.is_usable_on_error(),
            _ => freshness.is_usable_on_error(),
        };
        allowed.then(|| self.respond(response, CacheStatus::stale(reason, freshness.ttl())))
    }

    /// Answers from a stored response.
    ///
    /// Inlined like [`respond`]: a response is large, and each return of one by value is a copy.
    #[inline(always)]
    pub(crate) fn respond<B: Body>(&self, stored: &StoredResponse, status: CacheStatus) -> Response<ResponseBody<B>> {
        let conditions = self.request.conditional.then_some(self.headers);
        respond(stored, self.request.method, conditions, status, self.now, self.settings)
    }

    fn usable<'l>(&self, lookup: &'l Lookup) -> Option<(&'l StoredResponse, FreshnessState)> {
        let (stored, validity) = lookup.found.as_ref()?;
        let Content::Response(response) = stored.content() else { return None };
        self.may_share(response).then(|| (response, self.freshness(response, *validity)))
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

    /// Whether a fresh response is due for a refresh before it becomes stale. The probability rises towards the end of its lifetime, earlier for a slower
    /// handler (Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede Prevention, 2015).
    fn is_due_for_early_refresh(&self, response: &StoredResponse) -> bool {
        let Some(eagerness) = self.settings.refresh_ahead else { return false };
        let left = response.fresh_until.since(self.now).as_secs_f64();
        let head_start = f64::from(response.handler_millis) / 1000.0 * eagerness * -(1.0 - fastrand::f64()).ln();
        head_start >= left
    }
}

/// The response to a request that only the cache may answer, if it cannot (RFC 9111 §5.2.1.7).
pub(crate) fn only_if_cached<B: Body>(why: Forward) -> Response<ResponseBody<B>> {
    error_response(StatusCode::GATEWAY_TIMEOUT, CacheStatus::not_stored(why, Reason::OnlyIfCached))
}

/// Whether a fresh response satisfies the client's directives. An immutable response is revalidated only on `no-cache`
/// (RFC 8246 §2).
fn satisfies(directives: &RequestDirectives, response: &StoredResponse, now: Timestamp, ttl: i64) -> bool {
    if response.immutable { !directives.no_cache } else { directives.accept_fresh(response.age(now), ttl) }
}
