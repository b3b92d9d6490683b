//! Finds stored responses by key and variant, and stores them.

pub(crate) mod finish;
pub(crate) mod respond;
pub(crate) mod reuse;
pub(crate) mod store;

use std::sync::Arc;

use http::{HeaderMap, HeaderName, header::VARY};

use crate::{
    backend::{
        contract::{PutOutcome, ReadOutcome},
        validity::Validity,
    },
    cache::Cache,
    clock::Timestamp,
    entry::{
        epoch::Epoch,
        stored::{Content, Stored},
        variants::{VariantId, Variants},
    },
    error::Error,
    http::cache_status::{Forward, Reason},
    key::Key,
    lookup::store::{EntryTarget, backend_failed, variant_id},
    policy::{cacheable_request::CacheableRequest, settings::Settings},
    tag::Tag,
};

type Found = (Arc<Stored>, Validity);

/// The result of a lookup, with what a fetch needs to store a response.
#[derive(Debug)]
pub(crate) struct Lookup {
    pub(crate) found: Option<Found>,
    /// Why the request is forwarded if nothing was found.
    pub(crate) why: Forward,
    /// Read before the handler runs; `None` if nothing may be stored.
    pub(crate) epoch: Option<Epoch>,
    /// The key of the variant that was found or is missing; `None` for the request's own key.
    pub(crate) variant_key: Option<Box<Key>>,
}

/// Finds and stores responses. Variants (RFC 9111 §4.1) are resolved here, so that a backend only maps keys to values.
impl Cache {
    /// Looks up without waiting; `None` if the backend has to wait for a reply.
    pub(crate) fn lookup_now(&self, settings: &Settings, request: &CacheableRequest, headers: &HeaderMap) -> Option<Lookup> {
        if request.query_span.is_none() {
            // Returned as it is: taking the result apart would copy it.
            return self.find_now(settings, &request.key, headers);
        }
        let by_url = self.find_now(settings, &request.key, headers)?;
        let Some(rule_key) = request.rule_key().filter(|_| by_url.found.is_none()) else { return Some(by_url) };
        let rule = self.inner.backend.get_now(&rule_key)?;
        let Some(key) = key_by(&rule, request) else { return Some(by_url) };
        Some(self.find_now(settings, &key, headers)?.via_no_vary_search(key, by_url))
    }

    /// Looks up; `hint` are the tags that the response will have, as far as they are known.
    pub(crate) async fn lookup(
        &self,
        settings: &Settings,
        request: &CacheableRequest,
        headers: &HeaderMap,
        hint: &[Tag],
    ) -> Result<Lookup, Error> {
        let by_url = self.find(settings, &request.key, headers, hint).await?;
        let Some(rule_key) = request.rule_key().filter(|_| by_url.found.is_none()) else { return Ok(by_url) };
        let rule = self.inner.backend.get(&rule_key, hint).await?;
        let Some(key) = key_by(&rule, request) else { return Ok(by_url) };
        Ok(self.find(settings, &key, headers, hint).await?.via_no_vary_search(key, by_url))
    }

    fn find_now(&self, settings: &Settings, key: &Key, headers: &HeaderMap) -> Option<Lookup> {
        let first = self.inner.backend.get_now(key)?;
        let epoch = first.epoch;
        let stored = match Primary::from(first) {
            Primary::Found(lookup) => return Some(lookup),
            Primary::Variants(stored) => stored,
        };
        let mut variants = VariantMatches::default();
        for variant in stored.variant_keys(settings, key, headers) {
            let found = response(self.inner.backend.get_now(&variant)?);
            variants.add(variant, found);
        }
        Some(variants.into_lookup(epoch))
    }

    async fn find(&self, settings: &Settings, key: &Key, headers: &HeaderMap, hint: &[Tag]) -> Result<Lookup, Error> {
        let first = self.inner.backend.get(key, hint).await?;
        let epoch = first.epoch;
        let stored = match Primary::from(first) {
            Primary::Found(lookup) => return Ok(lookup),
            Primary::Variants(stored) => stored,
        };
        let mut variants = VariantMatches::default();
        for variant in stored.variant_keys(settings, key, headers) {
            let found = response(self.inner.backend.get(&variant, hint).await?);
            variants.add(variant, found);
        }
        Ok(variants.into_lookup(epoch))
    }

    /// Stores a response; the error is the reason why it is not stored.
    pub(crate) async fn store(
        &self,
        settings: &Settings,
        target: &EntryTarget,
        response: Arc<Stored>,
        fresh_until: Timestamp,
    ) -> Result<(), Reason> {
        let for_all_variants = |content| Arc::new(Stored::new(target.born, target.target_tags.clone(), content));
        if let Some((key, rule)) = target.rule.as_deref() {
            self.put(key, for_all_variants(Content::QueryVariance(rule.clone()))).await?;
        }
        let Some(variants) = self.variants_with(settings, target, fresh_until).await? else {
            return self.put(&target.key, response).await;
        };
        let variants = for_all_variants(Content::Variants(variants));
        self.put(&target.variant_key(), response).await?;
        self.put(&target.key, variants).await
    }

    /// Replaces the entry at `key` with a tombstone: it is not used again, not even stale.
    pub(crate) async fn put_tombstone(&self, key: &Key, born: Epoch, tags: Vec<Tag>) {
        // A failure has been logged, and changes nothing for the next lookup.
        let _ = self.put(key, Arc::new(Stored::new(born, tags, Content::Tombstone))).await;
    }

