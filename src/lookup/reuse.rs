//! Whether a stored response may be used for a request (RFC 9111 §4).

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode};
use http_body::Body;

use super::{
    Lookup,
    respond::{failed, respond},
};
use crate::{
    backend::validity::Validity,
    body::ResponseBody,
    clock::Timestamp,
    entry::{
        epoch::Epoch,
        response::StoredResponse,
        stored::{Content, Freshness, Stored},
    },
    http::{
        cache_control::RequestDirectives,
        cache_status::{CacheStatus, Forward, Reason},
    },
    key::Key,
    policy::{cacheable_request::CacheableRequest, settings::Settings},
};

/// What a look-up means for a request.
pub(crate) enum Reuse<'f> {
    Serve(&'f StoredResponse, CacheStatus),
    /// The answer is there, and is to be fetched anew for those who come later.
    ServeAndRevalidate(&'f StoredResponse, CacheStatus),
    /// What was found may be validated if it is so.
    Forward(Forward, Validation),
    /// Nothing may be fetched either (RFC 9111 §5.2.1.7).
    OnlyIfCached(Forward),
}

/// Whether what is stored is of use for a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validation {
    Possible,
    Impossible,
}

/// Why a fetch is needed, and what it may store.
#[derive(Debug, Clone)]
pub(crate) struct Miss {
    pub(crate) why: Forward,
    /// Read before the handler runs; `None` if nothing may be stored.
    pub(crate) epoch: Option<Epoch>,
    /// The key of the variant that is missing or stale; `None` if it is the request's own key.
    pub(crate) at: Option<Box<Key>>,
    /// What is stored but may not be used as it is: it may be validated.
    pub(crate) stored: Option<Arc<Stored>>,
}

impl Miss {
    /// After a look-up that does not answer the request.
    pub(crate) fn after(lookup: Lookup, why: Forward, validation: Validation) -> Self {
        let Lookup { found, epoch, at, .. } = lookup;
        let stored = found.filter(|_| validation == Validation::Possible).map(|(stored, _)| stored);
        Self { why, epoch, at, stored }
    }

    /// The key under which the response is missing or stale.
    pub(crate) fn key<'k>(&'k self, look: &'k CacheableRequest) -> &'k Key {
        self.at.as_deref().unwrap_or(&look.key)
    }
}

/// A request that looks for an answer in the cache.
pub(crate) struct Seeker<'r> {
    pub(crate) look: &'r CacheableRequest,
    pub(crate) headers: &'r HeaderMap,
    pub(crate) settings: &'r Settings,
    pub(crate) now: Timestamp,
}

