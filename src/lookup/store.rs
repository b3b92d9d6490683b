//! Stores responses, each under its own key or beside other variants.

use std::sync::Arc;

use http::HeaderName;

use crate::{
    backend::contract::{PutOutcome, ReadOutcome},
    cache::{
        Cache,
        outage_log::{Effect, report},
    },
    clock::Timestamp,
    entry::{
        epoch::Epoch,
        response::StoredResponse,
        selection::Selection,
        stored::{Content, Stored},
        variants::{VariantId, Variants},
    },
    error::Error,
    http::{cache_status::Reason, no_vary_search::QueryVariance},
    key::{Key, normalizers::VARIANT},
    policy::settings::Settings,
    tag::Tag,
};

/// The key, variant, tags and epoch under which a response is stored.
#[derive(Debug)]
pub(crate) struct EntryTarget {
    pub(crate) key: Key,
    /// Which requests the response is for; `None` for all.
    pub(crate) selection: Option<Arc<Selection>>,
    pub(crate) born: Epoch,
    pub(crate) tags: Vec<Tag>,
    /// The response's `No-Vary-Search` rule, and the key under which it is stored.
    pub(crate) rule: Option<Box<(Key, QueryVariance)>>,
}

/// Where a response goes.
enum Place {
    /// Under the request's own key: it is the only response there.
    Primary,
    Beside(Box<Others>),
}

/// The variants beside which a response is stored.
struct Others {
    /// The list, with the response added.
    variants: Variants,
    key: Key,
    /// The variant that it replaces.
    replaced: Option<VariantId>,
    /// The response that was the only one until now, and its key from now on.
    moved: Option<(Key, Arc<Stored>)>,
}

impl Cache {
    /// Stores a response; the error is the reason why it is not stored. `for_all` are the tags of the entries that concern all variants of
    /// the target.
    ///
    /// What few responses need is boxed: the future of every fetch contains this one.
    pub(crate) async fn store(
        &self,
        settings: &Settings,
        target: &EntryTarget,
        for_all: &[Tag],
        response: Arc<Stored>,
        fresh_until: Timestamp,
    ) -> Result<(), Reason> {
        if let Some((key, rule)) = target.rule.as_deref() {
            let rule = Stored::new(target.born, for_all.to_vec(), Content::QueryVariance(rule.clone()));
            Box::pin(self.put(key, Arc::new(rule))).await?;
        }
        if selection(&response).is_some() && settings.limits.variants == 0 {
            return Err(Reason::VariantLimit);
        }
        let present = match self.read_now(&target.key) {
            Some(present) => present,
            None => self.read(&target.key, &[]).await.map_err(backend_failed)?,
        };
        match self.place(settings, target, selection(&response), fresh_until, present) {
            Place::Primary => self.put(&target.key, response).await,
            Place::Beside(others) => Box::pin(self.put_beside(*others, target, for_all, response)).await,
        }
    }

    /// Stores a response beside other variants.
    async fn put_beside(
        &self,
        others: Others,
        target: &EntryTarget,
        for_all: &[Tag],
        response: Arc<Stored>,
    ) -> Result<(), Reason> {
        if let Some((key, moved)) = others.moved {
            // A failure has been logged, and costs a fetch.
            let _ = self.put(&key, moved).await;
        }
        self.put(&others.key, response).await?;
        let variants = Stored::new(target.born, for_all.to_vec(), Content::Variants(others.variants));
        self.put(&target.key, Arc::new(variants)).await?;
        if let Some(replaced) = others.replaced.and_then(|id| self.inner.recent_variants.remove(&id)) {
            self.put_tombstone(&replaced, target.born, for_all.to_vec()).await;
        }
        Ok(())
    }

    /// Replaces the entry at `key` with a tombstone: it is not used again, not even stale.
    pub(crate) async fn put_tombstone(&self, key: &Key, born: Epoch, tags: Vec<Tag>) {
        // A failure has been logged, and changes nothing for the next lookup.
        let _ = self.put(key, Arc::new(Stored::new(born, tags, Content::Tombstone))).await;
    }

