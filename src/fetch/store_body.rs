//! Stores a response once its body is complete.

use std::{future::Future, mem, pin::pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header::ETAG, response};

use super::{
    collapse::Role,
    context::FetchContext,
    in_span::in_span,
    run::{HandlerRun, StoragePlan},
};
use crate::{
    cache::{
        flights::FetchOutcome,
        work::{WorkInProgress, WorkKind},
    },
    entry::{
        codings::Codings,
        response::{StoredResponse, response_head},
        stored::{Content, Stored},
    },
    http::{cache_status::Reason, etag::entity_tag, stored_fields::StoredFields},
    policy::storable::excluded_fields,
    rewarm::repeat::Repeatable,
};

/// A response that will be stored once its body is complete.
///
/// Small, because several futures move it.
pub(crate) struct PendingEntry {
    run: Box<HandlerRun>,
    plan: Box<StoragePlan>,
    /// A shutdown waits for it.
    _unfinished: WorkInProgress,
}

impl PendingEntry {
    pub(crate) fn new(run: Box<HandlerRun>, mut plan: Box<StoragePlan>, head: &response::Parts) -> Self {
        let FetchContext { cache, settings, .. } = &*run.context;
        plan.headers = StoredFields::of(&head.headers, excluded_fields(&settings.store, head));
        let _unfinished = cache.inner.work.begin(WorkKind::Store);
        Self { run, plan, _unfinished }
    }

    pub(crate) fn context(&self) -> &Arc<FetchContext> {
        &self.run.context
    }

