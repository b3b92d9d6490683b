//! The conformance suite notices, by name, what a backend does wrong.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use larder::{
    Durability, Error, Receipt, Scope,
    backend::{
        Backend, Clock, Epoch, FetchLock, Invalidation, Key, PutOutcome, ReadOutcome, Stored, Tag, Timestamp, Validity,
        async_trait,
    },
    conformance::{Report, Suite, body, stored},
};
use tokio::{task::yield_now, time::Instant};

/// What is wrong with a [`Shelf`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// Stores what it is given as if it had been fetched just now.
    ReStamps,
    /// Reports an epoch that is not there yet.
    EpochAhead,
    /// Reports no epoch with a miss.
    NoEpoch,
    /// Gives two invalidations the same epoch.
    EpochStands,
    /// Records the first tag of an invalidation only.
    FirstTagOnly,
    /// Looks at the first tag of an entry only.
    LooksAtFirstTag,
    /// Looks at the tags that the reader knows rather than at those of the entry.
    LooksAtKnownTags,
    /// Takes `*` for all tags.
    Wildcard,
    /// Records a tag's first eight characters.
    CutsTags,
    /// Looks up by a key's first eight bytes.
    CutsKeys,
    /// Looks up by a key's text.
    KeysAsText,
    /// Is done with an invalidation before it is recorded.
    RecordsLater,
    /// Reads what was recorded, waits, and writes its own epoch whatever was recorded meanwhile.
    LowersRecords,
    /// Copies all records, waits, and puts them back with its own.
    LosesUpdates,
    /// Does not know of expiring.
    IgnoresSoft,
    /// Takes expiring for invalidating.
    SoftIsHard,
    /// Counts from the latest expiry.
    LatestExpiry,
    /// Counts from the first expiry of a tag, whether an entry was there then or not.
    FirstExpiry,
    /// Counts from when it is read.
    ExpiredNow,
    /// An expiry replaces the record of an invalidation.
    SoftLiftsHard,
    /// Removes entries when all is invalidated, and remembers nothing.
    RemovesOnly,
    /// Says that everything is alive.
    AllAlive,
    /// Does not check tags when it reads without waiting.
    HastyNow,
    /// Never forgets.
    NeverForgets,
    /// Does not replace by what has expired.
    KeepsOld,
    /// Cuts large bodies off.
    Truncates,
    /// Makes an error of a body that is too large.
    ErrsOnLarge,
    /// Does not notice damage.
    Trusts,
    /// Forgets a tag's record as if it had never been.
    ForgetsRecords,
    /// Starts again with the same clock.
    SameClock,
    /// Nodes keep their records to themselves.
    Unheard,
    /// Has a lock that is not given back by who gives up.
    LeaksLock,
    /// Keeps nothing.
    KeepsNothing,
    /// Replaces whatever is there.
    ReplacesAny,
    /// Gives each node the lock of a fetch.
    LocksNothing,
    /// Lets any node release the lock of a fetch.
    AnyoneUnlocks,
    /// Keeps the lock of a fetch beyond its life.
    LocksForever,
    /// Panics at a key that is not UTF-8.
    Panics,
    /// Does not hold tags.
    StoresDuringWrites,
    /// Looks at the first tag of an entry only when it looks for holds.
    HoldsFirstTag,
    /// A writer that releases a tag releases it for all.
    ReleasesAll,
    /// A hold that was not released in time is forgotten.
    ForgetsHolds,
    /// Nodes keep their holds to themselves.
    HoldsAlone,
}

/// A small backend in memory that does everything right, but for one flaw.
struct Shelf {
    flaw: Flaw,
    store: Arc<Mutex<Store>>,
    /// Of the records, if they are not in the store.
    own: Mutex<Records>,
    node: u64,
    /// Of the holds, if they are not in the store.
    own_holds: Mutex<Holds>,
}

/// The writers that hold each tag, and until when.
type Holds = HashMap<String, HashMap<u64, Timestamp>>;

