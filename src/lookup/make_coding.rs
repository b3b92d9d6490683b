//! Makes a coding of a stored response, in the background.

use std::sync::Arc;

use bytes::Bytes;
use tokio::{runtime::Handle, task::spawn_blocking};
use tracing::Instrument as _;

use super::variants::Lookup;
use crate::{
    backend::contract::PutOutcome,
    cache::{
        Cache,
        coding_slots::CodingSlot,
        outage_log::{Effect, report},
        work::WorkKind,
    },
    coding::{content_coding::ContentCoding, encode::encode},
    entry::{
        codings::Coded,
        response::StoredResponse,
        stored::{Content, Stored},
    },
    key::Key,
    policy::{cacheable_request::CacheableRequest, settings::Settings},
};

impl Cache {
    /// Begins to make a coding that a hit has missed, unless that is being done, or too much else is.
    #[cold]
    #[inline(never)]
    pub(crate) fn make_coding(&self, settings: &Settings, request: &CacheableRequest, lookup: &Lookup, coding: ContentCoding) {
        let (Some((stored, _)), Some(options)) = (&lookup.found, &settings.compression) else { return };
        let (Ok(runtime), Ok(())) = (Handle::try_current(), self.may_store()) else { return };
        let key = lookup.variant_key.as_deref().unwrap_or(&request.key);
        if self.inner.work.is_draining() {
            return;
        }
        let Some(slot) = self.inner.codings.begin(key.digest(), self.now()) else { return };
        let making = Making { cache: self.clone(), key: key.clone(), stored: Arc::clone(stored), slot };
        let level = options.level_of(coding);
        let unfinished = self.inner.work.begin(WorkKind::Coding);
        let span = tracing::debug_span!(parent: None, "larder.compress", coding = coding.as_str());
        runtime.spawn(
            async move {
                making.run(coding, level).await;
                drop(unfinished);
            }
            .instrument(span),
        );
    }
}

/// A coding that is being made.
struct Making {
    cache: Cache,
    key: Key,
    stored: Arc<Stored>,
    slot: CodingSlot,
}

impl Making {
    async fn run(self, coding: ContentCoding, level: u32) {
        let (stored, work) = (Arc::clone(&self.stored), Arc::clone(&self.cache.inner.work));
        let encoding = spawn_blocking(move || coded(&stored, coding, level, || work.is_draining()));
        match encoding.await {
            Ok(Some(coded)) => self.store(coded).await,
            Ok(None) | Err(_) => self.slot.refuse(self.cache.now()),
        }
    }

    /// Stores the response with one coding more, unless it has been invalidated or replaced meanwhile.
    ///
    /// It keeps its epoch and its tags, so that an invalidation that began after the handler wins, whenever it comes.
    async fn store(&self, coded: Coded) {
        let Content::Response(response) = self.stored.content() else { return };
        let codings = response.codings.as_deref().map(|codings| Arc::new(codings.with(coded)));
        let response = StoredResponse { codings, ..response.clone() };
        let mut stored = Stored::new(self.stored.born(), self.stored.tags().to_vec(), Content::Response(response));
        stored.seal_with(&self.cache.inner.secret);
        match self.cache.inner.backend.replace(&self.key, &self.stored, Arc::new(stored)).await {
            Ok(PutOutcome::Stored | PutOutcome::Invalidated | PutOutcome::PendingWrite) => {}
            Ok(PutOutcome::TooLarge) => self.slot.refuse(self.cache.now()),
            Err(error) => {
                report(&error, Effect::NotStored);
                self.slot.refuse(self.cache.now());
            }
        }
    }
}

/// Encodes the body of a response; without content if that does not save a tenth.
fn coded(stored: &Stored, coding: ContentCoding, level: u32, is_cancelled: impl Fn() -> bool) -> Option<Coded> {
    let Content::Response(response) = stored.content() else { return None };
    let length = response.body.len();
    let encoded = encode(&response.body, coding, level, is_cancelled)?;
    let body = if encoded.len() <= length - length / 10 { Bytes::copy_from_slice(&encoded) } else { Bytes::new() };
    Some(Coded::new(coding, body))
}