    /// The value of `Content-Length`.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.plan.headers.content_length
    }

    /// Begins to store the response with a copy of the body, and returns the copy: a slice would keep its whole buffer alive, uncounted.
    pub(crate) fn store(mut self, body: &[u8]) -> (impl Future<Output = Result<(), Reason>> + use<>, Bytes) {
        let body = Bytes::copy_from_slice(body);
        let response = self.response(body.clone());
        (self.put(response), body)
    }

    /// The remaining seconds of freshness.
    pub(crate) fn ttl(&self) -> i64 {
        self.plan.freshness.ttl()
    }

    /// The response as it is stored and served.
    pub(crate) fn response(&mut self, body: Bytes) -> StoredResponse {
        let StoragePlan { freshness, status, .. } = *self.plan;
        let headers = mem::take(&mut self.plan.headers).complete(status, body.len(), freshness.received);
        let is_compressed = self.context().settings.is_compressed(status, &headers, Some(body.len() as u64));
        let codings = is_compressed.then(|| self.codings_of(&body));
        StoredResponse {
            head: response_head(status, headers),
            body,
            codings,
            selection: self.plan.target.selection.take(),
            generated: freshness.generated,
            fresh_until: freshness.fresh_until,
            allows_authorization: freshness.allows_authorization,
            stale: freshness.stale,
            must_not_serve_stale: freshness.must_not_serve_stale,
            immutable: freshness.immutable,
            outlives_max_age: freshness.outlives_max_age,
            handler_millis: u32::try_from(freshness.handler_time.as_millis()).unwrap_or(u32::MAX),
        }
    }

    /// Returns the codings of the response that is replaced if it has the same body, otherwise none yet.
    fn codings_of(&self, body: &Bytes) -> Arc<Codings> {
        let Some(Content::Response(previous)) = self.run.miss.stored.as_deref().map(Stored::content) else {
            return Codings::none();
        };
        match &previous.codings {
            Some(codings) if previous.body == *body => Arc::new(codings.with_other_head()),
            _ => Codings::none(),
        }
    }

    /// Stores the response, and reports the outcome to the followers.
    ///
    /// Not an `async fn`, whose future would hold its arguments twice.
    pub(crate) fn put(mut self, response: StoredResponse) -> impl Future<Output = Result<(), Reason>> + use<> {
        let target = &mut self.plan.target;
        let tags = mem::take(&mut target.tags);
        let stored = Arc::new(Stored::new(target.born, tags, Content::Response(response)));
        async move {
            let FetchContext { cache, settings, tags, .. } = &**self.context();
            let StoragePlan { target, freshness, .. } = &*self.plan;
            let kept = self.context().repeatable.is_some().then(|| Arc::clone(&stored));
            let span = tracing::debug_span!("larder.store");
            let outcome = {
                let storing = pin!(cache.store(settings, target, &tags.target_tags, stored, freshness.fresh_until));
                in_span(&span, storing).await
            };
            self.conclude(outcome, kept)
        }
    }

    /// Reports the outcome to the followers; `kept` is the response, if its request may be repeated.
    fn conclude(self, outcome: Result<(), Reason>, kept: Option<Arc<Stored>>) -> Result<(), Reason> {
        let Self { run, plan, .. } = self;
        let HandlerRun { context, role, fill, .. } = *run;
        let cache = &context.cache;
        let shareable = plan.freshness.received < plan.freshness.fresh_until;
        let key = plan.target.key.digest();
        if outcome.is_ok() {
            context.note_filler(key);
        }
        let fetch_outcome = match &outcome {
            Ok(()) if shareable => FetchOutcome::Stored,
            Ok(()) => {
                cache.inner.uncacheable.remember(key, cache.now());
                FetchOutcome::Uncacheable
            }
            Err(Reason::Invalidated) => FetchOutcome::Failed,
            Err(reason) => {
                context.warn_of_limit(*reason);
                tracing::debug!(reason = reason.as_str(), "a response was not stored after all");
                if reason.concerns_response() {
                    cache.inner.uncacheable.remember(key, cache.now());
                }
                FetchOutcome::Uncacheable
            }
        };
        if let (FetchOutcome::Stored, Some(stored), Some(repeatable)) = (fetch_outcome, kept, &context.repeatable) {
            note_repeatable(&context, &**repeatable, &stored);
        }
        match role {
            // It fetched alone because the key was remembered as uncacheable.
            Role::Solo if fetch_outcome == FetchOutcome::Stored => cache.inner.uncacheable.forget(key),
            role => role.finish(fetch_outcome),
        }
        fill.end(outcome);
        outcome
    }

    fn remember(&self, reason: Reason) {
        if reason.concerns_response() {
            self.remember_uncacheable();
        }
    }

    fn remember_uncacheable(&self) {
        let cache = &self.context().cache;
        cache.inner.uncacheable.remember(self.plan.target.key.digest(), cache.now());
    }

    /// Releases the followers, and remembers the key as uncacheable until a body for it has ended and is stored.
    pub(crate) fn release_followers(&mut self) {
        if self.leads() {
            self.remember_uncacheable();
            mem::replace(&mut self.run.role, Role::Solo).finish(FetchOutcome::Uncacheable);
        }
    }

    /// Whether other requests may wait for this fetch.
    pub(crate) fn leads(&self) -> bool {
        matches!(self.run.role, Role::Leader(_))
    }

    /// Adds an entity tag to a response without one, if the layer has `auto_etag`.
    pub(crate) fn add_etag(&mut self, body: &[u8], sent: Option<&mut HeaderMap>) {
        let StoragePlan { status, headers, .. } = &mut *self.plan;
        if !self.run.context.settings.auto_etag || *status != StatusCode::OK || headers.contains(&ETAG) {
            return;
        }
        let etag = entity_tag(body);
        headers.push(ETAG, &etag);
        if let Some(sent) = sent {
            sent.insert(ETAG, etag);
        }
    }

    /// Reports to the followers that nothing is stored.
    pub(crate) fn abandon(self, reason: Reason) {
        self.context().warn_of_limit(reason);
        self.remember(reason);
        self.run.role.finish(FetchOutcome::Uncacheable);
        self.run.fill.end(Err(reason));
    }
}

/// Keeps a request whose response is stored, to repeat it after an invalidation.
#[cold]
fn note_repeatable(context: &FetchContext, repeatable: &dyn Repeatable, stored: &Stored) {
    let (Some(repeated), Content::Response(response)) = (&context.settings.repeated, stored.content()) else { return };
    let key = &context.request.key;
    let (fields, values) =
        response.selection.as_ref().map_or((&[][..], &[][..]), |selection| (&*selection.fields, &*selection.values));
    if let Some(repeat) = repeatable.reduced(fields, key) {
        repeated.note(key.variant(values).digest(), key.digest(), stored.tags(), repeat, || context.cache.heat());
    }
}
