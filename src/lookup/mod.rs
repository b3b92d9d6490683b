//! From a key to an entry.

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
    lookup::store::{EntryTarget, backend_failed, member},
    policy::{cacheable_request::CacheableRequest, settings::Settings},
    tag::Tag,
};

type Found = (Arc<Stored>, Validity);

/// What a look-up brought to light, and what a fetch needs to know of it.
#[derive(Debug)]
pub(crate) struct Lookup {
    pub(crate) found: Option<Found>,
    /// Why the handler will be asked, if nothing was found.
    pub(crate) why: Forward,
    /// Read before the handler runs; `None` if nothing may be stored.
    pub(crate) epoch: Option<Epoch>,
    /// Where it was found, or where it would be: the key of a variant, or `None` for the request's own key.
    pub(crate) at: Option<Box<Key>>,
}

/// Storing and finding; variants (RFC 9111 §4.1) are dealt with here, so that a backend only has keys and values.
impl Cache {
    /// `None` if the backend has to wait for its answer.
    pub(crate) fn lookup_now(&self, settings: &Settings, look: &CacheableRequest, request: &HeaderMap) -> Option<Lookup> {
        if look.search.is_none() {
            // As it is found: taken apart and put together, it would be copied on its way.
            return self.find_now(settings, &look.key, request);
        }
        let by_url = self.find_now(settings, &look.key, request)?;
        let Some(rule_key) = look.rule_key().filter(|_| by_url.found.is_none()) else { return Some(by_url) };
        let rule = self.inner.backend.get_now(&rule_key)?;
        let Some(key) = key_by(&rule, look) else { return Some(by_url) };
        Some(self.find_now(settings, &key, request)?.via_no_vary_search(key, by_url))
    }

    /// `known` are the tags that the response will have, as far as they are known.
    pub(crate) async fn lookup(
        &self,
        settings: &Settings,
        look: &CacheableRequest,
        request: &HeaderMap,
        known: &[Tag],
    ) -> Result<Lookup, Error> {
        let by_url = self.find(settings, &look.key, request, known).await?;
        let Some(rule_key) = look.rule_key().filter(|_| by_url.found.is_none()) else { return Ok(by_url) };
        let rule = self.inner.backend.get(&rule_key, known).await?;
        let Some(key) = key_by(&rule, look) else { return Ok(by_url) };
        Ok(self.find(settings, &key, request, known).await?.via_no_vary_search(key, by_url))
    }

    fn find_now(&self, settings: &Settings, key: &Key, request: &HeaderMap) -> Option<Lookup> {
        let first = self.inner.backend.get_now(key)?;
        let epoch = first.epoch;
        let stored = match Step::from(first) {
            Step::Done(lookup) => return Some(lookup),
            Step::Variants(stored) => stored,
        };
        let mut variants = VariantMatches::default();
        for variant in stored.variant_keys(settings, key, request) {
            let found = response(self.inner.backend.get_now(&variant)?);
            variants.add(variant, found);
        }
        Some(variants.into_look_up(epoch))
    }

    async fn find(&self, settings: &Settings, key: &Key, request: &HeaderMap, known: &[Tag]) -> Result<Lookup, Error> {
        let first = self.inner.backend.get(key, known).await?;
        let epoch = first.epoch;
        let stored = match Step::from(first) {
            Step::Done(lookup) => return Ok(lookup),
            Step::Variants(stored) => stored,
        };
        let mut variants = VariantMatches::default();
        for variant in stored.variant_keys(settings, key, request) {
            let found = response(self.inner.backend.get(&variant, known).await?);
            variants.add(variant, found);
        }
        Ok(variants.into_look_up(epoch))
    }

    /// Stores a response; says why if it is not there afterwards.
    pub(crate) async fn store(
        &self,
        settings: &Settings,
        filled: &EntryTarget,
        response: Arc<Stored>,
        fresh_until: Timestamp,
    ) -> Result<(), Reason> {
        let about_all = |content| Arc::new(Stored::new(filled.born, filled.target_tags.clone(), content));
        if let Some((key, rule)) = filled.rule.as_deref() {
            self.put(key, about_all(Content::QueryVariance(rule.clone()))).await?;
        }
        let Some(variants) = self.place(settings, filled, fresh_until).await? else {
            return self.put(&filled.key, response).await;
        };
        let variants = about_all(Content::Variants(variants));
        self.put(&filled.variant(), response).await?;
        self.put(&filled.key, variants).await
    }

    /// Makes sure that what is stored at `key` is not used again, not even stale.
    pub(crate) async fn put_tombstone(&self, key: &Key, born: Epoch, tags: Vec<Tag>) {
        // A failure has been logged, and leaves what the next look-up finds as it was.
        let _ = self.put(key, Arc::new(Stored::new(born, tags, Content::Tombstone))).await;
    }