impl Seeker<'_> {
    /// Whether what was found answers this request (RFC 9111 §4).
    #[inline]
    pub(crate) fn judge<'f>(&self, lookup: &'f Lookup) -> Reuse<'f> {
        let Some((stored, standing)) = &lookup.found else { return self.miss(lookup.why, Validation::Impossible) };
        let Content::Response(response) = stored.content() else {
            return self.miss(lookup.why, Validation::Impossible);
        };
        if self.look.authorized && !response.allows_authorization {
            return self.miss(Forward::Request, Validation::Impossible);
        }
        let freshness = self.freshness(response, *standing);
        let ttl = freshness.ttl();
        if freshness.is_fresh() {
            if self.look.demands.as_ref().is_some_and(|demands| !accept(demands, response, self.now, ttl)) {
                return self.miss(Forward::Request, Validation::Possible);
            }
            let due = is_due(response, self);
            let status = CacheStatus::hit(ttl);
            return if due { Reuse::ServeAndRevalidate(response, status) } else { Reuse::Serve(response, status) };
        }
        let demands = self.look.demands();
        if freshness.is_usable_while_revalidating() && demands.accept_fresh(response.age(self.now), ttl) {
            return Reuse::ServeAndRevalidate(response, CacheStatus::hit(ttl));
        }
        if *standing == Validity::Valid && !response.must_not_serve_stale && demands.accept_stale(response.age(self.now), ttl) {
            return Reuse::Serve(response, CacheStatus::hit(ttl));
        }
        self.miss(Forward::Stale, Validation::Possible)
    }

    /// Answers from what another request's fetch has stored meanwhile.
    pub(crate) fn answer_collapsed<B: Body>(&self, lookup: &Lookup, why: Forward) -> Option<Response<ResponseBody<B>>> {
        let (stored, standing) = lookup.found.as_ref()?;
        let response = self.usable(stored)?;
        let freshness = self.freshness(response, *standing);
        freshness.is_fresh().then(|| self.respond(response, CacheStatus::collapsed(why, freshness.ttl())))
    }

    /// Answers from a stale response because the handler failed, or needs too long (RFC 9111 §4.2.4, RFC 5861 §4).
    pub(crate) fn answer_stale<B: Body>(&self, lookup: &Lookup, reason: Reason) -> Option<Response<ResponseBody<B>>> {
        let (stored, standing) = lookup.found.as_ref()?;
        let response = self.usable(stored)?;
        let freshness = self.freshness(response, *standing);
        let allowed = match reason {
            Reason::StaleWhileSlow => freshness.is_usable_while_revalidating() || freshness.is_usable_on_error(),
            _ => freshness.is_usable_on_error(),
        };
        allowed.then(|| self.respond(response, CacheStatus::stale(reason, freshness.ttl())))
    }

    #[inline]
    fn freshness(&self, response: &StoredResponse, standing: Validity) -> Freshness {
        let freshness = Freshness::of(response, self.now);
        match standing {
            Validity::Valid => freshness,
            Validity::Stale { since } => freshness.expired(since),
        }
    }

    /// Answers from what is stored.
    ///
    /// In line, as [`respond`] is: a response is large, and each hand-over of it is a copy.
    #[inline(always)]
    pub(crate) fn respond<B: Body>(&self, stored: &StoredResponse, status: CacheStatus) -> Response<ResponseBody<B>> {
        let selecting = self.look.selective.then_some(self.headers);
        respond(stored, self.look.method, selecting, status, self.now, self.settings.status_field)
    }

    fn miss(&self, why: Forward, validation: Validation) -> Reuse<'static> {
        if self.look.demands().only_if_cached { Reuse::OnlyIfCached(why) } else { Reuse::Forward(why, validation) }
    }

    fn usable<'s>(&self, stored: &'s Stored) -> Option<&'s StoredResponse> {
        let Content::Response(response) = stored.content() else { return None };
        (!self.look.authorized || response.allows_authorization).then_some(response)
    }
}

/// The answer to a request that is to be answered only from the cache, and cannot be.
pub(crate) fn unavailable<B: Body>(why: Forward) -> Response<ResponseBody<B>> {
    failed(StatusCode::GATEWAY_TIMEOUT, CacheStatus::not_stored(why, Reason::OnlyIfCached))
}

/// Whether a fresh response meets a client's demands. Of what does not change, a reload asks in vain, unless it insists
/// (RFC 8246 §2).
fn accept(demands: &RequestDirectives, response: &StoredResponse, now: Timestamp, ttl: i64) -> bool {
    if response.immutable { !demands.no_cache } else { demands.accept_fresh(response.age(now), ttl) }
}

/// Whether a fresh response is to be fetched anew already: with a chance that grows towards its end, the earlier the longer
/// its handler takes (Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede Prevention, 2015).
fn is_due(response: &StoredResponse, seeker: &Seeker<'_>) -> bool {
    let Some(eagerness) = seeker.settings.refresh_ahead else { return false };
    let left = response.fresh_until.since(seeker.now).as_secs_f64();
    let head_start = f64::from(response.cost) / 1000.0 * eagerness * -(1.0 - fastrand::f64()).ln();
    head_start >= left
}