#[derive(Default)]
struct Store {
    holds: Holds,
    entries: HashMap<Vec<u8>, Entry>,
    records: Records,
    /// The node that holds each fetch lock, and until when.
    locks: HashMap<Vec<u8>, (u64, Instant)>,
    epoch: u64,
    incarnation: u64,
    busy: bool,
}

struct Entry {
    stored: Arc<Stored>,
    sum: u64,
}

#[derive(Clone, Default)]
struct Records {
    floor: u64,
    tags: HashMap<String, Record>,
}

#[derive(Clone, Default)]
struct Record {
    hard: u64,
    /// Each expiry, by its epoch.
    soft: BTreeMap<u64, Timestamp>,
}

const LARGEST: usize = 1 << 20;

impl Shelf {
    fn new(flaw: Flaw) -> Self {
        let store = Store { incarnation: fresh_number(), ..Store::default() };
        Self {
            flaw,
            store: Arc::new(Mutex::new(store)),
            own: Mutex::default(),
            node: fresh_number(),
            own_holds: Mutex::default(),
        }
    }

    /// Another node on the same store.
    fn peer(&self) -> Self {
        Self {
            flaw: self.flaw,
            store: Arc::clone(&self.store),
            own: Mutex::default(),
            node: fresh_number(),
            own_holds: Mutex::default(),
        }
    }

    fn lose_all(&self) {
        let incarnation = match self.flaw {
            Flaw::SameClock => self.store().incarnation,
            _ => fresh_number(),
        };
        *self.store() = Store { incarnation, ..Store::default() };
    }

    fn evict(&self, tag: &Tag) {
        let forgets = self.is(Flaw::ForgetsRecords);
        self.records(|records| {
            let record = records.tags.remove(tag.as_str()).unwrap_or_default();
            if !forgets {
                records.floor = records.floor.max(record.hard).max(record.latest_expiry());
            }
        });
    }

