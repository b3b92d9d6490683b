//! Finds stored responses by key and variant, and stores them.
//!
//! A response is stored under the request's own key, with the values of the fields that its `Vary` names, so that one lookup finds it. Once
//! a URI has several variants, each has a key of its own, and the request's own key leads to the list of them; `cache/vary_hints.rs` predicts
//! the key of a variant, so that a hit on one takes one lookup, too.

mod authentic;
pub(crate) mod finish;
pub(crate) mod make_coding;
pub(crate) mod representation;
pub(crate) mod respond;
pub(crate) mod reuse;
pub(crate) mod store;
pub(crate) mod variants;

use http::HeaderMap;
use tokio::time::Instant;

use crate::{
    backend::contract::{ReadOutcome, within},
    cache::Cache,
    entry::{epoch::Epoch, stored::Content},
    error::Error,
    http::no_vary_search::QueryVariance,
    key::Key,
    lookup::variants::{Lookup, Primary, VariantSearch},
    policy::{cacheable_request::CacheableRequest, settings::Settings},
    tag::Tag,
};

/// Finds responses. Variants (RFC 9111 §4.1) are resolved here, so that a backend only maps keys to values.
impl Cache {
    /// Looks up without waiting; `None` if the backend has to wait for a reply.
    pub(crate) fn lookup_now(&self, settings: &Settings, request: &CacheableRequest, headers: &HeaderMap) -> Option<Lookup> {
        self.lookup_by(settings, request, headers, Self::read_now)
    }

    /// Looks up among the copies that may answer although the store cannot be reached. Nothing may be stored after it.
    pub(crate) fn lookup_in_outage(
        &self,
        settings: &Settings,
        request: &CacheableRequest,
        headers: &HeaderMap,
    ) -> Option<Lookup> {
        let read = |cache: &Self, key: &Key| Some(cache.read_in_outage(key));
        self.lookup_by(settings, request, headers, read).filter(|lookup| lookup.found.is_some())
    }

    /// Looks up by reads that do not wait.
    #[inline]
    fn lookup_by(
        &self,
        settings: &Settings,
        request: &CacheableRequest,
        headers: &HeaderMap,
        read: impl Fn(&Self, &Key) -> Option<ReadOutcome> + Copy,
    ) -> Option<Lookup> {
        if request.query_span.is_none() {
            // Returned as it is: taking the result apart would copy it.
            return self.find_by(settings, &request.key, headers, read);
        }
        let by_url = self.find_by(settings, &request.key, headers, read)?;
        let Some(rule_key) = request.rule_key().filter(|_| by_url.found.is_none()) else { return Some(by_url) };
        let rule = read(self, &rule_key)?;
        let Some((key, rule)) = key_by(&rule, request) else { return Some(by_url) };
        Some(self.find_by(settings, &key, headers, read)?.via_no_vary_search(key, rule, by_url))
    }

    /// Looks up; `hint` are the tags that the response will have, as far as they are known.
    pub(crate) async fn lookup(
        &self,
        settings: &Settings,
        request: &CacheableRequest,
        headers: &HeaderMap,
        hint: &[Tag],
    ) -> Result<Lookup, Error> {
        let began = Instant::now();
        let by_url = self.find(settings, &request.key, headers, hint, began).await?;
        let Some(rule_key) = request.rule_key().filter(|_| by_url.found.is_none()) else { return Ok(by_url) };
        self.within(began, async {
            let rule = self.read(&rule_key, hint).await?;
            let Some((key, rule)) = key_by(&rule, request) else { return Ok(by_url) };
            Ok(self.find(settings, &key, headers, hint, began).await?.via_no_vary_search(key, rule, by_url))
        })
        .await
    }

    /// Runs further reads of a lookup that began at `began`, which share the time limit of the store.
    fn within<T>(&self, began: Instant, reads: impl Future<Output = Result<T, Error>>) -> impl Future<Output = Result<T, Error>> {
        within(self.inner.backend.lookup_limit(), began, reads)
    }

    fn find_by(
        &self,
        settings: &Settings,
        key: &Key,
        headers: &HeaderMap,
        read: impl Fn(&Self, &Key) -> Option<ReadOutcome>,
    ) -> Option<Lookup> {
        let mut search = VariantSearch::new(self, settings, key, headers);
        if let Some(predicted) = search.predicted() {
            let read = read(self, predicted)?;
            if let Some(lookup) = search.on_predicted(read) {
                return Some(lookup);
            }
        }
        let stored = match search.on_primary(read(self, key)?) {
            Primary::Decided(lookup) => return Some(lookup),
            Primary::Variants(stored) => stored,
        };
        for variant in search.variant_keys(&stored) {
            let read = read(self, &variant)?;
            search.on_variant(variant, read);
        }
        Some(search.best())
    }

    async fn find(
        &self,
        settings: &Settings,
        key: &Key,
        headers: &HeaderMap,
        hint: &[Tag],
        began: Instant,
    ) -> Result<Lookup, Error> {
        let mut search = VariantSearch::new(self, settings, key, headers);
        let primary = if let Some(predicted) = search.predicted() {
            let read = self.read(predicted, hint).await?;
            if let Some(lookup) = search.on_predicted(read) {
                return Ok(lookup);
            }
            self.within(began, self.read(key, hint)).await?
        } else {
            // Limited by the store alone, which counts the failure: a timer here could end first, and the breaker would not open.
            self.read(key, hint).await?
        };
        let stored = match search.on_primary(primary) {
            Primary::Decided(lookup) => return Ok(lookup),
            Primary::Variants(stored) => stored,
        };
        for variant in search.variant_keys(&stored) {
            let read = self.within(began, self.read(&variant, hint)).await?;
            search.on_variant(variant, read);
        }
        Ok(search.best())
    }

    /// Whether an entry born at `born` with these tags could still be used; `false` if in doubt.
    pub(crate) async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> bool {
        self.inner.backend.is_alive(born, tags).await.unwrap_or(false)
    }
}

impl Lookup {
    /// The result for the `key` that a `No-Vary-Search` rule gives, after the lookup by URL found nothing. A response is found only if
    /// it has sent that rule: one for the same path without a query may have sent none.
    fn via_no_vary_search(self, key: Key, rule: &QueryVariance, by_url: Self) -> Self {
        let found = self.found.filter(|(stored, _)| match stored.content() {
            Content::Response(response) => QueryVariance::parse(&response.head.headers).as_ref() == Some(rule),
            Content::Variants(_) | Content::QueryVariance(_) | Content::Value(_) | Content::Tombstone => false,
        });
        // The earlier epoch is the safe one.
        Self { found, variant_key: self.variant_key.or_else(|| Some(key.into())), epoch: by_url.epoch, ..self }
    }
}

/// The stored `No-Vary-Search` rule of a path, and the key that it gives a request; `None` if there is no rule.
fn key_by<'r>(read: &'r ReadOutcome, request: &CacheableRequest) -> Option<(Key, &'r QueryVariance)> {
    let (stored, _) = read.found.as_ref()?;
    let Content::QueryVariance(rule) = stored.content() else { return None };
    Some((request.key_by(rule)?, rule))
}
