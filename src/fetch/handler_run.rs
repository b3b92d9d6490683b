//! One run of the handler, and the storing of its response.

use std::{future::Future, panic::resume_unwind, pin::pin, sync::Arc};

use http::{
    HeaderMap, HeaderName, Method, Response, StatusCode,
    header::{AGE, CONTENT_LENGTH, DATE, ETAG, LAST_MODIFIED},
    response,
};
use http_body::Body;

use super::{
    catch_panic::catch_panic,
    collapse::Role,
    context::FetchContext,
    inner_call::{HttpService, Oneshot},
    refresh::OuterFetch,
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
    lookup::{finish::finish, respond::error_response, reuse::Miss, store::EntryTarget},
    policy::{
        cacheable_request::CacheableMethod,
        freshness::{Freshness, Timing},
        response_view::ResponseView,
        storable::{LARDER_CACHE_CONTROL, RequestConstraints, excluded_fields, storable},
    },
    tag::deduplicate,
};

/// One run of the handler for a request that the cache could not answer; boxed because several futures move it.
pub(crate) struct HandlerRun {
    pub(crate) context: Arc<FetchContext>,
    pub(crate) miss: Miss,
    pub(crate) role: Role,
}

impl HandlerRun {
    /// Runs the handler, stores its response if that is allowed, and reports the outcome to the followers.
    pub(crate) async fn run<S: HttpService<ReqBody>, ReqBody>(
        self: Box<Self>,
        mut call: Box<Oneshot<S, ReqBody>>,
    ) -> Result<Response<ResponseBody<S::ResBody>>, S::Error> {
        self.context.settings.key.rewrite(&mut call.parts);
        let validating = match self.validated() {
            Some((_, stored)) => make_conditional(&mut call.parts.headers, &stored.head.headers),
            None => false,
        };
        let FetchContext { cache, request, .. } = &*self.context;
        call.parts.extensions.insert(OuterFetch { cache: cache.clone(), key: request.key.digest() });
        let requested = self.context.cache.now();
        let result = {
            let running = pin!(call.run());
            catch_panic(running).await
        };
        let failure = match result {
            Ok(Ok(response)) if response.status() == StatusCode::NOT_MODIFIED && validating => {
                return Ok(Box::pin(self.freshen(response, requested)).await);
            }
            Ok(Ok(response)) if !is_server_error(response.status()) => return Ok(self.on_response(response, requested).await),
            // Boxed to keep this future small: a response is large, and this arm is rare.
            failure => Box::new(failure),
        };
        // RFC 5861 §4. If this run fails, dropping its leader guard lets the followers decide in the same way.
        if self.miss.why == Forward::Stale
            && let Some(stale) = self.context.answer_stale(Reason::StaleOnError).await
        {
            return Ok(stale);
        }
        match *failure {
            Ok(Ok(response)) => Ok(self.on_response(response, requested).await),
            Ok(Err(error)) => Err(error),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// The stored response that this run can validate.
    pub(crate) fn validated(&self) -> Option<(&Arc<Stored>, &StoredResponse)> {
        let stored = self.miss.stored.as_ref().filter(|_| self.context.request.method == CacheableMethod::Get)?;
        let Content::Response(response) = stored.content() else { return None };
        (response.head.status == StatusCode::OK && has_validator(&response.head.headers)).then_some((stored, response))
    }

    /// Not an `async fn`, whose future would hold the response twice: as its argument and in parts.
    fn on_response<B>(
        self: Box<Self>,
        response: Response<B>,
        requested: Timestamp,
    ) -> impl Future<Output = Response<ResponseBody<B>>> + Send
    where
        B: Body + Send + 'static,
        B::Error: Send,
    {
        let timing = self.timing(requested);
        let (mut head, body) = response.into_parts();
        async move {
            let context = Arc::clone(&self.context);
            let invalidated = invalidate_after(&context.cache, &context.tags.target, &Method::GET, &mut head).await;
            let length = body.size_hint().exact();
            let plan = invalidated.and_then(|()| self.storage_plan(&head, length, timing));
            head.headers.remove(LARDER_CACHE_CONTROL);
            let why = self.miss.why;
            let (outcome, body) = match plan {
                Ok(plan) => self.pending_entry(plan, &head).store_body(body, length, &mut head.headers).await,
                Err(reason) => {
                    self.not_stored(&head, reason).await;
                    (Err(reason), ResponseBody::forwarded(body))
                }
            };
            let status = match outcome {
                Ok(ttl) => CacheStatus::stored(why, ttl),
                Err(reason) => CacheStatus::not_stored(why, reason),
            };
            finish(status, &context.settings, &mut head);
            Response::from_parts(head, body)
        }
    }

    fn timing(&self, requested: Timestamp) -> Timing {
        Timing { requested, received: self.context.cache.now(), jitter_draw: fastrand::f64() }
    }

    /// Decides where and for how long the response is stored; the error is the reason why it is not.
    pub(crate) fn storage_plan(
        &self,
        response: &response::Parts,
        length: Option<u64>,
        timing: Timing,
    ) -> Result<StoragePlan, Reason> {
        let FetchContext { cache, settings, request, tags, .. } = &*self.context;
        if request.method == CacheableMethod::Head {
            return Err(Reason::Head);
        }
        cache.may_store()?;
        let view = ResponseView::new(response, length);
        let constraints = RequestConstraints { authorized: request.authorized, no_store: tags.says_no_store() };
        let freshness = storable(&settings.store, constraints, &view, timing)?;
        if matches!(self.role, Role::Passthrough) {
            return Err(Reason::WaitLimit);
        }
        let rule = request.rule_key().and_then(|key| Some(Box::new((key, QueryVariance::parse(&response.headers)?))));
        let key = rule.as_deref().and_then(|(_, rule)| request.key_by(rule)).unwrap_or_else(|| request.key.clone());
        let fields = view.vary.fields();
        let variant = (!fields.is_empty()).then(|| Box::new(settings.key.normalizers.variant(&key, &tags.headers, fields)));
        let target = Box::new(EntryTarget {
            variant,
            key,
            rule,
            born: self.miss.epoch.ok_or(Reason::Backend)?,
            tags: tags.all_tags(settings, cache.space(), &view)?,
            target_tags: tags.target_tags.clone(),
            vary: view.vary,
        });
        Ok(StoragePlan { target, freshness })
    }

    pub(crate) fn pending_entry(self, plan: StoragePlan, head: &response::Parts) -> Box<PendingEntry> {
        PendingEntry::new(self.context, plan.target, plan.freshness, head, self.role)
    }

    /// Reports to the followers that nothing is stored, remembers an uncacheable key, and removes a stored response that this one
    /// shows to be wrong.
    pub(crate) async fn not_stored(self: Box<Self>, response: &response::Parts, reason: Reason) {
        let FetchContext { cache, request, tags, .. } = &*self.context;
        let outcome = if response.status.is_server_error() { FetchOutcome::ServerError } else { FetchOutcome::Uncacheable };
        let replaces = outcome == FetchOutcome::Uncacheable && reason.is_the_response();
        if replaces {
            cache.inner.uncacheable.remember(request.key.digest(), cache.now());
        }
        if let Some(epoch) = self.miss.epoch
            && ((replaces && reason != Reason::InnerLayer) || reason == Reason::Head)
            && self.miss.stored.as_deref().is_some_and(|stored| is_outdated_by(stored, response, reason))
        {
            // The handler no longer answers with the stored response: it must not be used again, not even stale.
            cache.put_tombstone(self.miss.key(request), epoch, tags.target_tags.clone()).await;
        }
        self.role.finish(outcome);
    }
}

/// Where and for how long a response is stored.
pub(crate) struct StoragePlan {
    pub(crate) target: Box<EntryTarget>,
    pub(crate) freshness: Freshness,
}

/// Whether a response that is not stored shows that the stored one is wrong: every response to GET does, one to HEAD if it
/// describes another body (RFC 9111 §4.3.5).
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
    /// Answers from the stored response after a 304, and makes it fresh again (RFC 9111 §4.3.3, §4.3.4).
    ///
    /// The entry gets the epoch of this run, at which the handler has confirmed it, and both its old and its new tags.
    pub(crate) async fn freshen<B, N>(
        self: Box<Self>,
        not_modified: Response<N>,
        requested: Timestamp,
    ) -> Response<ResponseBody<B>>
    where
        B: Body,
    {
        let context = Arc::clone(&self.context);
        let why = self.miss.why;
        let timing = self.timing(requested);
        let (mut not_modified, _) = not_modified.into_parts();
        let invalidated = invalidate_after(&context.cache, &context.tags.target, &Method::GET, &mut not_modified).await;
        let Some((stored, old)) = self.validated().map(|(stored, old)| (Arc::clone(stored), old.clone())) else {
            // Not reached: only a run that validates a stored response takes a 304 for one.
            return error_response(StatusCode::BAD_GATEWAY, CacheStatus::not_stored(why, Reason::NotModified));
        };
        if selects_other_representation(&not_modified.headers, &old.head.headers) {
            // The 304 describes another representation, and updates nothing.
            self.role.finish(FetchOutcome::Failed);
            let status = CacheStatus::not_stored(why, Reason::NotModified);
            return match weakly_matches(&not_modified.headers, &old.head.headers) {
                true => context.presented().respond(&old, status),
                // The stored response has not been validated, and there is no other.
                false => error_response(StatusCode::BAD_GATEWAY, status),
            };
        }
        let head = freshened(&old, not_modified, timing.received);
        match invalidated.and_then(|()| self.storage_plan(&head, Some(old.body.len() as u64), timing)) {
            Ok(mut plan) => {
                plan.target.tags.extend_from_slice(stored.tags());
                deduplicate(&mut plan.target.tags);
                let ttl = plan.freshness.ttl();
                let mut pending = self.pending_entry(plan, &head);
                let fresh = pending.response(old.body);
                let status = match pending.put(fresh.clone()).await {
                    Ok(()) => CacheStatus::validated(why, ttl),
                    Err(reason) => CacheStatus::not_stored(why, reason),
                };
                context.presented().respond(&fresh, status)
            }
            Err(reason) => {
                let excluded = excluded_fields(&context.settings.store, &head);
                let headers = StoredFields::of(&head.headers, excluded);
                let headers = headers.complete(old.head.status, old.body.len(), timing.received);
                let unstored = StoredResponse {
                    head: response_head(old.head.status, headers),
                    generated: timing.received,
                    fresh_until: timing.received,
                    ..old
                };
                self.not_stored(&head, reason).await;
                context.presented().respond(&unstored, CacheStatus::not_stored(why, reason))
            }
        }
    }
}

/// The stored head with the fields of the 304 in place of its own, except the length and the connection's fields (RFC 9111 §3.2).
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
    let mut head = Response::new(()).into_parts().0;
    head.status = old.head.status;
    head.headers = headers;
    head.extensions = not_modified.extensions;
    head
}

fn replace_fields(headers: &mut HeaderMap, new: &HeaderMap) {
    for name in new.keys() {
        headers.remove(name);
    }
    for (name, value) in new {
        headers.append(name.clone(), value.clone());
    }
}