    fn corrupt(&self, key: &Key) {
        let key = self.key(key);
        let mut store = self.store();
        let entry = store.entries.get_mut(&key).unwrap();
        let mut damaged = body(&entry.stored).unwrap().to_vec();
        damaged[7] ^= 1;
        entry.stored = stored(entry.stored.born(), entry.stored.tags().to_vec(), damaged);
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn key(&self, key: &Key) -> Vec<u8> {
        match self.flaw {
            Flaw::CutsKeys => key.as_bytes().iter().copied().take(8).collect(),
            Flaw::KeysAsText => String::from_utf8_lossy(key.as_bytes()).trim().to_lowercase().into_bytes(),
            Flaw::Panics => String::from_utf8(key.as_bytes().to_vec()).unwrap().into_bytes(),
            _ => key.as_bytes().to_vec(),
        }
    }

    fn name(&self, tag: &Tag) -> String {
        tag.as_str().chars().take(if self.is(Flaw::CutsTags) { 8 } else { usize::MAX }).collect()
    }

    fn records<T>(&self, with: impl FnOnce(&mut Records) -> T) -> T {
        match self.flaw {
            Flaw::Unheard => with(&mut self.own.lock().unwrap()),
            _ => with(&mut self.store().records),
        }
    }

    fn holds<T>(&self, with: impl FnOnce(&mut Holds) -> T) -> T {
        match self.flaw {
            Flaw::HoldsAlone => with(&mut self.own_holds.lock().unwrap()),
            _ => with(&mut self.store().holds),
        }
    }

    /// Why an entry with these tags is not stored, if one of them is held.
    async fn refusal(&self, tags: &[Tag]) -> Option<PutOutcome> {
        let tags = if self.is(Flaw::HoldsFirstTag) { &tags[..tags.len().min(1)] } else { tags };
        let now = Clock::default().now();
        let ends = |holds: &Holds, tag: &Tag| holds.get(tag.as_str()).and_then(|writers| writers.values().max().copied());
        let ends: Vec<_> = self.holds(|holds| tags.iter().filter_map(|tag| Some((tag.clone(), ends(holds, tag)?))).collect());
        if self.is(Flaw::StoresDuringWrites) || ends.is_empty() {
            return None;
        }
        if ends.iter().any(|(_, end)| now < *end) {
            return Some(PutOutcome::PendingWrite);
        }
        let lapsed: Vec<_> = ends.into_iter().map(|(tag, _)| tag).collect();
        if !self.is(Flaw::ForgetsHolds) {
            self.invalidate(&Invalidation::Tags(lapsed.clone())).await.unwrap();
        }
        self.holds(|holds| lapsed.iter().for_each(|tag| _ = holds.remove(tag.as_str())));
        (!self.is(Flaw::ForgetsHolds)).then_some(PutOutcome::Invalidated)
    }

    /// `None` if it is dead.
    fn standing(&self, born: Epoch, tags: &[Tag]) -> Option<Validity> {
        if born.incarnation() != self.store().incarnation {
            return None;
        }
        let looked_at = if self.is(Flaw::LooksAtFirstTag) { &tags[..tags.len().min(1)] } else { tags };
        let names: Vec<String> = looked_at.iter().map(|tag| self.name(tag)).collect();
        self.records(|records| {
            let of = |name: &str| records.tags.get(name).cloned().unwrap_or_default();
            let all = if self.is(Flaw::Wildcard) { of("*") } else { Record::default() };
            let tags = names.iter().map(|name| of(name)).fold(all, Record::and);
            match born.get() {
                born if born < tags.hard.max(records.floor) => None,
                born if born < tags.latest_expiry() => Some(Validity::Stale { since: self.since(born, &tags.soft) }),
                _ => Some(Validity::Valid),
            }
        })
    }

    fn since(&self, born: u64, expiries: &BTreeMap<u64, Timestamp>) -> Timestamp {
        let after = match self.flaw {
            Flaw::FirstExpiry => 0,
            _ => born + 1,
        };
        let mut times = expiries.range(after..).map(|(_, at)| *at);
        match self.flaw {
            Flaw::LatestExpiry => times.next_back(),
            Flaw::ExpiredNow => None,
            _ => times.next(),
        }
        .unwrap_or_else(|| Clock::default().now())
    }

    fn look_up(&self, key: &Key, tags: Option<&[Tag]>) -> ReadOutcome {
        let key = self.key(key);
        let (epoch, entry) = {
            let store = self.store();
            let ahead = u64::from(self.is(Flaw::EpochAhead));
            let epoch = Epoch::of(store.incarnation, store.epoch + ahead);
            let whole = |entry: &&Entry| self.is(Flaw::Trusts) || entry.sum == sum(&entry.stored);
            let wanted = |entry: &&Entry| self.is(Flaw::NeverForgets) || Clock::default().now() < entry.stored.expires();
            (epoch, store.entries.get(&key).filter(whole).filter(wanted).map(|entry| Arc::clone(&entry.stored)))
        };
        let standing = |stored: &Stored| self.standing(stored.born(), tags.unwrap_or(stored.tags()));
        let found = entry.and_then(|stored| Some((Arc::clone(&stored), standing(&stored)?)));
        let epoch = if self.is(Flaw::NoEpoch) && found.is_none() { None } else { Some(epoch) };
        match found {
            Some((stored, validity)) => ReadOutcome::hit(stored, validity, epoch),
            None => ReadOutcome::miss(epoch),
        }
    }

    fn now(&self) -> Epoch {
        let store = self.store();
        Epoch::of(store.incarnation, store.epoch)
    }

    fn next_epoch(&self) -> Epoch {
        let mut store = self.store();
        store.epoch += u64::from(!self.is(Flaw::EpochStands) || store.epoch.is_multiple_of(2));
        Epoch::of(store.incarnation, store.epoch)
    }

    async fn record(&self, tags: &[Tag], epoch: u64, soft: Option<Timestamp>) {
        let tags = if self.is(Flaw::FirstTagOnly) { &tags[..tags.len().min(1)] } else { tags };
        if self.is(Flaw::LosesUpdates) {
            let mut records = self.records(|records| records.clone());
            yield_now().await;
            tags.iter().for_each(|tag| records.raise(self.name(tag), epoch, soft));
            return self.records(|present| *present = records);
        }
        for tag in tags {
            if self.is(Flaw::LowersRecords) {
                // The later of two comes first.
                for _ in 0..(100_u64.saturating_sub(epoch)) {
                    yield_now().await;
                }
                self.records(|records| _ = records.tags.insert(self.name(tag), Record { hard: epoch, soft: BTreeMap::new() }));
            } else if let Some(at) = soft.filter(|_| self.is(Flaw::SoftLiftsHard)) {
                let record = Record { hard: 0, soft: BTreeMap::from([(epoch, at)]) };
                self.records(|records| _ = records.tags.insert(self.name(tag), record));
            } else {
                self.records(|records| records.raise(self.name(tag), epoch, soft));
            }
        }
    }

    fn clear(&self, epoch: u64) {
        if self.is(Flaw::RemovesOnly) {
            self.store().entries.clear();
        } else {
            self.records(|records| records.floor = records.floor.max(epoch));
        }
    }
}

impl Records {
    fn raise(&mut self, tag: String, epoch: u64, soft: Option<Timestamp>) {
        let record = self.tags.entry(tag).or_default();
        match soft {
            Some(at) => _ = record.soft.insert(epoch, at),
            None => record.hard = epoch.max(record.hard),
        }
    }
}

impl Record {
    fn and(mut self, other: Self) -> Self {
        self.soft.extend(other.soft);
        Self { hard: self.hard.max(other.hard), ..self }
    }

