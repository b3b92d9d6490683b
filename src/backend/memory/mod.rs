//! The store in the memory of the process.

pub(crate) mod map;
mod miniatures;
mod sweeps;
pub(crate) mod tag_counts;
pub(crate) mod tag_table;
mod writers;

/// What the files under the model checker import as `super::sync`.
use crate::sync;

use std::{
    fmt,
    future::{Future, ready},
    hash::BuildHasher,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use foldhash::quality::RandomState;
use smallvec::SmallVec;

use super::{
    contract::{Backend, Durability, Invalidation, PutOutcome, ReadOutcome, Receipt, Scope},
    memory::{
        map::{EntryMap, MokaBuilder},
        miniatures::{Miniatures, Present},
        sweeps::Sweeps,
        tag_counts::TagCounts,
        tag_table::TagTable,
        writers::Writers,
    },
    store_stats::StoreStats,
    validity::{Strength, Validity},
    write_marks::Marked,
};
use crate::{
    clock::{Clock, Timestamp},
    entry::{
        epoch::Epoch,
        stored::{Content, CountEntries, Stored},
    },
    error::Error,
    key::Key,
    tag::Tag,
};

/// Stored responses in the memory of this process, bounded in bytes.
///
/// A hit is one lookup and one atomic load; an invalidation costs the same whether it concerns one entry or a
/// million. The latest 65,536 invalidated tags that stored entries carry ([`tag_capacity`](Self::tag_capacity)) are remembered individually; when
/// a further one is invalidated, all entries that are older than the oldest of these invalidations are dropped. Invalidations of tags that
/// no entry carries drop nothing, however many there are: beyond the latest 65,536, a response that is being fetched at that time may
/// not be stored.
///
/// Its promise holds for this process, without conditions.
///
/// # When it is full
///
/// The entries are in a [moka](https://docs.rs/moka) cache, or in a [quick_cache](https://docs.rs/quick_cache) with the feature
/// `memory-quick`. The promise, and everything else that larder says, is the same with both. They differ in which entries they evict:
///
/// | | [`new`](Self::new): moka | `quick`: quick_cache |
/// |---|---|---|
/// | evicts | the least recently used entry (TinyLFU) | entries that were used only once, or not recently (CLOCK-Pro) |
/// | a new entry, when the store is full | is admitted if its key was requested more often, lately, than all entries together that it would displace; otherwise it is evicted at once | is admitted |
/// | many URLs that are requested once | leave popular entries alone | likewise |
/// | an entry that is much larger than the others | is not admitted while those that it would displace are in use, however often it is requested | is admitted |
/// | largest entry | the whole store, 4 GiB at most | 15 MiB, or a 35th of the store where that is more |
/// | its own memory for an entry | about 300 bytes | about 120 bytes |
///
/// Give the store enough bytes for all responses that are in use. Where a few large responses among many small ones must stay stored even in
/// a full store, use quick_cache, or moka's least-recently-used policy ([`from_moka`](Self::from_moka)).
///
/// # Expired responses
///
/// A response that can no longer be used, not even stale or for validation, is removed without being requested: when another response
/// is stored, at most once a second, by a task on a thread for blocking work, which looks at all entries and takes 1 % of a core at most.
/// An application that stores nothing for long may call [`remove_expired`](Self::remove_expired). What counts is the clock of the cache
/// ([`Cache::with_clock`](crate::Cache::with_clock)).
///
/// moka does its own work, such as evicting, in batches while it is used: until then, the store may hold a sixteenth more than its size, and memory
/// of removed entries is freed a little later.
pub struct Memory {
    pub(super) entries: EntryMap,
    pub(super) table: TagTable,
    tags: Arc<StoredTags>,
    writers: Writers,
    sweeps: Arc<Sweeps>,
    /// Held while an entry is stored or removed, each for some of the keys, so that [`Backend::replace`] is one step.
    changes: Box<[Mutex<()>]>,
    miniatures: Arc<Miniatures>,
    /// Whether it was logged that the table of tags is full.
    warned: AtomicBool,
}

/// The tags of the stored entries.
struct StoredTags {
    /// Keyed per process, so that clients cannot choose tags that share a hash.
    hasher: RandomState,
    counts: Arc<TagCounts>,
}

impl StoredTags {
    fn hashes<'t>(&'t self, tags: &'t [Tag]) -> impl Iterator<Item = u64> + Clone + 't {
        tags.iter().map(|tag| self.hasher.hash_one(tag.as_str()))
    }
}

impl CountEntries for StoredTags {
    fn removed(&self, tags: &[Tag]) {
        self.counts.remove(self.hashes(tags));
    }
}

const DEFAULT_TAG_CAPACITY: usize = 65_536;
const TAG_SHARDS: usize = 32;
const CHANGE_SHARDS: usize = 64;

impl Memory {
    /// Creates a store for at most `max_bytes` bytes of keys, headers, bodies and bookkeeping, on moka.
    pub fn new(max_bytes: u64) -> Self {
        Self::over(EntryMap::moka(max_bytes))
    }

    /// Creates the same on quick_cache, which takes less time and memory than moka; [above](Self#when-it-is-full) is what else differs.
    #[cfg(feature = "memory-quick")]
    pub fn quick(max_bytes: u64) -> Self {
        Self::over(EntryMap::quick(max_bytes))
    }

    /// Creates a store on moka from a builder of the application, with its `max_capacity` in bytes:
    ///
    /// ```
    /// use larder::{Cache, Memory, moka};
    ///
    /// let builder = moka::sync::Cache::builder()
    ///     .max_capacity(64 << 20)
    ///     .initial_capacity(10_000)
    ///     .eviction_policy(moka::policy::EvictionPolicy::lru());
    /// let cache = Cache::new(Memory::from_moka(builder));
    /// # let _ = cache;
    /// ```
    ///
    /// The settings of moka decide only how long an entry is kept at most, never whether it may be used. larder sets `weigher` and
    /// `eviction_listener` itself, in place of what the builder has. A `time_to_live`, `time_to_idle` or `expire_after` is measured by
    /// moka's clock; larder removes expired responses without them.
    ///
    /// # Panics
    /// If `max_capacity` is not set: the store would not be bounded.
    pub fn from_moka(builder: MokaBuilder) -> Self {
        Self::over(EntryMap::from_moka(builder))
    }

    fn over(entries: EntryMap) -> Self {
        let counts = Arc::new(TagCounts::new(TAG_SHARDS));
        Self {
            miniatures: Miniatures::of(&entries),
            entries,
            table: TagTable::new(DEFAULT_TAG_CAPACITY, TAG_SHARDS, Arc::clone(&counts)),
            tags: Arc::new(StoredTags { hasher: RandomState::default(), counts }),
            writers: Writers::default(),
            sweeps: Arc::default(),
            changes: (0..CHANGE_SHARDS).map(|_| Mutex::default()).collect(),
            warned: AtomicBool::new(false),
        }
    }

    /// Remembers the invalidations of `tags` tags of stored entries individually, and of as many others; default: 65,536. Each takes about 100 bytes, and some hundred more
    /// while the tag is expired repeatedly.
    #[must_use]
    pub fn tag_capacity(mut self, tags: usize) -> Self {
        self.table = TagTable::new(tags, TAG_SHARDS, Arc::clone(&self.tags.counts));
        self
    }

    /// Returns the number of entries, including invalidated ones. With moka, it waits for evictions that are due: some microseconds,
    /// and more after many insertions.
    pub fn entries(&self) -> u64 {
        self.entries.size().0
    }

    /// Returns the size of the entries in bytes. It costs what [`entries`](Self::entries) costs.
    pub fn bytes(&self) -> u64 {
        self.entries.size().1
    }

    /// Returns how many entries were evicted since the store was created because it was full. With moka, new entries that were not
    /// admitted count as well, and those of the latest moment may still be missing.
    pub fn evictions(&self) -> u64 {
        self.entries.removals().evicted.get()
    }

    /// Removes all responses that have expired: those that cannot be used any more, not even stale or for validation. The store does so
    /// by itself while responses are stored. It looks at every entry, for 1 to 2 µs each with moka and less with quick_cache, without being in the way of requests.
    pub fn remove_expired(&self) {
        sweep(&self.sweeps, &self.entries, &self.miniatures);
    }

    /// Counts a lookup that was answered by `stored`.
    pub(super) fn answered(&self, key: &Key, stored: &Stored) {
        self.miniatures.answered(key, stored);
    }

    /// Returns the number of invalidated tags that are remembered individually.
    pub fn invalidated_tags(&self) -> usize {
        self.table.len()
    }

    /// Returns the statistics of a store of this kind.
    pub(super) fn counted(&self, store: &'static str) -> StoreStats {
        let (entries, bytes) = self.entries.size();
        StoreStats {
            entries: Some(entries),
            bytes: Some(bytes),
            limit_bytes: Some(self.entries.max_bytes()),
            evictions: Some(self.evictions()),
            tag_records: Some(self.table.len() as u64),
            memory_curve: Some(self.miniatures.curve(&self.entries)),
            ..StoreStats::new(store)
        }
    }

    #[inline(always)]
    fn read(&self, key: &Key) -> ReadOutcome {
        let epoch = self.table.epoch();
        let read_at = Epoch::new(epoch);
        let Some(stored) = self.entries.get(key.as_bytes()) else { return ReadOutcome::miss(read_at) };
        let Some(validity) = self.revalidate(&stored, epoch) else { return ReadOutcome::miss(read_at) };
        self.miniatures.answered(key, &stored);
        ReadOutcome::hit(stored, validity, read_at)
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

    /// Returns the validity of a stored response with these tags; `None` if it is dead.
    pub(super) fn validity(&self, born: Epoch, tags: &[Tag]) -> Option<Validity> {
        self.table.validity(born.get(), self.tags.hashes(tags))
    }

    /// Returns the validity of a response with these tags that need not be stored yet; `None` if it is dead.
    pub(super) fn validity_of_fetched(&self, born: Epoch, tags: &[Tag]) -> Option<Validity> {
        self.table.validity_of_fetched(born.get(), self.tags.hashes(tags))
    }

    /// Counts an entry with these tags that is about to be stored. If another store counts it, it counts here for good, which costs a record at most.
    fn count(&self, stored: &Stored, tags: impl Iterator<Item = u64>) {
        let counter: Arc<dyn CountEntries> = Arc::clone(&self.tags) as _;
        if stored.count_by(&counter) {
            self.tags.counts.add(tags);
        }
    }

    fn store(&self, key: &Key, stored: Arc<Stored>) -> PutOutcome {
        let _changing = self.changing(key);
        self.store_alone(key, stored)
    }

    fn replace_present(&self, key: &Key, present: &Stored, stored: Arc<Stored>) -> PutOutcome {
        let _changing = self.changing(key);
        match self.entries.get(key.as_bytes()) {
            Some(found) if found.is_same_response(present) => self.store_alone(key, stored),
            _ => PutOutcome::Invalidated,
        }
    }

    /// Keeps others from storing or removing the entry under the key.
    fn changing(&self, key: &Key) -> MutexGuard<'_, ()> {
        let shard = usize::try_from(key.digest() % CHANGE_SHARDS as u64).unwrap_or(0);
        self.changes[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store_alone(&self, key: &Key, stored: Arc<Stored>) -> PutOutcome {
        if let Content::Tombstone = stored.content() {
            self.entries.remove(key.as_bytes());
            self.miniatures.removed(key.as_bytes());
            return PutOutcome::Stored;
        }
        if !self.entries.has_room_for(key.as_bytes(), &stored) {
            return PutOutcome::TooLarge;
        }
        let hashes: SmallVec<[u64; 8]> = self.tags.hashes(stored.tags()).collect();
        let tags = || hashes.iter().copied();
        // After the handler has run: a writer that marks a tag from now on expires this response.
        match self.writers.marked(tags(), || self.sweeps.now()) {
            (Marked::Free, _) => {}
            (Marked::Held, _) => return PutOutcome::PendingWrite,
            (Marked::Lapsed, lapsed) => {
                self.settle(&lapsed, self.sweeps.now());
                return PutOutcome::Invalidated;
            }
        }
        self.count(&stored, tags());
        match self.table.validity_to_store(stored.born().get(), tags()) {
            None => PutOutcome::Invalidated,
            // Expired while its handler ran: stored unless a response that was fetched since is there.
            Some(Validity::Stale { .. }) if self.has_newer(key, stored.born()) => PutOutcome::Invalidated,
            Some(_) => {
                self.insert(key, stored);
                PutOutcome::Stored
            }
        }
    }

    /// Invalidates tags whose writers have not released them, and removes the marks that had lapsed at this time.
    fn settle(&self, tags: &[u64], at: Timestamp) {
        if !tags.is_empty() {
            self.table.invalidate(tags, Strength::Hard);
            self.writers.forget_lapsed(tags.iter().copied(), at);
        }
    }

    fn insert(&self, key: &Key, stored: Arc<Stored>) {
        let expires = stored.expires();
        if let Some(ghost) = self.miniatures.inserted(key.as_bytes()) {
            stored.set_sampled();
            let present = if self.entries.get(key.as_bytes()).is_some() { Present::Entry } else { Present::Nothing };
            let is_usable =
                |ghost: &Stored| self.validity(ghost.born(), ghost.tags()).is_some() && self.sweeps.now() < ghost.expires();
            self.miniatures.stored(ghost, key.as_bytes(), &stored, present, is_usable);
        }
        self.entries.insert(key.as_bytes(), stored);
        if self.sweeps.is_due_after(expires) {
            self.sweep_in_background();
        }
    }

    /// Removes expired entries, unless that is being done. Does nothing outside of a runtime.
    fn sweep_in_background(&self) {
        let (sweeps, entries, miniatures) = (Arc::clone(&self.sweeps), self.entries.clone(), Arc::clone(&self.miniatures));
        self.sweeps.task().start(move |running| async move {
            // It looks at all entries, which may be millions.
            let sweep = move || {
                sweep(&sweeps, &entries, &miniatures);
                drop(running);
            };
            let _ = tokio::task::spawn_blocking(sweep).await;
        });
    }

    fn has_newer(&self, key: &Key, born: Epoch) -> bool {
        self.entries.get(key.as_bytes()).is_some_and(|present| born < present.born())
    }

    /// Stores an entry that was valid at `epoch` without checking its validity, which readers do. Does nothing if there is no room for it,
    /// or if a record that readers would need was dropped since.
    pub(super) fn keep(&self, key: &Key, stored: Arc<Stored>, epoch: Option<Epoch>) {
        if !self.entries.has_room_for(key.as_bytes(), &stored) {
            return;
        }
        self.count(&stored, self.tags.hashes(stored.tags()));
        self.table.keep_records(self.tags.hashes(stored.tags()));
        if epoch.is_none_or(|epoch| self.table.remembers_since(epoch.get())) {
            self.insert(key, stored);
        }
    }

    pub(super) fn apply(&self, invalidation: &Invalidation) -> Receipt {
        match invalidation {
            Invalidation::Tags(tags) => self.apply_to(tags, Strength::Hard),
            Invalidation::ExpireTags { tags, at } => self.apply_to(tags, Strength::Soft { at: *at }),
            Invalidation::Everything => receipt(self.table.invalidate_everything(), 0),
        }
    }

    pub(super) fn apply_to(&self, tags: &[Tag], strength: Strength) -> Receipt {
        let hashes: Vec<u64> = self.tags.hashes(tags).collect();
        let epoch = self.table.invalidate(&hashes, strength);
        self.warn_if_full();
        receipt(epoch, hashes.len())
    }

    /// Logs once that the table of tags is full.
    fn warn_if_full(&self) {
        if !self.warned.load(Ordering::Relaxed) && self.table.is_full() && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the memory of the cache remembers {} invalidated tags of stored responses, and no more: with further ones, responses that are older than \
                 the oldest of these invalidations are dropped. `Memory::tag_capacity` sets the limit. Logged once.",
                self.table.capacity
            );
        }
    }
}

/// Removes the expired entries, and those of the memory curve.
fn sweep(sweeps: &Sweeps, entries: &EntryMap, miniatures: &Miniatures) {
    sweeps.sweep(entries);
    miniatures.remove_expired(sweeps.now());
}

fn receipt(epoch: u64, tags: usize) -> Receipt {
    // Durable: the entries are in the same memory, so they do not outlive the record of their invalidation.
    Receipt::new(Epoch::new(epoch), tags, Scope::Process, Durability::Durable)
}

/// The future of a response that has been stored.
struct IsStored;

impl Future for IsStored {
    type Output = Result<PutOutcome, Error>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(PutOutcome::Stored))
    }
}