    /// Whether something born at `born` with these tags could still be used; not if in doubt.
    pub(crate) async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> bool {
        self.inner.backend.is_alive(born, tags).await.unwrap_or(false)
    }

    /// The variants that a response belongs to, with itself; `None` if it is the only one.
    async fn place(&self, settings: &Settings, filled: &EntryTarget, expires: Timestamp) -> Result<Option<Variants>, Reason> {
        let fields = filled.vary.fields();
        let present = match self.inner.backend.get_now(&filled.key) {
            Some(present) => present.found,
            None => self.inner.backend.get(&filled.key, &[]).await.map_err(backend_failed)?.found,
        };
        let variants = match present.as_ref().map(|(stored, _)| stored.content()) {
            Some(Content::Variants(variants)) => variants.clone(),
            _ if fields.is_empty() => return Ok(None),
            _ => Variants::default(),
        };
        let with_it = variants.with(fields, member(&filled.variant()), expires, self.now(), settings.max_variants);
        with_it.map(Some).ok_or(Reason::VariantLimit)
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
    /// Where one would be by the newest `Vary`.
    newest: Option<Box<Key>>,
}

impl VariantMatches {
    fn add(&mut self, key: Key, found: Option<Found>) {
        let key = Box::new(key);
        match found {
            Some(found) if self.best.as_ref().is_none_or(|(_, (best, _))| rank(best) < rank(&found.0)) => {
                self.best = Some((key, found));
            }
            Some(_) => {}
            None => _ = self.newest.get_or_insert(key),
        }
    }

    fn into_look_up(self, epoch: Option<Epoch>) -> Lookup {
        match self.best {
            Some((key, found)) => Lookup { found: Some(found), why: Forward::VaryMiss, epoch, at: Some(key) },
            None => Lookup { found: None, why: Forward::VaryMiss, epoch, at: self.newest },
        }
    }
}

/// Of several responses that match, one with a `Vary` goes before one without, and then the newest (RFC 9111 §4, §4.1).
fn rank(stored: &Stored) -> Option<(bool, Timestamp)> {
    match stored.content() {
        Content::Response(response) => Some((response.head.headers.contains_key(VARY), response.generated)),
        _ => None,
    }
}

impl Lookup {
    /// What was found under the `key` that a rule gives, after nothing was found by the URL itself.
    fn via_no_vary_search(self, key: Key, by_url: Self) -> Self {
        // The earlier epoch is the safe one.
        Self { at: self.at.or_else(|| Some(key.into())), epoch: by_url.epoch, ..self }
    }
}

/// The key that the rule for a path gives a request, if there is one.
fn key_by(read: &ReadOutcome, look: &CacheableRequest) -> Option<Key> {
    let (stored, _) = read.found.as_ref()?;
    let Content::QueryVariance(rule) = stored.content() else { return None };
    look.key_by(rule)
}

/// What stands under the key itself.
enum Step {
    Done(Lookup),
    Variants(Arc<Stored>),
}

impl From<ReadOutcome> for Step {
    fn from(read: ReadOutcome) -> Self {
        match read.found {
            Some((stored, _)) if matches!(stored.content(), Content::Variants(_)) => Self::Variants(stored),
            _ => Self::Done(Lookup { why: Forward::UriMiss, epoch: read.epoch, at: None, found: response(read) }),
        }
    }
}

/// What was read, if it is a response.
fn response(read: ReadOutcome) -> Option<Found> {
    read.found.filter(|(stored, _)| matches!(stored.content(), Content::Response(_)))
}

impl Stored {
    /// The keys under which a variant for this request may be, newest nomination first.
    fn variant_keys<'v>(
        &'v self,
        settings: &'v Settings,
        key: &'v Key,
        request: &'v HeaderMap,
    ) -> impl Iterator<Item = Key> + 'v {
        let vary_lists = match self.content() {
            Content::Variants(variants) => variants.vary_lists.as_slice(),
            Content::Response(_) | Content::QueryVariance(_) | Content::Tombstone => &[],
        };
        vary_lists.iter().map(move |fields| settings.key.normalizers.variant(key, request, fields))
    }
}

impl Variants {
    /// With one more variant; `None` if there are as many as there may be.
    fn with(
        mut self,
        fields: &[HeaderName],
        member: VariantId,
        expires: Timestamp,
        now: Timestamp,
        limit: usize,
    ) -> Option<Self> {
        /// How many different `Vary` fields of one URI are searched.
        const NOMINATIONS: usize = 4;
        self.members.retain(|(other, expires)| *other != member && now < *expires);
        if self.members.len() >= limit {
            return None;
        }
        self.members.push((member, expires));
        self.vary_lists.retain(|other| **other != *fields);
        self.vary_lists.insert(0, fields.into());
        self.vary_lists.truncate(NOMINATIONS);
        Some(self)
    }
}
