//! One run of the handler, and the storing of its response.

use std::{any::Any, future::Future, panic::resume_unwind, pin::pin, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, Method, Response, StatusCode,
    header::{AGE, CONTENT_LENGTH, DATE, ETAG, LAST_MODIFIED},
    response,
};
use http_body::Body;
use tracing::Span;

use super::{
    catch_panic::catch_panic,
    collapse::Role,
    context::FetchContext,
    in_span::in_span,
    inner_call::{HttpService, Oneshot},
    refresh::OuterFetch,
    run::{HandlerRun, StoragePlan},
    store_body::PendingEntry,
};
use crate::{
    body::ResponseBody,
    cache::flights::FetchOutcome,
    clock::Timestamp,
    entry::{
        response::{StoredResponse, response_head},
        selection::Selection,
        stored::{Content, Stored},
    },
    handler::invalidate::NothingImplied,
    http::{
        cache_status::{CacheStatus, Forward, Reason},
        conditional::{
            has_validator, is_unmodified, make_conditional, remove_conditions, retain_304_fields, selects_other_representation,
            weakly_matches,
        },
        date::http_date,
        no_vary_search::QueryVariance,
        stored_fields::{StoredFields, remove_connection_fields},
    },
    invalidation::after_response::invalidate_after,
    lookup::{finish::finish, respond::error_response, store::EntryTarget},
    policy::{
        cacheable_request::CacheableMethod,
        freshness::Timing,
        response_view::ResponseView,
        selecting_fields::{missing_in_vary, selecting_fields},
        storable::{RequestConstraints, excluded_fields, remove_larder_cache_control, storable},
        store_rules::Profile,
    },
    stats::fill_result::Trigger,
    tag::deduplicate,
};

/// How the handler has ended.
///
/// Taken from its result by value: a future that borrowed the result would keep room for it until its own end.
enum Ended<B, E> {
    Answered(Response<B>),
    /// It has confirmed the stored response.
    NotModified(Response<B>),
    /// Boxed to keep the future of the run small: a response is large, and this is rare.
    Failed(Box<Result<Result<Response<B>, E>, Panic>>),
}

type Panic = Box<dyn Any + Send>;

impl<B, E> Ended<B, E> {
    fn of(result: Result<Result<Response<B>, E>, Panic>, validating: bool) -> Self {
        match result {
            Ok(Ok(response)) if response.status() == StatusCode::NOT_MODIFIED && validating => Self::NotModified(response),
            Ok(Ok(response)) if !is_server_error(response.status()) => Self::Answered(response),
            failure => Self::Failed(Box::new(failure)),
        }
    }
}

