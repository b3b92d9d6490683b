//! The store in the memory of the process.

pub(crate) mod map;
pub(crate) mod tag_table;

/// What the files under the model checker import as `super::sync`.
use crate::sync;

use std::{fmt, hash::BuildHasher, sync::Arc};

use async_trait::async_trait;
use foldhash::quality::RandomState;

use super::{
    contract::{Backend, Durability, Invalidation, PutOutcome, ReadOutcome, Receipt, Scope},
    memory::{map::EntryMap, tag_table::TagTable},
    validity::{Strength, Validity},
};
use crate::{
    entry::{epoch::Epoch, stored::Stored},
    error::Error,
    key::Key,
    tag::Tag,
};

/// Stored responses in the memory of this process, bounded in bytes.
///
/// A hit is one lookup and one atomic load; an invalidation costs the same whether it concerns one entry or a
/// million. Entries that were used only once, or not recently, are evicted first (CLOCK-Pro). One entry may take up to 15 MiB, or
/// a 35th of the store where that is more. The latest 65,536 invalidated tags are remembered individually; when a further tag is
/// invalidated, all entries that are older than the oldest of these invalidations are given up.
///
/// Its promise holds for this process, without conditions.
pub struct Memory<S = RandomState> {
    pub(super) entries: EntryMap<S>,
    pub(super) table: TagTable,
    /// Keyed per process, so that clients cannot choose tags that share a hash.
    tag_hasher: RandomState,
}

const DEFAULT_TAG_CAPACITY: usize = 65_536;
const TAG_SHARDS: usize = 32;

impl Memory {
    /// Creates a store for at most `max_bytes` bytes of keys, headers, bodies and bookkeeping.
    pub fn new(max_bytes: u64) -> Self {
        Self::with_hasher(max_bytes, RandomState::default())
    }
}

impl<S: BuildHasher + Clone + Send + Sync + 'static> Memory<S> {
    pub(crate) fn with_hasher(max_bytes: u64, hasher: S) -> Self {
        Self {
            entries: EntryMap::new(max_bytes, hasher),
            table: TagTable::new(DEFAULT_TAG_CAPACITY, TAG_SHARDS),
            tag_hasher: RandomState::default(),
        }
    }

    /// Remembers the invalidations of `tags` tags individually; default: 65,536. Each takes about 100 bytes, and some hundred more
    /// while the tag is expired repeatedly.
    #[must_use]
    pub fn tag_capacity(mut self, tags: usize) -> Self {
        self.table = TagTable::new(tags, TAG_SHARDS);
        self
    }

    /// Returns the number of entries, including invalidated ones.
    pub fn entries(&self) -> u64 {
        self.entries.size().0
    }

    /// Returns the size of the entries in bytes.
    pub fn bytes(&self) -> u64 {
        self.entries.size().1
    }

    /// Returns the number of invalidated tags that are remembered individually.
    pub fn invalidated_tags(&self) -> usize {
        self.table.len()
    }

    fn read(&self, key: &Key) -> ReadOutcome {
        let epoch = self.table.epoch();
        let stored = self.entries.get(key.as_bytes());
        let found = stored.and_then(|stored| Some((self.revalidate(&stored, epoch)?, stored)));
        ReadOutcome { found: found.map(|(validity, stored)| (stored, validity)), epoch: Some(Epoch::new(epoch)) }
    }

    /// Returns the validity of `stored` by every invalidation up to `epoch` at least, and remembers that it is valid; `None` if it is
    /// dead.
    fn revalidate(&self, stored: &Stored, epoch: u64) -> Option<Validity> {
        if stored.validated_at().get() == epoch {
            return Some(Validity::Valid);
        }
        let validity = self.validity(stored.born(), stored.tags())?;
        if validity == Validity::Valid {
            stored.set_validated_at(Epoch::new(epoch));
        }
        Some(validity)
    }

    fn hash(&self, tag: &Tag) -> u64 {
        self.tag_hasher.hash_one(tag.as_str())
    }

    /// Returns the validity of a response with these tags; `None` if it is dead.
    pub(super) fn validity(&self, born: Epoch, tags: &[Tag]) -> Option<Validity> {
        self.table.validity(born.get(), tags.iter().map(|tag| self.hash(tag)))
    }

    fn store(&self, key: &Key, stored: Arc<Stored>) -> PutOutcome {
        match self.validity(stored.born(), stored.tags()) {
            None => PutOutcome::Invalidated,
            // Expired while its handler ran: stored unless a response that was fetched since is there.
            Some(Validity::Stale { .. }) if self.has_newer(key, stored.born()) => PutOutcome::Invalidated,
            Some(_) => self.insert(key, stored),
        }
    }

    fn has_newer(&self, key: &Key, born: Epoch) -> bool {
        self.entries.get(key.as_bytes()).is_some_and(|present| born < present.born())
    }

    /// Stores an entry without checking its validity, if there is room for it.
    pub(super) fn insert(&self, key: &Key, stored: Arc<Stored>) -> PutOutcome {
        if !self.entries.has_room_for(key.as_bytes(), &stored) {
            return PutOutcome::TooLarge;
        }
        self.entries.insert(key.as_bytes(), stored);
        PutOutcome::Stored
    }

    pub(super) fn apply(&self, invalidation: &Invalidation) -> Receipt {
        match invalidation {
            Invalidation::Tags(tags) => self.apply_to(tags, Strength::Hard),
            Invalidation::ExpireTags { tags, at } => self.apply_to(tags, Strength::Soft { at: *at }),
            Invalidation::Everything => receipt(self.table.invalidate_everything(), 0),
        }
    }

    pub(super) fn apply_to(&self, tags: &[Tag], strength: Strength) -> Receipt {
        let hashes: Vec<u64> = tags.iter().map(|tag| self.hash(tag)).collect();
        receipt(self.table.invalidate(&hashes, strength), hashes.len())
    }
}