    fn latest_expiry(&self) -> u64 {
        self.soft.last_key_value().map_or(0, |(epoch, _)| *epoch)
    }
}

fn fresh_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn sum(stored: &Stored) -> u64 {
    body(stored).into_iter().flatten().fold(0, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
}

#[async_trait]
impl Backend for Shelf {
    fn get_now(&self, key: &Key) -> Option<ReadOutcome> {
        self.is(Flaw::HastyNow).then(|| self.look_up(key, Some(&[])))
    }

    async fn get(&self, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        while self.store().busy {
            yield_now().await;
        }
        Ok(self.look_up(key, self.is(Flaw::LooksAtKnownTags).then_some(known)))
    }

    async fn put(&self, key: &Key, mut stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        let text = body(&stored).cloned().unwrap_or_default();
        if text.len() > LARGEST {
            return if self.is(Flaw::ErrsOnLarge) {
                Err(Error::unavailable("SERVER_ERROR too large"))
            } else {
                Ok(PutOutcome::TooLarge)
            };
        }
        if self.is(Flaw::Truncates) && text.len() > 1000 {
            stored = restored(&stored, text.slice(..1000));
        }
        if self.is(Flaw::ReStamps) {
            stored = larder::conformance::stored(self.now(), stored.tags().to_vec(), text);
        }
        if let Some(refusal) = self.refusal(stored.tags()).await {
            return Ok(refusal);
        }
        if self.standing(stored.born(), stored.tags()).is_none() {
            return Ok(PutOutcome::Invalidated);
        }
        let expired = stored.expires() <= Clock::default().now();
        if !(self.is(Flaw::KeepsNothing) || (self.is(Flaw::KeepsOld) && expired)) {
            let sum = sum(&stored);
            self.store().entries.insert(self.key(key), Entry { stored, sum });
        }
        Ok(PutOutcome::Stored)
    }

    async fn hold_tags(&self, tags: &[Tag], writer: u64, life: Duration) -> Result<(), Error> {
        let until = Clock::default().now() + life;
        self.holds(|holds| {
            for tag in tags {
                holds.entry(tag.as_str().to_owned()).or_default().insert(writer, until);
            }
        });
        Ok(())
    }

    async fn release_tags(&self, tags: &[Tag], writer: u64) -> Result<(), Error> {
        self.holds(|holds| {
            for tag in tags {
                let Some(writers) = holds.get_mut(tag.as_str()) else { continue };
                if self.is(Flaw::ReleasesAll) {
                    writers.clear();
                }
                writers.remove(&writer);
                if writers.is_empty() {
                    holds.remove(tag.as_str());
                }
            }
        });
        Ok(())
    }

    async fn replace(&self, key: &Key, present: &Stored, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        let found = self.look_up(key, None).found;
        match self.is(Flaw::ReplacesAny) || found.is_some_and(|(found, _)| found.is_same_response(present)) {
            true => self.put(key, stored).await,
            false => Ok(PutOutcome::Invalidated),
        }
    }

    async fn lock_fetch(&self, key: &Key, life: Duration) -> Result<FetchLock, Error> {
        let mut store = self.store();
        let held =
            store.locks.get(key.as_bytes()).is_some_and(|(_, until)| self.is(Flaw::LocksForever) || Instant::now() < *until);
        if held && !self.is(Flaw::LocksNothing) {
            return Ok(FetchLock::Held);
        }
        store.locks.insert(key.as_bytes().to_vec(), (self.node, Instant::now() + life));
        Ok(FetchLock::Acquired)
    }

    async fn unlock_fetch(&self, key: &Key) {
        let mut store = self.store();
        let is_own = store.locks.get(key.as_bytes()).is_some_and(|(node, _)| *node == self.node);
        if is_own || self.is(Flaw::AnyoneUnlocks) {
            store.locks.remove(key.as_bytes());
        }
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        Ok(self.is(Flaw::AllAlive) || self.standing(born, tags) == Some(Validity::Valid))
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        if self.is(Flaw::LeaksLock) {
            self.store().busy = true;
            yield_now().await;
        }
        let epoch = self.next_epoch();
        let number = match invalidation {
            Invalidation::Tags(tags) if self.is(Flaw::RecordsLater) => {
                let (later, tags) = (self.peer(), tags.clone());
                tokio::spawn(async move {
                    for _ in 0..20 {
                        yield_now().await;
                    }
                    later.record(&tags, epoch.get(), None).await;
                });
                0
            }
            Invalidation::Tags(tags) => {
                self.record(tags, epoch.get(), None).await;
                tags.len()
            }
            Invalidation::ExpireTags { tags, at } => {
                if !self.is(Flaw::IgnoresSoft) {
                    self.record(tags, epoch.get(), Some(*at).filter(|_| !self.is(Flaw::SoftIsHard))).await;
                }
                tags.len()
            }
            Invalidation::Everything => {
                self.clear(epoch.get());
                0
            }
        };
        self.store().busy = false;
        Ok(Receipt::new(epoch, number, Scope::Nodes, Durability::Volatile))
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("flaw", &self.flaw).finish_non_exhaustive()
    }
}

fn restored(like: &Stored, text: Bytes) -> Arc<Stored> {
    stored(like.born(), like.tags().to_vec(), text)
}

fn suite(flaw: Flaw) -> Suite<'static, Shelf> {
    Suite::new(move || async move { Shelf::new(flaw) })
        .keeps_bodies_up_to(LARGEST)
        .forgets_expired()
        .locks_fetches()
        .holds_tags()
        .peer(|shelf| async move { shelf.peer() })
        .corrupt_with(|shelf, key| async move { shelf.corrupt(&key) })
        .evict_with(|shelf, tag| async move { shelf.evict(&tag) })
        .lose_with(|shelf| async move { shelf.lose_all() })
}

fn failures(report: &Report) -> Vec<&'static str> {
    report.failures().map(larder::conformance::Outcome::case).collect()
}

