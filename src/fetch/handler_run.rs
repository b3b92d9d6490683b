//! One run of the handler, and what becomes of its response.

use std::{future::Future, panic::resume_unwind, pin::pin, sync::Arc};

use http::{
    HeaderMap, HeaderName, Method, Request, Response, StatusCode,
    header::{AGE, CONTENT_LENGTH, DATE, ETAG, LAST_MODIFIED},
    response,
};
use http_body::Body;
use tower_service::Service;

use super::{
    catch_panic::catch_panic, collapse::Role, context::FetchContext, inner_call::Oneshot, refresh::OuterFetch,
    store_body::PendingEntry,
};
use crate::{
    body::ResponseBody,
    cache::flights::FetchOutcome,
    clock::Timestamp,
    entry::{
        response::{StoredResponse, response_head},
        stored::{Content, Stored},
    },
    http::{
        cache_status::{CacheStatus, Forward, Reason},
        conditional::{has_validator, make_conditional, selects_other_representation, weakly_matches},
        date::http_date,
        no_vary_search::QueryVariance,
        stored_fields::{StoredFields, remove_connection_fields},
    },
    invalidation::after_response::invalidate_after,
    lookup::{respond::failed, reuse::Miss, store::EntryTarget},
    policy::{
        cacheable_request::CacheableMethod,
        freshness::{Freshness, Timing},
        response_view::ResponseView,
        storable::{LARDER_CACHE_CONTROL, RequestConstraints, excluded_fields, storable},
    },
    tag::deduplicate,
};

/// One run of the handler for a request that the cache could not answer; boxed, since it is handed on from future to future.
pub(crate) struct HandlerRun {
    pub(crate) inquiry: Arc<FetchContext>,
    pub(crate) missing: Miss,
    pub(crate) role: Role,
}