#[async_trait]
impl Backend for Memory {
    fn get_now(&self, key: &Key) -> Option<ReadOutcome> {
        Some(self.read(key))
    }

    async fn get(&self, key: &Key, _hint: &[Tag]) -> Result<ReadOutcome, Error> {
        Ok(self.read(key))
    }

    /// Written out, so that the usual outcome is a future without size, whose box takes no allocation: saves 300 instructions per miss.
    fn put<'life0, 'life1, 'async_trait>(
        &'life0 self,
        key: &'life1 Key,
        stored: Arc<Stored>,
    ) -> Pin<Box<dyn Future<Output = Result<PutOutcome, Error>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        match self.store(key, stored) {
            PutOutcome::Stored => Box::pin(IsStored),
            outcome => Box::pin(ready(Ok(outcome))),
        }
    }

    async fn replace(&self, key: &Key, present: &Stored, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        Ok(self.replace_present(key, present, stored))
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        Ok(self.validity_of_fetched(born, tags) == Some(Validity::Valid))
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        Ok(self.apply(invalidation))
    }

    async fn hold_tags(&self, tags: &[Tag], writer: u64, life: Duration) -> Result<(), Error> {
        let now = self.sweeps.now();
        let lapsed = self.writers.hold(self.tags.hashes(tags), writer, now + life, now);
        self.settle(&lapsed, now);
        Ok(())
    }

    async fn release_tags(&self, tags: &[Tag], writer: u64) -> Result<(), Error> {
        self.writers.release(self.tags.hashes(tags), writer);
        Ok(())
    }

    fn reads_are_exact(&self) -> bool {
        true
    }

    fn use_clock(&self, clock: &Clock) {
        self.sweeps.use_clock(clock);
    }

    fn stats(&self) -> Vec<StoreStats> {
        vec![self.counted("memory")]
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("engine", &self.entries)
            .field("max_bytes", &self.entries.max_bytes())
            .field("tag_capacity", &self.table.capacity)
            .field("invalidated_tags", &self.table.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::{map::removals::Counter, *};
    use crate::{
        backend::memory_curve::MemoryCurve,
        clock::ManualClock,
        entry::response::{StaleWindows, StoredResponse, response_head},
    };

    const MINUTE: Duration = Duration::from_secs(60);

    /// Keys by a Zipf distribution with the exponent 0.9, drawn by the inverse of its sums; always the same.
    fn zipf_trace(keys: usize, length: usize) -> Vec<Key> {
        let sums: Vec<f64> = (1..=keys)
            .scan(0.0, |sum, rank| {
                *sum += (rank as f64).powf(-0.9);
                Some(*sum)
            })
            .collect();
        let mut random = fastrand::Rng::with_seed(7);
        let mut draw = || {
            let at = random.f64() * sums[keys - 1];
            sums.partition_point(|sum| *sum < at)
        };
        (0..length).map(|_| Key::from_bytes(format!("GET /posts/{}", draw()).as_bytes())).collect()
    }

    /// Looks each key up, and stores it if it is not there; returns the hit ratio of the second half.
    fn run(store: &Memory, trace: &[Key]) -> (f64, MemoryCurve) {
        let half = trace.len() / 2;
        let run = |keys: &[Key]| {
            let hits = keys.iter().filter(|key| {
                let is_hit = store.read(key).found.is_some();
                if !is_hit {
                    store.store(key, entry_of(1000));
                }
                is_hit
            });
            hits.count()
        };
        run(&trace[..half]);
        let before = store.miniatures.curve(&store.entries);
        let hits = run(&trace[half..]);
        (hits as f64 / (trace.len() - half) as f64, store.miniatures.curve(&store.entries).since(&before))
    }

    fn entry_of(bytes: usize) -> Arc<Stored> {
        Arc::new(Stored::new(Epoch::new(1), Vec::new(), Content::Response(response(vec![0; bytes], FAR))))
    }

    #[test]
    fn memory_curve_agrees_with_stores_of_these_sizes() {
        const SIZE: u64 = 16 << 20;
        let trace = zipf_trace(60_000, 200_000);
        let each = |size: u64| stores(size).into_iter().map(|store| run(&store, &trace)).collect::<Vec<_>>();
        let estimates: Vec<_> = each(SIZE).into_iter().map(|(ratio, curve)| (ratio, curve, curve.points().unwrap())).collect();
        for (at, size) in [SIZE / 2, SIZE, SIZE * 2, SIZE * 4].into_iter().enumerate() {
            let others = if size == SIZE { Vec::new() } else { each(size) };
            for (store, (own, _, points)) in estimates.iter().enumerate() {
                let real = others.get(store).map_or(*own, |(ratio, _)| *ratio);
                assert_eq!(points[at].bytes, size);
                assert!((points[at].hit_ratio - real).abs() < 0.05, "{size}: {real} {points:?}");
            }
        }
        for (real, curve, _) in estimates {
            assert!((curve.measured().unwrap() - real).abs() < 0.01, "{real} {curve:?}");
            assert!(curve.error().unwrap().abs() < 0.05 && curve.sampled() > 1000, "{curve:?}");
        }
    }

    fn put_at(store: &Memory, key: &Key, until: Timestamp) {
        let content = Content::Response(response(vec![0; 10], until));
        let stored = Stored::new(Epoch::new(store.table.epoch()), Vec::new(), content);
        assert_eq!(store.store(key, Arc::new(stored)), PutOutcome::Stored);
    }

    #[test]
    fn misses_by_invalidation_and_expiry_are_no_capacity_misses() {
        for store in stores(1 << 20) {
            let clock = ManualClock::new();
            store.use_clock(&Clock::from(&clock));
            let key = (0..).map(|number: usize| Key::from_bytes(format!("/{number}").as_bytes()));
            let key = key.into_iter().find(|key| store.miniatures.sampled(key.as_bytes()).is_some()).unwrap();
            let curve = || store.miniatures.curve(&store.entries);
            store.store(&key, entry_of(10));
            assert_eq!((curve().sampled_hits, curve().sampled_misses), (0, 1), "the first one is a miss");
            assert!(store.read(&key).found.is_some());
            assert_eq!(curve().sampled_hits, 1);
            let after = |what: &str| {
                assert_eq!((curve().sampled_hits, curve().sampled_misses), (1, 1), "{what}");
            };
            store.apply(&Invalidation::Everything);
            assert!(store.read(&key).found.is_none());
            put_at(&store, &key, FAR);
            after("invalidated");
            // It has expired, and is still there.
            let until = Clock::from(&clock).now() + MINUTE;
            put_at(&store, &key, until);
            clock.advance(2 * MINUTE);
            put_at(&store, &key, until + 10 * MINUTE);
            after("replaced");
        }
    }

    /// A store of each kind.
    fn stores(max_bytes: u64) -> Vec<Memory> {
        vec![
            Memory::new(max_bytes),
            #[cfg(feature = "memory-quick")]
            Memory::quick(max_bytes),
        ]
    }

    fn response(body: Vec<u8>, fresh_until: Timestamp) -> StoredResponse {
        StoredResponse {
            head: response_head(StatusCode::OK, HeaderMap::new()),
            body: Bytes::from(body),
            codings: None,
            selection: None,
            generated: Timestamp::from_millis(0),
            fresh_until,
            allows_authorization: false,
            stale: StaleWindows::default(),
            must_not_serve_stale: false,
            immutable: false,
            outlives_max_age: false,
            handler_millis: 0,
        }
    }

    fn key(name: impl AsRef<[u8]>) -> Key {
        Key::from_bytes(name.as_ref())
    }

    fn put(store: &Memory, name: impl AsRef<[u8]>, response: StoredResponse) -> PutOutcome {
        store.store(&key(name), Arc::new(Stored::new(Epoch::new(1), Vec::new(), Content::Response(response))))
    }

    fn found(store: &Memory, name: impl AsRef<[u8]>) -> Option<usize> {
        let (stored, _) = store.read(&key(name)).found?;
        let Content::Response(response) = stored.content() else { panic!("{stored:?}") };
        Some(response.body.len())
    }

    const FAR: Timestamp = Timestamp::from_millis(1 << 50);

    #[test]
    fn an_entry_that_put_stored_is_found_whatever_its_size() {
        for store in stores(64 << 20) {
            let largest = if format!("{store:?}").contains("moka") { 63 } else { 14 };
            for mebibytes in 1..70 {
                let put = put(&store, "a", response(vec![0; mebibytes << 20], FAR));
                assert_eq!(put == PutOutcome::Stored, mebibytes <= largest, "{mebibytes} MiB, {store:?}");
                assert!(put == PutOutcome::TooLarge || found(&store, "a") == Some(mebibytes << 20));
            }
        }
    }

    #[test]
    fn a_store_without_room_stores_nothing() {
        for store in stores(0) {
            assert_eq!(put(&store, "a", response(Vec::new(), FAR)), PutOutcome::TooLarge);
            assert_eq!((store.entries(), store.bytes(), found(&store, "a")), (0, 0, None));
        }
    }

    /// Large bodies, so that the batches in which moka evicts would be many times the store.
    #[test]
    fn a_store_never_holds_much_more_than_its_size() {
        const MAX: u64 = 16 << 20;
        for store in stores(MAX) {
            let mut bodies: Vec<std::sync::Weak<Stored>> = Vec::new();
            for number in 0..200_u64 {
                let content = Content::Response(response(vec![0; 512 << 10], FAR));
                let stored = Arc::new(Stored::new(Epoch::new(1), Vec::new(), content));
                bodies.push(Arc::downgrade(&stored));
                assert_eq!(store.store(&key(number.to_be_bytes()), stored), PutOutcome::Stored);
                let present = (0..=number).filter(|number| found(&store, number.to_be_bytes()).is_some()).count() as u64;
                assert!(present * (512 << 10) <= MAX + MAX / 8, "{present} entries after {number}, {store:?}");
            }
            assert!(store.bytes() <= MAX);
        }
    }

    #[test]
    fn entries_that_leave_the_store_are_counted_by_their_cause() {
        for store in stores(1 << 20) {
            let clock = ManualClock::new();
            store.use_clock(&Clock::from(&clock));
            let short = || response(vec![0; 100], Timestamp::from(clock.now()) + MINUTE);
            for name in ["replaced", "replaced", "removed", "expired", "kept"] {
                put(&store, name, if name == "expired" { short() } else { response(vec![0; 100], FAR) });
            }
            let tombstone = Stored::new(Epoch::new(1), Vec::new(), Content::Tombstone);
            store.store(&key("removed"), Arc::new(tombstone));
            clock.advance(MINUTE);
            store.remove_expired();
            assert_eq!((store.entries(), store.evictions()), (2, 0), "{store:?}");

            for number in 0..100_u64 {
                put(&store, number.to_be_bytes(), response(vec![0; 100 << 10], FAR));
            }
            let left = store.entries();
            let removals = store.entries.removals();
            let counted = [&removals.replaced, &removals.removed, &removals.expired, &removals.evicted].map(Counter::get);
            assert_eq!(counted, [1, 1, 1, 102 - left], "{store:?}");
            assert_eq!(store.evictions(), 102 - left);
            assert!(left <= 12, "{left} entries of 100 KiB in 1 MiB");
        }
    }

    #[tokio::test]
    async fn expired_entries_are_removed_when_another_one_is_stored() {
        for store in stores(16 << 20) {
            let clock = ManualClock::new();
            // Much later and much earlier than the time of the machine: only this clock counts.
            for shift in [1_000_000, 0] {
                clock.set(std::time::UNIX_EPOCH + MINUTE * shift);
                store.use_clock(&Clock::from(&clock));
                let until = |minutes| Timestamp::from(clock.now()) + MINUTE * minutes;
                for number in 0..1000_u64 {
                    put(&store, number.to_be_bytes(), response(vec![0; 1000], until(1 + number as u32 % 2)));
                }
                assert_eq!(store.entries(), 1000);

                clock.advance(MINUTE - Duration::from_millis(1));
                put(&store, "early", response(Vec::new(), until(10)));
                assert!(!is_sweeping(&store));
                clock.advance(Duration::from_millis(1));
                put(&store, "late", response(Vec::new(), until(10)));
                swept(&store).await;
                assert_eq!(store.entries(), 502, "{store:?}");

                clock.advance(MINUTE * 10);
                store.remove_expired();
                assert_eq!(store.entries(), 0, "{store:?}");
            }
        }
    }

    fn is_sweeping(store: &Memory) -> bool {
        format!("{:?}", store.sweeps).contains("LoneTask(true)")
    }

    /// Waits for the sweep that has begun.
    async fn swept(store: &Memory) {
        assert!(is_sweeping(store));
        while is_sweeping(store) {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn moka_is_built_with_the_settings_of_the_application_within_larders_limits() {
        let weightless = moka::sync::Cache::builder().max_capacity(1 << 20).weigher(|_, _| 0).time_to_idle(Duration::ZERO);
        let store = Memory::from_moka(weightless);
        put(&store, "idle", response(vec![0; 100], FAR));
        assert_eq!(found(&store, "idle"), None);
        assert_eq!(put(&store, "large", response(vec![0; 1 << 20], FAR)), PutOutcome::TooLarge);
    }

    #[test]
    #[should_panic(expected = "`Memory::from_moka` needs `max_capacity`")]
    fn moka_without_a_limit_is_refused() {
        Memory::from_moka(moka::sync::Cache::builder());
    }
}
