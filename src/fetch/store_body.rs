//! Stores a response once its body is complete.

use std::{future::Future, mem, pin::pin, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_LENGTH, ETAG},
    response,
};

use super::{collapse::Role, context::FetchContext, in_span::in_span};
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
    lookup::store::EntryTarget,
    policy::{
        freshness::Freshness,
        storable::{excluded_fields, is_streamed},
    },
    rewarm::repeat::Repeatable,
    stats::fill::Fill,
};

/// A response that will be stored once its body is complete; boxed because several futures move it.
pub(crate) struct PendingEntry {
    pub(crate) context: Arc<FetchContext>,
    target: Box<EntryTarget>,
    freshness: Freshness,
    status: StatusCode,
    headers: StoredFields,
    /// What is replaced, if its codings may be kept.
    previous: Option<Arc<Stored>>,
    /// The value of `Content-Length`.
    pub(crate) content_length: Option<u64>,
    /// Whether its media type is one of endless streams, such as `text/event-stream`.
    pub(crate) streamed: bool,
    role: Role,
    /// Counts the run of the handler.
    fill: Fill,
    /// A shutdown waits for it.
    _unfinished: WorkInProgress,
}

impl PendingEntry {
    pub(crate) fn new(
        context: Arc<FetchContext>,
        target: Box<EntryTarget>,
        freshness: Freshness,
        head: &response::Parts,
        previous: Option<Arc<Stored>>,
        role: Role,
        fill: Fill,
    ) -> Box<Self> {
        let headers = StoredFields::of(&head.headers, excluded_fields(&context.settings.store, head));
        let content_length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let streamed = is_streamed(&head.headers);
        let _unfinished = context.cache.inner.work.begin(WorkKind::Store);
        Box::new(Self {
            context,
            target,
            freshness,
            status: head.status,
            headers,
            previous,
            content_length,
            streamed,
            role,
            fill,
            _unfinished,
        })
    }

    /// Stores the response with a copy of the body, and returns the copy: a slice would keep its whole buffer alive, uncounted.
    pub(crate) fn store(mut self: Box<Self>, body: &[u8]) -> impl Future<Output = (Result<(), Reason>, Bytes)> + use<> {
        let body = Bytes::copy_from_slice(body);
        let response = self.response(body.clone());
        let stored = self.put(response);
        async move { (stored.await, body) }
    }

    /// The remaining seconds of freshness.
    pub(crate) fn ttl(&self) -> i64 {
        self.freshness.ttl()
    }

    /// The response as it is stored and served.
    pub(crate) fn response(&mut self, body: Bytes) -> StoredResponse {
        let headers = mem::take(&mut self.headers).complete(self.status, body.len(), self.freshness.received);
        let is_compressed = self.context.settings.is_compressed(self.status, &headers, Some(body.len() as u64));
        let codings = is_compressed.then(|| self.codings_of(&body));
        StoredResponse {
            head: response_head(self.status, headers),
            body,
            codings,
            selection: self.target.selection.take(),
            generated: self.freshness.generated,
            fresh_until: self.freshness.fresh_until,
            allows_authorization: self.freshness.allows_authorization,
            stale: self.freshness.stale,
            must_not_serve_stale: self.freshness.must_not_serve_stale,
            immutable: self.freshness.immutable,
            outlives_max_age: self.freshness.outlives_max_age,
            handler_millis: u32::try_from(self.freshness.handler_time.as_millis()).unwrap_or(u32::MAX),
        }
    }

    /// Returns the codings of the response that is replaced if it has the same body, otherwise none yet.
    fn codings_of(&self, body: &Bytes) -> Arc<Codings> {
        let Some(Content::Response(previous)) = self.previous.as_deref().map(Stored::content) else { return Codings::none() };
        match &previous.codings {
            Some(codings) if previous.body == *body => Arc::new(codings.with_other_head()),
            _ => Codings::none(),
        }
    }

    /// Stores the response, and reports the outcome to the followers.
    pub(crate) fn put(mut self: Box<Self>, response: StoredResponse) -> impl Future<Output = Result<(), Reason>> + use<> {
        let tags = mem::take(&mut self.target.tags);
        // Made outside the future, which stays smaller.
        let stored = Arc::new(Stored::new(self.target.born, tags, Content::Response(response)));
        self.put_stored(stored)
    }

    async fn put_stored(self: Box<Self>, stored: Arc<Stored>) -> Result<(), Reason> {
        let fresh_until = self.freshness.fresh_until;
        let shareable = self.freshness.received < fresh_until;
        let Self { context, target, role, fill, .. } = *self;
        let cache = &context.cache;
        let span = tracing::debug_span!("larder.store");
        let repeatable = context.repeatable.as_ref().map(|repeatable| (repeatable, Arc::clone(&stored)));
        let outcome = {
            let storing = pin!(cache.store(&context.settings, &target, stored, fresh_until));
            in_span(&span, storing).await
        };
        let key = target.key.digest();
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
        if let (FetchOutcome::Stored, Some((repeatable, stored))) = (fetch_outcome, repeatable) {
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
        let cache = &self.context.cache;
        cache.inner.uncacheable.remember(self.target.key.digest(), cache.now());
    }

    /// Releases the followers, and remembers the key as uncacheable until a body for it has ended and is stored.
    pub(crate) fn release_followers(&mut self) {
        if let Role::Leader(_) = self.role {
            self.remember_uncacheable();
            mem::replace(&mut self.role, Role::Solo).finish(FetchOutcome::Uncacheable);
        }
    }

    /// Whether other requests may wait for this fetch.
    pub(crate) fn leads(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// Adds an entity tag to a response without one, if the layer has `auto_etag`.
    pub(crate) fn add_etag(&mut self, body: &[u8], sent: Option<&mut HeaderMap>) {
        if !self.context.settings.auto_etag || self.status != StatusCode::OK || self.headers.contains(&ETAG) {
            return;
        }
        let etag = entity_tag(body);
        if let Some(sent) = sent {
            sent.insert(ETAG, etag.clone());
        }
        self.headers.push(ETAG, etag);
    }

    /// Reports to the followers that nothing is stored.
    pub(crate) fn abandon(self, reason: Reason) {
        self.context.warn_of_limit(reason);
        self.remember(reason);
        self.role.finish(FetchOutcome::Uncacheable);
        self.fill.end(Err(reason));
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