    /// Whether an entry born at `born` with these tags could still be used; `false` if in doubt.
    pub(crate) async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> bool {
        self.inner.backend.is_alive(born, tags).await.unwrap_or(false)
    }

    /// Returns the variants at the target's key, with the response added; `None` if it is the only response there.
    async fn variants_with(
        &self,
        settings: &Settings,
        target: &EntryTarget,
        expires: Timestamp,
    ) -> Result<Option<Variants>, Reason> {
        let fields = target.vary.fields();
        let present = match self.inner.backend.get_now(&target.key) {
            Some(present) => present.found,
            None => self.inner.backend.get(&target.key, &[]).await.map_err(backend_failed)?.found,
        };
        let variants = match present.as_ref().map(|(stored, _)| stored.content()) {
            Some(Content::Variants(variants)) => variants.clone(),
            _ if fields.is_empty() => return Ok(None),
            _ => Variants::default(),
        };
        let id = variant_id(&target.variant_key());
        let variants = variants.with(fields, id, expires, self.now(), settings.max_variants);
        variants.map(Some).ok_or(Reason::VariantLimit)
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<(), Reason> {
        match self.inner.backend.put(key, stored).await {
            Ok(PutOutcome::Stored) => Ok(()),
            Ok(PutOutcome::Invalidated) => Err(Reason::Invalidated),
            Ok(PutOutcome::TooLarge) => Err(Reason::TooLarge),
            Err(error) => Err(backend_failed(error)),
        }
    }
}

/// The variants that a request may use.
#[derive(Default)]
struct VariantMatches {
    best: Option<(Box<Key>, Found)>,
    /// The missing variant of the newest `Vary`.
    newest: Option<Box<Key>>,
}

impl VariantMatches {
    fn add(&mut self, key: Key, found: Option<Found>) {
        let key = Box::new(key);
        match found {
            Some(found) if self.best.as_ref().is_none_or(|(_, (best, _))| preference(best) < preference(&found.0)) => {
                self.best = Some((key, found));
            }
            Some(_) => {}
            None => _ = self.newest.get_or_insert(key),
        }
    }

    fn into_lookup(self, epoch: Option<Epoch>) -> Lookup {
        match self.best {
            Some((key, found)) => Lookup { found: Some(found), why: Forward::VaryMiss, epoch, variant_key: Some(key) },
            None => Lookup { found: None, why: Forward::VaryMiss, epoch, variant_key: self.newest },
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

impl Lookup {
    /// The result for the `key` that a `No-Vary-Search` rule gives, after the lookup by URL found nothing.
    fn via_no_vary_search(self, key: Key, by_url: Self) -> Self {
        // The earlier epoch is the safe one.
        Self { variant_key: self.variant_key.or_else(|| Some(key.into())), epoch: by_url.epoch, ..self }
    }
}

/// The key that the stored `No-Vary-Search` rule of a path gives a request, if there is such a rule.
fn key_by(read: &ReadOutcome, request: &CacheableRequest) -> Option<Key> {
    let (stored, _) = read.found.as_ref()?;
    let Content::QueryVariance(rule) = stored.content() else { return None };
    request.key_by(rule)
}

/// The entry under the primary key (RFC 9111 §2).
enum Primary {
    Found(Lookup),
    Variants(Arc<Stored>),
}

impl From<ReadOutcome> for Primary {
    fn from(read: ReadOutcome) -> Self {
        match read.found {
            Some((stored, _)) if matches!(stored.content(), Content::Variants(_)) => Self::Variants(stored),
            _ => Self::Found(Lookup { why: Forward::UriMiss, epoch: read.epoch, variant_key: None, found: response(read) }),
        }
    }
}

/// The entry that was read, if it is a response.
fn response(read: ReadOutcome) -> Option<Found> {
    read.found.filter(|(stored, _)| matches!(stored.content(), Content::Response(_)))
}

impl Stored {
    /// The keys under which a variant for this request may be stored, newest `Vary` first.
    fn variant_keys<'v>(
        &'v self,
        settings: &'v Settings,
        key: &'v Key,
        headers: &'v HeaderMap,
    ) -> impl Iterator<Item = Key> + 'v {
        let vary_lists = match self.content() {
            Content::Variants(variants) => variants.vary_lists.as_slice(),
            Content::Response(_) | Content::QueryVariance(_) | Content::Tombstone => &[],
        };
        vary_lists.iter().map(move |fields| settings.key.normalizers.variant(key, headers, fields))
    }
}

impl Variants {
    /// Adds a variant; `None` if that would exceed `limit`.
    fn with(mut self, fields: &[HeaderName], id: VariantId, expires: Timestamp, now: Timestamp, limit: usize) -> Option<Self> {
        /// How many different `Vary` values of one URI are searched.
        const MAX_VARY_LISTS: usize = 4;
        self.members.retain(|(other, expires)| *other != id && now < *expires);
        if self.members.len() >= limit {
            return None;
        }
        self.members.push((id, expires));
        self.vary_lists.retain(|other| **other != *fields);
        self.vary_lists.insert(0, fields.into());
        self.vary_lists.truncate(MAX_VARY_LISTS);
        Some(self)
    }
}
