//! Hot keys, hot misses and hot tags, from a sample of the requests.

use std::{collections::HashMap, hash::BuildHasher as _};

use foldhash::fast::FixedState;

use super::{decision::digest, heavy_hitters::HeavyHitters};
use crate::{
    clock::Timestamp,
    key::{Key, shown_url::shown_url},
    tag::{Tag, namespace::TagNamespace},
};

/// One of so many requests that are answered at once is sampled, on average.
pub(super) const HIT_SAMPLE: u64 = 64;

/// One of so many requests that wait is sampled: they cost more.
pub(super) const WAIT_SAMPLE: u64 = 8;

/// The longest key that is kept; longer ones are cut, and told apart by their hashes.
const LONGEST_KEY: usize = 192;

/// A key that many requests have, see [`Cache::hot_keys`](crate::Cache::hot_keys).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HotKey {
    /// The estimated number of requests in the last one to two minutes.
    pub requests: u64,
    /// Eight digits of the digest of the key, as in the events `larder::decision`.
    pub digest: String,
    /// The URL in the key, if the cache [reveals](crate::Cache::with_revealed_keys) its keys.
    pub key: Option<String>,
}

/// A tag that many hits have, see [`Cache::hot_tags`](crate::Cache::hot_tags).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HotTag {
    /// The estimated number of hits in the last one to two minutes.
    pub hits: u64,
    /// The tag.
    pub tag: String,
}

/// The hot keys and tags of a cache.
#[derive(Debug, Default)]
pub(crate) struct Hot {
    hits: HeavyHitters<SampledKey>,
    misses: HeavyHitters<SampledKey>,
    tags: HeavyHitters<Tag>,
}

#[derive(Debug, Clone)]
struct SampledKey {
    start: Box<[u8]>,
    /// Computed at once only if the key is cut.
    digest: Option<String>,
}

impl SampledKey {
    fn new(key: &Key) -> Self {
        let bytes = key.as_bytes();
        let start = bytes[..bytes.len().min(LONGEST_KEY)].into();
        Self { start, digest: (bytes.len() > LONGEST_KEY).then(|| digest(key)) }
    }

    fn into_hot_key(self, requests: u64, reveals_keys: bool) -> HotKey {
        let key = Key::from_bytes(&self.start);
        HotKey { requests, digest: self.digest.unwrap_or_else(|| digest(&key)), key: reveals_keys.then(|| shown_url(&key)) }
    }
}

impl Hot {
    pub(super) fn hit(&self, now: Timestamp, key: &Key, weight: u64) {
        self.hits.add(now, key.digest(), weight, || SampledKey::new(key));
    }

    pub(super) fn missed(&self, now: Timestamp, key: &Key, weight: u64) {
        self.misses.add(now, key.digest(), weight, || SampledKey::new(key));
    }

    pub(super) fn hit_tags(&self, now: Timestamp, tags: &[Tag], weight: u64) {
        for tag in tags {
            self.tags.add(now, FixedState::default().hash_one(tag.as_str()), weight, || tag.clone());
        }
    }

    pub(crate) fn keys(&self, now: Timestamp, count: usize, reveals_keys: bool) -> Vec<HotKey> {
        listed(&self.hits, now, count, reveals_keys)
    }

    pub(crate) fn missing(&self, now: Timestamp, count: usize, reveals_keys: bool) -> Vec<HotKey> {
        listed(&self.misses, now, count, reveals_keys)
    }

    /// The tags of the application, without those that larder adds.
    pub(crate) fn tags(&self, now: Timestamp, count: usize, space: &TagNamespace) -> Vec<HotTag> {
        let (tags, _) = self.tags.top(now, usize::MAX);
        let named = tags.into_iter().filter_map(|(tag, hits)| Some(HotTag { hits, tag: space.name_of(&tag)?.to_owned() }));
        named.take(count).collect()
    }

    /// How often the hottest keys were hit, by their digests; without keys that are too long to be kept.
    pub(crate) fn heat(&self, now: Timestamp) -> HashMap<u64, u64> {
        let (keys, _) = self.hits.top(now, usize::MAX);
        let whole = keys.into_iter().filter(|(key, _)| key.digest.is_none());
        whole.map(|(key, hits)| (Key::from_bytes(&key.start).digest(), hits)).collect()
    }

    /// The share of the hottest key in all hits; `None` if there were none.
    pub(crate) fn share(&self, now: Timestamp) -> Option<f64> {
        let (top, total) = self.hits.top(now, 1);
        top.first().map(|(_, hits)| *hits as f64 / total as f64)
    }
}

fn listed(hitters: &HeavyHitters<SampledKey>, now: Timestamp, count: usize, reveals_keys: bool) -> Vec<HotKey> {
    let (keys, _) = hitters.top(now, count);
    keys.into_iter().map(|(key, requests)| key.into_hot_key(requests, reveals_keys)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_take_as_much_memory_as_is_documented() {
        // Tags are shared with entries, and kept alive here at most for two minutes.
        const DIGEST: usize = 8;
        let keys = HeavyHitters::<SampledKey>::most_bytes(LONGEST_KEY + DIGEST);
        let all = 2 * keys + HeavyHitters::<Tag>::most_bytes(0);
        assert!((50 << 10..56 << 10).contains(&all), "{all} bytes: change the documentation of `Cache::hot_keys`");
    }
}