#[tokio::test]
async fn a_backend_without_a_flaw_passes_every_case() {
    let report = suite(Flaw::None).run().await;
    assert_eq!((report.failures().count(), report.skipped().count()), (0, 0), "{report}");
}

#[tokio::test]
async fn skipped_cases_are_named() {
    let report = Suite::new(|| async { Shelf::new(Flaw::None) }).run().await;
    let skipped: Vec<_> = report.skipped().map(larder::conformance::Outcome::case).collect();
    let expected = [
        "expiry",
        "corrupt",
        "evicted",
        "data-loss",
        "peer",
        "held",
        "held-by-several",
        "held-too-long",
        "held-by-peer",
        "fetch-lock",
    ];
    assert_eq!(skipped, expected);
    report.assert();
}

/// A flaw, and the cases that must notice it.
const NOTICED: [(Flaw, &[&str]); 43] = [
    (Flaw::ReStamps, &["re-stamp", "late-store", "lost-invalidation"]),
    (Flaw::EpochAhead, &["late-store", "lost-invalidation"]),
    (Flaw::NoEpoch, &["unknown-key"]),
    (Flaw::EpochStands, &["epoch-grows"]),
    (Flaw::FirstTagOnly, &["several-tags"]),
    (Flaw::LooksAtFirstTag, &["several-tags", "layer-uri"]),
    (Flaw::LooksAtKnownTags, &["known-tags"]),
    (Flaw::Wildcard, &["odd-tags"]),
    (Flaw::CutsTags, &["odd-tags"]),
    (Flaw::CutsKeys, &["keys", "layer-hit"]),
    (Flaw::KeysAsText, &["keys"]),
    (Flaw::RecordsLater, &["tag-hard", "history"]),
    (Flaw::LowersRecords, &["one-tag-at-once"]),
    (Flaw::LosesUpdates, &["many-tags-at-once"]),
    (Flaw::IgnoresSoft, &["tag-soft", "late-store-soft", "history"]),
    (Flaw::SoftIsHard, &["tag-soft", "layer-stale"]),
    (Flaw::LatestExpiry, &["soft-since", "soft-often"]),
    (Flaw::FirstExpiry, &["soft-since"]),
    (Flaw::ExpiredNow, &["soft-since", "soft-often"]),
    (Flaw::SoftLiftsHard, &["soft-after-hard"]),
    (Flaw::RemovesOnly, &["everything"]),
    (Flaw::AllAlive, &["is-alive"]),
    (Flaw::HastyNow, &["tag-hard", "history", "lost-invalidation"]),
    (Flaw::NeverForgets, &["expiry"]),
    (Flaw::KeepsOld, &["tombstone", "layer-withdrawn"]),
    (Flaw::Truncates, &["sizes"]),
    (Flaw::ErrsOnLarge, &["sizes"]),
    (Flaw::Trusts, &["corrupt"]),
    (Flaw::ForgetsRecords, &["evicted"]),
    (Flaw::SameClock, &["data-loss"]),
    (Flaw::Unheard, &["peer"]),
    (Flaw::LeaksLock, &["dropped-calls"]),
    (Flaw::KeepsNothing, &["round-trip", "refill", "layer-hit"]),
    (Flaw::ReplacesAny, &["replace-present"]),
    (Flaw::Panics, &["keys"]),
    (Flaw::LocksNothing, &["fetch-lock"]),
    (Flaw::AnyoneUnlocks, &["fetch-lock"]),
    (Flaw::LocksForever, &["fetch-lock"]),
    (Flaw::StoresDuringWrites, &["held", "held-by-several", "held-too-long", "held-by-peer"]),
    (Flaw::HoldsFirstTag, &["held"]),
    (Flaw::ReleasesAll, &["held-by-several"]),
    (Flaw::ForgetsHolds, &["held-too-long"]),
    (Flaw::HoldsAlone, &["held-by-peer"]),
];

#[tokio::test]
async fn every_flaw_is_noticed_by_name() {
    let mut unnoticed = Vec::new();
    for (flaw, cases) in NOTICED {
        // One of them is noticed because it waits indefinitely.
        let waits = flaw == Flaw::LeaksLock;
        let limit = Duration::from_secs(if waits { 1 } else { 60 });
        let report = suite(flaw).only(cases.iter().copied()).time_limit(limit).run().await;
        let waited = report.failures().any(|outcome| outcome.happened().contains("did not end within"));
        if failures(&report) != cases || waited != waits {
            unnoticed.push(format!("{flaw:?}, to be noticed by {cases:?}: {report}"));
        }
    }
    assert!(unnoticed.is_empty(), "{}", unnoticed.join("\n"));
}

#[tokio::test]
#[should_panic(expected = "FAILED late-store: an entry that is fetched before an invalidation and stored after it is not found")]
async fn failure_is_reported_with_its_case() {
    suite(Flaw::ReStamps).only(["late-store"]).run().await.assert();
}