    /// Decides where a response goes, by what is stored under the request's own key.
    fn place(
        &self,
        settings: &Settings,
        target: &EntryTarget,
        selection: Option<&Selection>,
        fresh_until: Timestamp,
        present: ReadOutcome,
    ) -> Place {
        let Some((present, _)) = present.found else { return Place::Primary };
        let (variants, moved) = match present.content() {
            Content::Variants(variants) => (variants.clone(), None),
            // A response without `Vary` is for all requests: the new one replaces it.
            Content::Response(StoredResponse { selection: Some(other), .. })
                if Some(&**other) != selection && settings.limits.variants > 1 && self.now() < present.expires() =>
            {
                (Variants::default(), Some((&**other, &present)))
            }
            Content::Response(_) | Content::QueryVariance(_) | Content::Value(_) | Content::Tombstone => {
                return Place::Primary;
            }
        };
        Place::Beside(Box::new(self.beside(settings, target, selection, fresh_until, variants, moved)))
    }

    /// Adds a response to the variants; `moved` is the one that was the only one until now.
    fn beside(
        &self,
        settings: &Settings,
        target: &EntryTarget,
        selection: Option<&Selection>,
        fresh_until: Timestamp,
        mut variants: Variants,
        moved: Option<(&Selection, &Arc<Stored>)>,
    ) -> Others {
        let recent = &self.inner.recent_variants;
        variants.retain_live(self.now());
        let mut add = |selection: Option<&Selection>, fresh_until| {
            let key = target.key.variant(selection.map_or(&[VARIANT], |selection| &selection.values));
            let id = variant_id(&key);
            recent.stored(id, &key);
            let fields: &[HeaderName] = selection.map_or(&[], |selection| &selection.fields);
            let replaced = variants.add(fields, id, fresh_until, settings.limits.variants, |id| recent.has_hit(id));
            (key, replaced)
        };
        let moved = moved.map(|(selection, stored)| (add(Some(selection), stored.expires()).0, own_copy(stored)));
        let (key, replaced) = add(selection, fresh_until);
        match variants.vary_lists.as_slice() {
            [fields] => self.inner.vary_hints.note(&target.key, fields),
            _ => self.inner.vary_hints.forget(&target.key),
        }
        Others { variants, key, replaced, moved }
    }

    /// Stores an entry under exactly this key; the error is the reason why it is not stored.
    pub(crate) async fn put(&self, key: &Key, mut stored: Arc<Stored>) -> Result<(), Reason> {
        if let Some(stored) = Arc::get_mut(&mut stored) {
            stored.seal_with(&self.inner.secret);
        }
        match self.inner.backend.put(key, stored).await {
            Ok(PutOutcome::Stored) => Ok(()),
            Ok(PutOutcome::Invalidated) => Err(Reason::Invalidated),
            Ok(PutOutcome::PendingWrite) => Err(Reason::PendingWrite),
            Ok(PutOutcome::TooLarge) => Err(Reason::TooLarge),
            Err(error) => Err(backend_failed(error)),
        }
    }
}

/// Which requests a stored response is for; `None` for all.
fn selection(stored: &Stored) -> Option<&Selection> {
    match stored.content() {
        Content::Response(response) => response.selection.as_deref(),
        Content::Variants(_) | Content::QueryVariance(_) | Content::Value(_) | Content::Tombstone => None,
    }
}

/// A copy of an authentic entry that is stored under another key, and sealed again for it.
fn own_copy(stored: &Stored) -> Arc<Stored> {
    Arc::new(Stored::new(stored.born(), stored.tags().to_vec(), stored.content().clone()))
}

pub(crate) fn variant_id(key: &Key) -> VariantId {
    *key.storage_digest().first_chunk().expect("a SHA-256 digest is longer than a variant id")
}

pub(crate) fn backend_failed(error: Error) -> Reason {
    report(&error, Effect::NotStored);
    failure_of(&error)
}

/// Returns the reason that says how the store failed.
pub(crate) fn failure_of(error: &Error) -> Reason {
    if error.is_suspended() {
        Reason::StoreSuspended
    } else if error.is_timeout() {
        Reason::StoreTimeout
    } else {
        Reason::StoreError
    }
}