impl HandlerRun {
    /// Runs the handler, stores its response if it may be, and tells those who wait.
    pub(crate) async fn run<S, ReqBody, ResBody>(
        self: Box<Self>,
        mut errand: Box<Oneshot<S, ReqBody>>,
    ) -> Result<Response<ResponseBody<ResBody>>, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>>,
        ResBody: Body + Send + 'static,
        ResBody::Error: Send,
    {
        self.inquiry.settings.key.rewrite(&mut errand.parts);
        let validating = match self.validated() {
            Some((_, stored)) => make_conditional(&mut errand.parts.headers, &stored.head.headers),
            None => false,
        };
        let FetchContext { cache, look, .. } = &*self.inquiry;
        errand.parts.extensions.insert(OuterFetch { cache: cache.clone(), key: look.key.digest() });
        let requested = self.inquiry.cache.now();
        let run = {
            let running = pin!(errand.run());
            catch_panic(running).await
        };
        let outcome = match run {
            Ok(Ok(response)) if response.status() == StatusCode::NOT_MODIFIED && validating => {
                return Ok(Box::pin(self.freshen(response, requested)).await);
            }
            Ok(Ok(response)) if !is_server_error(response.status()) => return Ok(self.on_response(response, requested).await),
            // In a box, for which this future is the smaller.
            failure => Box::new(failure),
        };
        // RFC 5861 §4. Whoever waits for this attempt is told by the drop of its lead, and decides likewise.
        if self.missing.why == Forward::Stale
            && let Some(stale) = self.inquiry.stale(Reason::StaleOnError).await
        {
            return Ok(stale);
        }
        match *outcome {
            Ok(Ok(response)) => Ok(self.on_response(response, requested).await),
            Ok(Err(error)) => Err(error),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// What is stored and can be validated by this attempt.
    pub(crate) fn validated(&self) -> Option<(&Arc<Stored>, &StoredResponse)> {
        let stored = self.missing.stored.as_ref().filter(|_| self.inquiry.look.method == CacheableMethod::Get)?;
        let Content::Response(response) = stored.content() else { return None };
        (response.head.status == StatusCode::OK && has_validator(&response.head.headers)).then_some((stored, response))
    }

    /// No `async fn`, whose future would have room for the response twice: where it was given, and taken apart.
    fn on_response<B>(
        self: Box<Self>,
        response: Response<B>,
        requested: Timestamp,
    ) -> impl Future<Output = Response<ResponseBody<B>>> + Send
    where
        B: Body + Send + 'static,
        B::Error: Send,
    {
        let exchange = Timing { requested, received: self.inquiry.cache.now(), chance: fastrand::f64() };
        let (mut parts, body) = response.into_parts();
        async move {
            let inquiry = Arc::clone(&self.inquiry);
            let invalidated = invalidate_after(&inquiry.cache, &inquiry.ahead.target, &Method::GET, &mut parts).await;
            let length = body.size_hint().exact();
            let plan = invalidated.and_then(|()| self.storage_plan(&parts, length, exchange));
            parts.headers.remove(LARDER_CACHE_CONTROL);
            let why = self.missing.why;
            let (outcome, body) = match plan {
                Ok(filled) => self.fill(filled, &parts).run(body, length, &mut parts.headers).await,
                Err(reason) => {
                    self.give_up(&parts, reason).await;
                    (Err(reason), ResponseBody::passing(body))
                }
            };
            let status = match outcome {
                Ok(ttl) => CacheStatus::stored(why, ttl),
                Err(reason) => CacheStatus::not_stored(why, reason),
            };
            status.attach(inquiry.settings.status_field, &mut parts);
            Response::from_parts(parts, body)
        }
    }

    /// Decides what will be stored, or why nothing will be.
    pub(crate) fn storage_plan(
        &self,
        response: &response::Parts,
        length: Option<u64>,
        exchange: Timing,
    ) -> Result<(Box<EntryTarget>, Freshness), Reason> {
        let FetchContext { cache, settings, look, ahead, .. } = &*self.inquiry;
        if look.method == CacheableMethod::Head {
            return Err(Reason::Head);
        }
        cache.may_store()?;
        let candidate = ResponseView::new(response, length);
        let terms = RequestConstraints { authorized: look.authorized, no_store: ahead.says_no_store() };
        let lifetime = storable(&settings.store, terms, &candidate, exchange)?;
        if matches!(self.role, Role::Passthrough) {
            return Err(Reason::WaitLimit);
        }
        let rule = look.rule_key().and_then(|key| Some(Box::new((key, QueryVariance::parse(&response.headers)?))));
        let key = rule.as_deref().and_then(|(_, rule)| look.key_by(rule)).unwrap_or_else(|| look.key.clone());
        let fields = candidate.vary.fields();
        let variant = (!fields.is_empty()).then(|| Box::new(settings.key.normalizers.variant(&key, &ahead.request, fields)));
        let filled = Box::new(EntryTarget {
            variant,
            key,
            rule,
            born: self.missing.epoch.ok_or(Reason::Backend)?,
            tags: ahead.all_tags(settings, cache.space(), &candidate)?,
            target_tags: ahead.target_tags.clone(),
            vary: candidate.vary,
        });
        Ok((filled, lifetime))
    }

    pub(crate) fn fill(self, (filled, lifetime): (Box<EntryTarget>, Freshness), response: &response::Parts) -> Box<PendingEntry> {
        PendingEntry::new(self.inquiry, filled, lifetime, response, self.role)
    }

    /// Tells those who wait that there is nothing for them, and remembers it.
    pub(crate) async fn give_up(self: Box<Self>, response: &response::Parts, reason: Reason) {
        let FetchContext { cache, look, ahead, .. } = &*self.inquiry;
        let landing = if response.status.is_server_error() { FetchOutcome::ServerError } else { FetchOutcome::Uncacheable };
        let replaces = landing == FetchOutcome::Uncacheable && reason.is_the_response();
        if replaces {
            cache.inner.uncacheable.remember(look.key.digest(), cache.now());
        }
        if let Some(epoch) = self.missing.epoch
            && ((replaces && reason != Reason::InnerLayer) || reason == Reason::Head)
            && self.missing.stored.as_deref().is_some_and(|stored| is_outdated_by(stored, response, reason))
        {
            // What was stored before is not what the handler answers now: it must not be used again, not even stale.
            cache.put_tombstone(self.missing.key(look), epoch, ahead.target_tags.clone()).await;
        }
        self.role.finish(landing);
    }
}

/// Whether a response that is not stored shows that a stored one is wrong: any answer to GET does, one to HEAD if it describes
/// another body (RFC 9111 §4.3.5).
fn is_outdated_by(stored: &Stored, response: &response::Parts, reason: Reason) -> bool {
    let Content::Response(stored) = stored.content() else { return false };
    let differs = |field: &HeaderName| {
        let new = response.headers.get(field);
        new.is_some() && new != stored.head.headers.get(field)
    };
    reason != Reason::Head || (response.status == StatusCode::OK && [ETAG, LAST_MODIFIED, CONTENT_LENGTH].iter().any(differs))
}

/// The statuses for which RFC 5861 §4 allows a stale response.
fn is_server_error(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

impl HandlerRun {
    /// Answers from what is stored, which the handler says has not changed, and makes it fresh again (RFC 9111 §4.3.3, §4.3.4).
    ///
    /// It takes the epoch of this attempt: the handler has judged it as of now. Its tags are the old ones and the new.
    pub(crate) async fn freshen<B, N>(
        self: Box<Self>,
        not_modified: Response<N>,
        requested: Timestamp,
    ) -> Response<ResponseBody<B>>
    where
        B: Body,
    {
        let inquiry = Arc::clone(&self.inquiry);
        let why = self.missing.why;
        let exchange = Timing { requested, received: inquiry.cache.now(), chance: fastrand::f64() };
        let (mut not_modified, _) = not_modified.into_parts();
        let invalidated = invalidate_after(&inquiry.cache, &inquiry.ahead.target, &Method::GET, &mut not_modified).await;
        let Some((stored, old)) = self.validated().map(|(stored, old)| (Arc::clone(stored), old.clone())) else {
            return Response::from_parts(not_modified, ResponseBody::stored(bytes::Bytes::new()));
        };
        if selects_other_representation(&not_modified.headers, &old.head.headers) {
            // It is about another representation, and updates nothing.
            self.role.finish(FetchOutcome::Failed);
            let status = CacheStatus::not_stored(why, Reason::NotModified);
            return match weakly_matches(&not_modified.headers, &old.head.headers) {
                true => inquiry.seeker().respond(&old, status),
                // Nothing has validated what is stored, and there is nothing else.
                false => failed(StatusCode::BAD_GATEWAY, status),
            };
        }
        let parts = freshened(&old, not_modified, exchange.received);
        match invalidated.and_then(|()| self.storage_plan(&parts, Some(old.body.len() as u64), exchange)) {
            Ok((mut filled, lifetime)) => {
                filled.tags.extend_from_slice(stored.tags());
                deduplicate(&mut filled.tags);
                let mut fill = self.fill((filled, lifetime), &parts);
                let fresh = fill.response(old.body);
                let status = match fill.put(fresh.clone()).await {
                    Ok(()) => CacheStatus::validated(why, lifetime.ttl()),
                    Err(reason) => CacheStatus::not_stored(why, reason),
                };
                inquiry.seeker().respond(&fresh, status)
            }
            Err(reason) => {
                let left_out = excluded_fields(&inquiry.settings.store, &parts);
                let headers = StoredFields::of(&parts.headers, left_out);
                let headers = headers.complete(old.head.status, old.body.len(), exchange.received);
                let unstored = StoredResponse {
                    head: response_head(old.head.status, headers),
                    generated: exchange.received,
                    fresh_until: exchange.received,
                    ..old
                };
                self.give_up(&parts, reason).await;
                inquiry.seeker().respond(&unstored, CacheStatus::not_stored(why, reason))
            }
        }
    }
}

/// The stored head with every field of the 304 in place of its own, but for the length and what belongs to the connection.
fn freshened(old: &StoredResponse, not_modified: response::Parts, now: Timestamp) -> response::Parts {
    let mut headers = old.head.headers.clone();
    headers.remove(AGE);
    let mut new = not_modified.headers;
    remove_connection_fields(&mut new);
    new.remove(CONTENT_LENGTH);
    replace_fields(&mut headers, &new);
    if !new.contains_key(DATE) {
        headers.insert(DATE, http_date(now));
    }
    let mut parts = Response::new(()).into_parts().0;
    parts.status = old.head.status;
    parts.headers = headers;
    parts.extensions = not_modified.extensions;
    parts
}

fn replace_fields(headers: &mut HeaderMap, new: &HeaderMap) {
    for name in new.keys() {
        headers.remove(name);
    }
    for (name, value) in new {
        headers.append(name.clone(), value.clone());
    }
}