fn receipt(epoch: u64, tags: usize) -> Receipt {
    // Durable: the entries are in the same memory, so they do not outlive the record of their invalidation.
    Receipt::new(Epoch::new(epoch), tags, Scope::Process, Durability::Durable)
}

#[async_trait]
impl<S: BuildHasher + Clone + Send + Sync + 'static> Backend for Memory<S> {
    fn get_now(&self, key: &Key) -> Option<ReadOutcome> {
        Some(self.read(key))
    }

    async fn get(&self, key: &Key, _hint: &[Tag]) -> Result<ReadOutcome, Error> {
        Ok(self.read(key))
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        Ok(self.store(key, stored))
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        Ok(self.validity(born, tags) == Some(Validity::Valid))
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        Ok(self.apply(invalidation))
    }
}

impl<S> fmt::Debug for Memory<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("invalidated_tags", &self.table.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher;

    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::{
        clock::Timestamp,
        entry::{
            response::{StaleWindows, StoredResponse, response_head},
            stored::Content,
        },
    };

    /// A hasher that gives every key the same hash.
    #[derive(Debug, Clone, Copy)]
    struct Colliding;

    impl BuildHasher for Colliding {
        type Hasher = Self;

        fn build_hasher(&self) -> Self {
            Self
        }
    }

    impl Hasher for Colliding {
        fn finish(&self) -> u64 {
            7
        }

        fn write(&mut self, _: &[u8]) {}
    }

    fn response(body: &'static str) -> StoredResponse {
        StoredResponse {
            head: response_head(StatusCode::OK, HeaderMap::new()),
            body: Bytes::from_static(body.as_bytes()),
            generated: Timestamp::from_millis(0),
            fresh_until: Timestamp::from_millis(1),
            allows_authorization: false,
            stale: StaleWindows::default(),
            must_not_serve_stale: false,
            immutable: false,
            handler_millis: 0,
        }
    }

    fn stored(body: &'static str) -> Arc<Stored> {
        Arc::new(Stored::new(Epoch::new(1), Vec::new(), Content::Response(response(body))))
    }

    fn body<S: BuildHasher + Clone + Send + Sync + 'static>(store: &Memory<S>, key: &str) -> Option<Bytes> {
        let (stored, _) = store.read(&Key::from_bytes(key.as_bytes())).found?;
        match stored.content() {
            Content::Response(response) => Some(response.body.clone()),
            _ => None,
        }
    }

    #[test]
    fn w9_keys_with_the_same_hash_do_not_share() {
        let store = Memory::with_hasher(1 << 20, Colliding);
        for name in ["a", "b", "ab"] {
            assert_eq!(store.store(&Key::from_bytes(name.as_bytes()), stored(name)), PutOutcome::Stored);
        }
        for name in ["a", "b", "ab"] {
            assert_eq!(body(&store, name).unwrap(), name);
        }
        assert_eq!(body(&store, "c"), None);
        assert_eq!(body(&store, ""), None);
    }

    #[test]
    fn an_entry_that_put_stored_is_found_whatever_its_size() {
        let store = Memory::new(64 << 20);
        for mebibytes in 1..20 {
            let response = StoredResponse { body: vec![0; mebibytes << 20].into(), ..response("") };
            let stored = Arc::new(Stored::new(Epoch::new(1), Vec::new(), Content::Response(response)));
            let put = store.store(&Key::from_bytes(b"a"), stored);
            assert_eq!(put == PutOutcome::Stored, mebibytes < 15, "{mebibytes} MiB");
            assert!(put == PutOutcome::TooLarge || body(&store, "a").unwrap().len() == mebibytes << 20);
        }
    }
}