impl HandlerRun {
    /// Runs the handler, stores its response if that is allowed, and reports the outcome to the followers.
    pub(crate) async fn run<S: HttpService<ReqBody>, ReqBody>(
        self: Box<Self>,
        mut call: Box<Oneshot<S, ReqBody>>,
    ) -> Result<Response<ResponseBody<S::ResBody>>, S::Error> {
        self.context.rewrite(&mut call.parts);
        let validating = match self.validated() {
            Some((_, stored)) => make_conditional(&mut call.parts.headers, &stored.head.headers),
            None => {
                if self.asks_for_all() {
                    remove_conditions(&mut call.parts.headers);
                }
                false
            }
        };
        let FetchContext { cache, request, .. } = &*self.context;
        call.parts.extensions.insert(OuterFetch { cache: cache.clone(), key: request.key.digest() });
        let requested = self.context.cache.now();
        let span = self.span();
        let result = {
            let running = pin!(call.run());
            let running = pin!(self.dependencies.polled_in(running));
            catch_panic(pin!(in_span(&span, running))).await
        };
        let failure = match Ended::of(result, validating) {
            Ended::Answered(response) => return Ok(self.on_response(response, requested).await),
            Ended::NotModified(response) => return Ok(Box::pin(self.freshen(response, requested)).await),
            Ended::Failed(failure) => failure,
        };
        // RFC 5861 §4. If this run fails, dropping its leader guard lets the followers decide in the same way.
        if self.miss.why == Forward::Stale
            && let Some(stale) = self.context.answer_stale(Reason::StaleOnError).await
        {
            self.fill.end(Err(Reason::StaleOnError));
            return Ok(stale);
        }
        match *failure {
            Ok(Ok(response)) => Ok(self.on_response(response, requested).await),
            Ok(Err(error)) => Err(error),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// The span of the handler. That of a background refresh is a root: the request that caused it ends earlier.
    fn span(&self) -> Span {
        let (route, trigger) = (self.context.slot.path(), self.fill.trigger());
        if !matches!(trigger, Trigger::Refresh | Trigger::Ahead) {
            return tracing::debug_span!("larder.fetch", route, trigger = trigger.as_str());
        }
        let span = tracing::debug_span!(parent: None, "larder.fetch", route, trigger = trigger.as_str());
        span.follows_from(Span::current());
        span
    }

    /// Whether the client's own conditions are evaluated here, on a response that can be stored for all.
    fn asks_for_all(&self) -> bool {
        let FetchContext { settings, request, .. } = &*self.context;
        settings.store.profile == Profile::Safe
            && request.conditional
            && self.context.has_answer_for_all(&self.miss)
            && self.miss.epoch.is_some()
            && !matches!(self.role, Role::Passthrough)
    }

    /// The stored response that this run can validate.
    pub(crate) fn validated(&self) -> Option<(&Arc<Stored>, &StoredResponse)> {
        let stored = self.miss.stored.as_ref().filter(|_| self.context.may_validate())?;
        let Content::Response(response) = stored.content() else { return None };
        (response.head.status == StatusCode::OK && has_validator(&response.head.headers)).then_some((stored, response))
    }

    /// Not an `async fn`, whose future would hold the response twice: as its argument and in parts.
    fn on_response<B>(
        mut self: Box<Self>,
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
            let wrote = context.settings.was_write(context.request.method, &head, timing.received);
            let method = if wrote { &Method::POST } else { &Method::GET };
            let invalidated = invalidate_after(&context.cache, &context.settings, &context.tags.target, method, &mut head).await;
            let length = body.size_hint().exact();
            let plan = invalidated.and_then(|()| match wrote {
                true => Err(Reason::Write),
                false => self.storage_plan(&head, length, timing),
            });
            remove_larder_cache_control(&mut head.headers);
            let (why, asked_for_all) = (self.miss.why, self.asks_for_all());
            let mut tags = 0;
            let (outcome, mut body) = match plan {
                Ok(plan) => {
                    tags = plan.target.tags.len();
                    plan.complete_vary(&mut head.headers);
                    self.pending_entry(plan, &head).store_body(body, length, &mut head.headers).await
                }
                Err(reason) => {
                    self.not_stored(&head, reason).await;
                    (Err(reason), ResponseBody::forwarded(body))
                }
            };
            let status = match outcome {
                Ok(ttl) => CacheStatus::stored(why, ttl).with_tags(tags),
                Err(reason) => CacheStatus::not_stored(why, reason),
            };
            if asked_for_all && head.status == StatusCode::OK && is_unmodified(&context.tags.headers, &head.headers) {
                head.status = StatusCode::NOT_MODIFIED;
                retain_304_fields(&mut head.headers);
                // A body that is still arriving continues like that of a client that has left.
                body = ResponseBody::stored(Bytes::new());
            }
            if context.request.method == CacheableMethod::Post && !wrote {
                NothingImplied::mark(&mut head.extensions);
            }
            finish(status, &context.settings, &mut head);
            Response::from_parts(head, body)
        }
    }

    fn timing(&mut self, requested: Timestamp) -> Timing {
        let received = self.context.cache.now();
        self.fill.answered(received.since(requested));
        Timing { requested, received, jitter_draw: fastrand::f64() }
    }

    /// Decides where and for how long the response is stored; the error is the reason why it is not.
    pub(crate) fn storage_plan(
        &self,
        response: &response::Parts,
        length: Option<u64>,
        timing: Timing,
    ) -> Result<Box<StoragePlan>, Reason> {
        let FetchContext { cache, settings, request, tags, .. } = &*self.context;
        if request.method == CacheableMethod::Head {
            return Err(Reason::Head);
        }
        cache.may_store()?;
        let view = ResponseView::new(response, length);
        let constraints = RequestConstraints { authorized: request.authorized, no_store: tags.no_store };
        let mut freshness = storable(&settings.store, constraints, &view, timing)?;
        let used = self.dependencies.close();
        freshness.fresh_until = used.fresh_until(freshness.fresh_until, freshness.received)?;
        if freshness.shortened && settings.choices.max_ttl.is_none() {
            self.context.warn_of_max_ttl();
        }
        if matches!(self.role, Role::Passthrough) {
            return Err(Reason::WaitLimit);
        }
        let rule = request.rule_key().and_then(|key| Some(Box::new((key, QueryVariance::parse(&response.headers)?))));
        let key = rule.as_deref().and_then(|(_, rule)| request.key_by(rule)).unwrap_or_else(|| request.key.clone());
        let vary = selecting_fields(settings, &view);
        let fields = vary.fields();
        let selection = (!fields.is_empty()).then(|| {
            let values = settings.key.selection(&tags.headers, fields);
            Selection::of(fields, values.as_bytes())
        });
        let missing_in_vary = missing_in_vary(settings, &vary, &view);
        let target = EntryTarget {
            selection,
            key,
            rule,
            born: used.born(self.miss.known_epoch()?)?,
            tags: tags.all_tags(settings, cache.space(), &view, &used)?,
        };
        let (status, headers) = (response.status, StoredFields::default());
        Ok(Box::new(StoragePlan { target, freshness, missing_in_vary, status, headers }))
    }

    pub(crate) fn pending_entry(mut self: Box<Self>, plan: Box<StoragePlan>, head: &response::Parts) -> PendingEntry {
        if self.context.settings.compression.is_none() {
            // Only its codings are of use from here on.
            self.miss.stored = None;
        }
        PendingEntry::new(self, plan, head)
    }

    /// Reports to the followers that nothing is stored, remembers an uncacheable key, and removes a stored response that this one
    /// shows to be wrong.
    pub(crate) async fn not_stored(self: Box<Self>, response: &response::Parts, reason: Reason) {
        self.context.warn_of_limit(reason);
        let FetchContext { cache, settings, request, tags, .. } = &*self.context;
        let outcome = if response.status.is_server_error() { FetchOutcome::ServerError } else { FetchOutcome::Uncacheable };
        let refused = settings.store.profile == Profile::Safe && is_refusal(response.status);
        let replaces = outcome == FetchOutcome::Uncacheable && reason.concerns_response() && !refused;
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
        self.fill.end(Err(reason));
    }
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

/// Whether a response refuses one request, and says nothing about the resource: any 4xx but 404, 410 and 451. What one client provokes
/// must not change what others get.
fn is_refusal(status: StatusCode) -> bool {
    const ABOUT_RESOURCE: [StatusCode; 3] = [StatusCode::NOT_FOUND, StatusCode::GONE, StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS];
    status.is_client_error() && !ABOUT_RESOURCE.contains(&status)
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
        mut self: Box<Self>,
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
        let invalidated =
            invalidate_after(&context.cache, &context.settings, &context.tags.target, &Method::GET, &mut not_modified).await;
        let Some((stored, old)) = self.validated().map(|(stored, old)| (Arc::clone(stored), old.clone())) else {
            // Not reached: only a run that validates a stored response takes a 304 for one.
            return error_response(StatusCode::BAD_GATEWAY, CacheStatus::not_stored(why, Reason::NotModified));
        };
        if selects_other_representation(&not_modified.headers, &old.head.headers) {
            // The 304 describes another representation, and updates nothing.
            self.role.finish(FetchOutcome::Failed);
            self.fill.end(Err(Reason::NotModified));
            let status = CacheStatus::not_stored(why, Reason::NotModified);
            return match weakly_matches(&not_modified.headers, &old.head.headers) {
                true => context.presented().respond(&old, status),
                // The stored response has not been validated, and there is no other.
                false => error_response(StatusCode::BAD_GATEWAY, status),
            };
        }
        let mut head = freshened(&old, not_modified, timing.received);
        match invalidated.and_then(|()| self.storage_plan(&head, Some(old.body.len() as u64), timing)) {
            Ok(mut plan) => {
                plan.target.tags.extend_from_slice(stored.tags());
                deduplicate(&mut plan.target.tags);
                let (ttl, tags) = (plan.freshness.ttl(), plan.target.tags.len());
                self.fill.validated();
                plan.complete_vary(&mut head.headers);
                let mut pending = self.pending_entry(plan, &head);
                let mut fresh = pending.response(old.body);
                if let (Some(codings), Some(made)) = (&mut fresh.codings, &old.codings) {
                    *codings = Arc::new(made.with_other_head());
                }
                let status = match pending.put(fresh.clone()).await {
                    Ok(()) => CacheStatus::validated(why, ttl)
                        .answered_from(fresh.age(timing.received), fresh.handler_millis)
                        .with_tags(tags),
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
                    codings: None,
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
