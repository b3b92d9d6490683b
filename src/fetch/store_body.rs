//! Stores a response once its body is complete.

use std::{future::Future, mem, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_LENGTH, ETAG},
    response,
};

use super::{collapse::Role, context::FetchContext};
use crate::{
    cache::flights::FetchOutcome,
    entry::{
        response::{StoredResponse, response_head},
        stored::{Content, Stored},
    },
    http::{cache_status::Reason, etag::entity_tag, stored_fields::StoredFields},
    lookup::store::EntryTarget,
    policy::{
        freshness::Freshness,
        storable::{excluded_fields, is_streamed},
    },
};

/// A response that will be stored as soon as its body is known; boxed, since futures that hold it are moved.
pub(crate) struct PendingEntry {
    pub(crate) inquiry: Arc<FetchContext>,
    filled: Box<EntryTarget>,
    lifetime: Freshness,
    status: StatusCode,
    headers: StoredFields,
    /// The body's length, as `Content-Length` states it.
    pub(crate) stated: Option<u64>,
    /// Whether its type says that the body comes bit by bit for as long as it likes.
    pub(crate) streamed: bool,
    role: Role,
}

impl PendingEntry {
    pub(crate) fn new(
        inquiry: Arc<FetchContext>,
        filled: Box<EntryTarget>,
        lifetime: Freshness,
        response: &response::Parts,
        role: Role,
    ) -> Box<Self> {
        let headers = StoredFields::of(&response.headers, excluded_fields(&inquiry.settings.store, response));
        let stated = response.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let streamed = is_streamed(&response.headers);
        Box::new(Self { inquiry, filled, lifetime, status: response.status, headers, stated, streamed, role })
    }

    /// Stores the response with a body of its own, and returns that: a slice would keep alive, uncounted, whatever buffer it was cut from.
    pub(crate) fn store(mut self: Box<Self>, body: &[u8]) -> impl Future<Output = (Result<(), Reason>, Bytes)> + use<> {
        let body = Bytes::copy_from_slice(body);
        let response = self.response(body.clone());
        let putting = self.put(response);
        async move { (putting.await, body) }
    }

    /// The seconds of freshness that are left.
    pub(crate) fn ttl(&self) -> i64 {
        self.lifetime.ttl()
    }

    /// The response as it will be stored and answered, made once.
    pub(crate) fn response(&mut self, body: Bytes) -> StoredResponse {
        let headers = mem::take(&mut self.headers).complete(self.status, body.len(), self.lifetime.received);
        StoredResponse {
            head: response_head(self.status, headers),
            body,
            generated: self.lifetime.generated,
            fresh_until: self.lifetime.fresh_until,
            allows_authorization: self.lifetime.allows_authorization,
            stale: self.lifetime.stale,
            must_not_serve_stale: self.lifetime.must_not_serve_stale,
            immutable: self.lifetime.immutable,
            cost: u32::try_from(self.lifetime.cost.as_millis()).unwrap_or(u32::MAX),
        }
    }

    /// Stores the response, and tells those who wait for it how that went.
    pub(crate) fn put(mut self: Box<Self>, response: StoredResponse) -> impl Future<Output = Result<(), Reason>> + use<> {
        let tags = mem::take(&mut self.filled.tags);
        // Outside of the future, which is smaller for that.
        let stored = Arc::new(Stored::new(self.filled.born, tags, Content::Response(response)));
        self.put_stored(stored)
    }

    async fn put_stored(self: Box<Self>, stored: Arc<Stored>) -> Result<(), Reason> {
        let fresh_until = self.lifetime.fresh_until;
        let shareable = self.lifetime.received < fresh_until;
        let Self { inquiry, filled, role, .. } = *self;
        let cache = &inquiry.cache;
        let outcome = cache.store(&inquiry.settings, &filled, stored, fresh_until).await;
        let key = filled.key.digest();
        let landing = match &outcome {
            Ok(()) if shareable => FetchOutcome::Stored,
            Ok(()) => {
                cache.inner.uncacheable.remember(key, cache.now());
                FetchOutcome::Uncacheable
            }
            Err(Reason::Invalidated) => FetchOutcome::Failed,
            Err(reason) => {
                tracing::debug!(reason = reason.as_str(), "a response was not stored after all");
                if reason.is_the_response() {
                    cache.inner.uncacheable.remember(key, cache.now());
                }
                FetchOutcome::Uncacheable
            }
        };
        match role {
            // It went alone because the key was remembered as one not to wait for.
            Role::Solo if landing == FetchOutcome::Stored => cache.inner.uncacheable.forget(key),
            role => role.finish(landing),
        }
        outcome
    }

    fn remember(&self, reason: Reason) {
        if reason.is_the_response() {
            self.remember_uncacheable();
        }
    }

    fn remember_uncacheable(&self) {
        let cache = &self.inquiry.cache;
        cache.inner.uncacheable.remember(self.filled.key.digest(), cache.now());
    }

    /// Lets those go who wait, and lets nobody wait for this key, until a body for it has ended and is stored.
    pub(crate) fn release_followers(&mut self) {
        if let Role::Leader(_) = self.role {
            self.remember_uncacheable();
            mem::replace(&mut self.role, Role::Solo).finish(FetchOutcome::Uncacheable);
        }
    }

    /// Whether others may wait for what this fetch brings.
    pub(crate) fn leads(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// Gives a body without an entity tag one of its own, where the route asks for that.
    pub(crate) fn tag(&mut self, body: &[u8], sent: Option<&mut HeaderMap>) {
        if !self.inquiry.settings.auto_etag || self.status != StatusCode::OK || self.headers.contains(&ETAG) {
            return;
        }
        let etag = entity_tag(body);
        if let Some(sent) = sent {
            sent.insert(ETAG, etag.clone());
        }
        self.headers.push(ETAG, etag);
    }

    pub(crate) fn give_up(self, reason: Reason) {
        self.remember(reason);
        self.role.finish(FetchOutcome::Uncacheable);
    }
}
