//! Selects the variant for a request (RFC 9111 §4.1).

use std::sync::Arc;

use http::{HeaderMap, HeaderName, header::VARY};

use super::store::variant_id;
use crate::{
    backend::{contract::ReadOutcome, validity::Validity},
    cache::Cache,
    clock::Timestamp,
    entry::{
        epoch::Epoch,
        response::StoredResponse,
        stored::{Content, Stored},
    },
    http::cache_status::Forward,
    key::Key,
    policy::settings::Settings,
};

pub(crate) type Found = (Arc<Stored>, Validity);

/// The result of a lookup, with what a fetch needs to store a response.
#[derive(Debug)]
pub(crate) struct Lookup {
    pub(crate) found: Option<Found>,
    /// Why the request is forwarded if nothing was found.
    pub(crate) why: Forward,
    /// Read before the handler runs; `None` if nothing may be stored.
    pub(crate) epoch: Option<Epoch>,
    /// The key of the variant that was found or is missing; `None` if that is the request's own key.
    pub(crate) variant_key: Option<Box<Key>>,
}

impl Lookup {
    /// The response that was found, with its entry.
    #[inline]
    pub(crate) fn response(&self) -> Option<(&Stored, &StoredResponse)> {
        let (stored, _) = self.found.as_ref()?;
        match stored.content() {
            Content::Response(response) => Some((stored, response)),
            Content::Variants(_) | Content::QueryVariance(_) | Content::Value(_) | Content::Tombstone => None,
        }
    }
}

/// The search for the response to one request, among the entries under the request's own key and under the keys of variants.
///
/// The caller reads the entries, which may or may not wait: first the predicted variant, then the request's own key, then the variants that
/// are listed there.
pub(super) struct VariantSearch<'r> {
    cache: &'r Cache,
    settings: &'r Settings,
    key: &'r Key,
    headers: &'r HeaderMap,
    predicted: Option<Box<Key>>,
    /// The epoch of the first read, the earliest; outer `None` before it.
    epoch: Option<Option<Epoch>>,
    best: Option<(Box<Key>, Found)>,
    /// The missing variant of the newest `Vary`.
    newest: Option<Box<Key>>,
}

/// What the entry under the request's own key means.
pub(super) enum Primary {
    Decided(Lookup),
    /// The list of variants, to be read next.
    Variants(Arc<Stored>),
}

impl<'r> VariantSearch<'r> {
    #[inline]
    pub(super) fn new(cache: &'r Cache, settings: &'r Settings, key: &'r Key, headers: &'r HeaderMap) -> Self {
        let fields = cache.inner.vary_hints.predict(key);
        let predicted = fields.map(|fields| Box::new(settings.key.variant(key, headers, fields)));
        Self { cache, settings, key, headers, predicted, epoch: None, best: None, newest: None }
    }

    /// The key of the variant that is probably the right one.
    pub(super) fn predicted(&self) -> Option<&Key> {
        self.predicted.as_deref()
    }

    /// Decides by the entry under the predicted key, if it is a response.
    pub(super) fn on_predicted(&mut self, read: ReadOutcome) -> Option<Lookup> {
        self.epoch = Some(read.epoch);
        let found = response(read)?;
        self.best = self.predicted.take().map(|key| (key, found));
        Some(self.best())
    }

    /// Decides by the entry under the request's own key, unless that is a list of variants.
    #[inline]
    pub(super) fn on_primary(&mut self, read: ReadOutcome) -> Primary {
        let epoch = *self.epoch.get_or_insert(read.epoch);
        if let Some((stored, _)) = &read.found
            && let Content::Variants(variants) = stored.content()
        {
            match variants.vary_lists.as_slice() {
                [fields] => self.cache.inner.vary_hints.note(self.key, fields),
                _ => self.cache.inner.vary_hints.forget(self.key),
            }
            let stored = Arc::clone(stored);
            return Primary::Variants(stored);
        }
        if self.predicted.is_some() {
            self.cache.inner.vary_hints.forget(self.key);
        }
        let found = response(read);
        let missing = found.as_ref().and_then(|(stored, _)| self.other_variant(stored));
        Primary::Decided(match missing {
            Some(variant) => Lookup { found: None, why: Forward::VaryMiss, epoch, variant_key: Some(variant) },
            None => Lookup { found, why: Forward::UriMiss, epoch, variant_key: None },
        })
    }

    /// The key of the variant that the request selects, if the response under its own key is another one.
    #[inline]
    fn other_variant(&self, stored: &Stored) -> Option<Box<Key>> {
        let Content::Response(response) = stored.content() else { return None };
        let selection = response.selection.as_deref()?;
        let rules = &self.settings.key;
        if rules.selects(self.headers, &selection.fields, &selection.values) {
            self.note_hit(stored, || self.key.variant(&selection.values));
            return None;
        }
        Some(Box::new(rules.variant(self.key, self.headers, &selection.fields)))
    }

    fn note_hit(&self, stored: &Stored, variant: impl FnOnce() -> Key) {
        self.cache.inner.recent_variants.hit(stored, || {
            let key = variant();
            (variant_id(&key), key)
        });
    }

    /// The keys under which a variant for this request may be stored, newest `Vary` first.
    pub(super) fn variant_keys(&self, list: &Stored) -> impl Iterator<Item = Key> + use<> {
        let vary_lists: &[Box<[HeaderName]>] = match list.content() {
            Content::Variants(variants) => &variants.vary_lists,
            Content::Response(_) | Content::QueryVariance(_) | Content::Value(_) | Content::Tombstone => &[],
        };
        let keys: Vec<_> = vary_lists.iter().map(|fields| self.settings.key.variant(self.key, self.headers, fields)).collect();
        keys.into_iter()
    }

    pub(super) fn on_variant(&mut self, key: Key, read: ReadOutcome) {
        let key = Box::new(key);
        match response(read) {
            Some(found) if self.best.as_ref().is_none_or(|(_, (best, _))| preference(best) < preference(&found.0)) => {
                self.best = Some((key, found));
            }
            Some(_) => {}
            None => _ = self.newest.get_or_insert(key),
        }
    }

    /// The best of the variants that were read.
    pub(super) fn best(&mut self) -> Lookup {
        let epoch = self.epoch.flatten();
        match self.best.take() {
            Some((key, found)) => {
                self.note_hit(&found.0, || Key::clone(&key));
                Lookup { found: Some(found), why: Forward::VaryMiss, epoch, variant_key: Some(key) }
            }
            None => Lookup { found: None, why: Forward::VaryMiss, epoch, variant_key: self.newest.take() },
        }
    }
}

/// Orders matching responses: one with a `Vary` is preferred to one without, then the most recent (RFC 9111 §4, §4.1).
fn preference(stored: &Stored) -> Option<(bool, Timestamp)> {
    match stored.content() {
        Content::Response(response) => Some((response.head.headers.contains_key(VARY), response.generated)),
        _ => None,
    }
}

/// The entry that was read, if it is a response.
pub(super) fn response(read: ReadOutcome) -> Option<Found> {
    read.found.filter(|(stored, _)| matches!(stored.content(), Content::Response(_)))
}
