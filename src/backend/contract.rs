//! The contract of a store.

#[cfg(any(feature = "redis", feature = "memcached"))]
use std::borrow::Cow;
use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::{Instant, timeout_at};

use super::{cache_mode::CacheMode, health::Health, store_stats::StoreStats, validity::Validity};
use crate::{
    clock::{Clock, Timestamp},
    entry::{epoch::Epoch, stored::Stored},
    error::Error,
    key::Key,
    tag::Tag,
};

/// A store of responses, with the logical clock that decides which of them may still be used.
///
/// # The logical clock
///
/// ```text
/// epoch  6         7                  8                       9
///  ──────┬─────────┬──────────────────┬───────────────────────┬────────────▶
///        │         expire "posts"     invalidate "post:1"     invalidate everything
///        │         expiry at 7        inv["post:1"] = 8       floor = 9
///        │
///        A: a read finds nothing and reports 6; the handler runs; its response is stored with born = 6 and the tag "posts":
///        valid before 7, stale from 7 on, dead from 9 on
///                  B: likewise with born = 7 and the tag "post:1":
///                  valid before 8, dead from 8 on, even if it is stored only then
/// ```
///
/// The **epoch** is a number that each invalidation advances. A response is **born** at the epoch that was read before its handler ran.
/// Invalidating a tag at the epoch `v` sets `inv[tag]` to `v`; invalidating everything sets the **floor** to `v`. A response is dead if
/// it was born before the floor or before `inv[tag]` of one of its tags.
///
/// # The contract
///
/// The promise of the crate follows from these rules:
///
/// - The backend owns an [`Epoch`] that never decreases. [`invalidate`](Self::invalidate) takes the next one, `v`, and
///   records `inv[tag] = max(inv[tag], v)` for each of its tags; an invalidation of everything raises the floor to `v`.
/// - A read reports the epoch **as it was when the read began, or earlier**. After a miss, the caller runs its handler and
///   passes that epoch back as [`Stored::born`]. Too low an epoch costs a miss; too high a one serves stale responses.
/// - A read returns the entry under the key only if `born >= floor` and `inv[tag] <= born` for each tag, taking into account every
///   invalidation that completed before the read began. If the record of a tag may have been lost, the read is a miss.
/// - An entry that [`put`](Self::put) has stored when it returns is visible to the next read on this node, with its `born`,
///   whatever the epoch is by then. `put` may refuse an entry that is already dead.
/// - Two invalidations never take the same epoch. Of several invalidations of one tag the latest counts, in whichever order they are
///   recorded. A tag that is expired after it was invalidated stays invalidated.
/// - While a tag is [held](Self::hold_tags), `put` refuses entries with it: [`PendingWrite`](PutOutcome::PendingWrite).
/// - An expired entry is [`Stale`](Validity::Stale) since the *earliest* expiry of any of its tags after its birth: later expiries do not
///   move that time. A backend that cannot determine it reports an earlier time, never a later one, or a miss.
///
/// [`validity`](crate::backend::validity) is the rule of the third and the last item; [`TagRecord`](crate::backend::TagRecord) holds
/// what it needs to know of a tag.
///
/// Keys are compared in full. A tag is an opaque text. A backend may forget any entry at any time.
///
/// # Implementing it
///
/// Annotate the implementation with `#[larder::backend::async_trait]`. Everything that it needs is in
/// [`larder::backend`](crate::backend): `use larder::backend::*`. The feature `conformance` has a suite that tests all of the above on any
/// backend; it also enables the features `testing` and `memory`.
///
/// Provided methods may be added in minor versions. Of the types in its signatures, [`ReadOutcome`], [`PutOutcome`], [`Receipt`],
/// [`Scope`], [`Durability`] and [`Health`] may grow and are `non_exhaustive`; [`Invalidation`], [`Validity`] and [`FetchLock`] do not grow, so that
/// a backend that handles every case keeps handling every case.
#[async_trait]
pub trait Backend: Send + Sync + fmt::Debug + 'static {
    /// Looks up an entry without waiting; `None` if this backend has to wait, so that the caller uses [`get`](Self::get).
    ///
    /// Provided, as [`lock_fetch`](Self::lock_fetch) is: an implementation may change how fast an answer comes, never which one.
    fn get_now(&self, key: &Key) -> Option<ReadOutcome> {
        let _ = key;
        None
    }

    /// Looks up the entry under `key`.
    ///
    /// `hint` may be ignored. It lists the tags that the response to this request will have, as far as they are known before its handler
    /// runs. A backend that keeps tag records remotely can read them together with the entry, or create missing ones before the
    /// handler runs. The hint must not change which entry is found.
    async fn get(&self, key: &Key, hint: &[Tag]) -> Result<ReadOutcome, Error>;

    /// Stores an entry in place of the present one, and returns whether it did. An entry that is too large is
    /// [`TooLarge`](PutOutcome::TooLarge), not an error.
    ///
    /// An entry that has already [expired](Stored::expires) need not be stored, but the present one must be removed: the cache
    /// withdraws responses this way that must not be used, not even stale.
    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error>;

    /// Stores an entry in place of `present`, if that is still stored under the key and [the same response](Stored::is_same_response);
    /// otherwise it returns [`Invalidated`](PutOutcome::Invalidated). The cache adds content codings to a response in this way.
    ///
    /// Provided: it reads the present entry and stores the other. What another node stores between the two is lost: a newer response, which is
    /// replaced by an earlier one that is as valid as it was, or a [tombstone](Self::put), without which a withdrawn response comes back. So a
    /// backend that others write to compares and stores in one step: memory under a lock, Redis by a script that compares the beginning
    /// of the entry that was read (with a random id and its epoch), memcached by its CAS number. A backend that only one process uses may
    /// leave it as it is, if nothing else writes between its two steps.
    async fn replace(&self, key: &Key, present: &Stored, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        replace_in_two_steps(self, key, present, stored).await
    }

    /// Returns whether a read would find a response [`Valid`](Validity::Valid) that was born at `born` with these tags; `false` if
    /// in doubt.
    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error>;

    /// Makes everything unusable that `invalidation` names and whose handler started before now. The cost does not depend on
    /// the number of entries.
    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error>;

    /// Holds tags in the name of a writer for the time `life`: until then, or until the writer [releases](Self::release_tags) them, [`put`](Self::put)
    /// refuses entries with one of them. [`Cache::begin_write`](crate::Cache::begin_write) calls it, again and again while a write is pending, and expires the
    /// tags afterwards: each call moves the end. `writer` is a random number that is not 0. A tag can be held by several writers.
    ///
    /// If the time of all writers has passed and one of them has not released the tag, its process may have ended between a write and the
    /// invalidation. The next `put` of an entry with the tag then invalidates the tag, removes the marks that had lapsed before, and returns
    /// [`Invalidated`](PutOutcome::Invalidated). So nothing stays stored whose handler started while the tag was held. The time that counts is that of
    /// the store where it has one, otherwise that of the nodes.
    ///
    /// Every node that uses the store has to obey. `put` must look for marks in the same call that stores, or before it: a `put` that finds
    /// no mark may store although a writer marks the tag meanwhile, since the expiry that follows has a later epoch than the entry. `replace` need not look.
    ///
    /// Provided: it does nothing. Responses are then stored during the write and after it, and the invalidations of `begin_write` remove
    /// them: at the end of the write, and at the end of [`PendingWrite::hold`](crate::PendingWrite::hold).
    async fn hold_tags(&self, tags: &[Tag], writer: u64, life: Duration) -> Result<(), Error> {
        let _ = (tags, writer, life);
        Ok(())
    }

    /// Releases tags that a writer [holds](Self::hold_tags). A tag that it does not hold is left as it is. Provided, as `hold_tags` is.
    async fn release_tags(&self, tags: &[Tag], writer: u64) -> Result<(), Error> {
        let _ = (tags, writer);
        Ok(())
    }

    /// Returns the valid copy of an entry that may answer although the store cannot be reached; called after a lookup has failed, and must not
    /// wait. Provided: there is none, and the handler answers.
    fn copy_in_outage(&self, key: &Key) -> Option<Arc<Stored>> {
        let _ = key;
        None
    }

    /// Returns whether a read that reports an epoch takes every invalidation with that epoch or an earlier one into account, also one that has
    /// not returned yet.
    ///
    /// It is asked where a handler reads cached values ([`Cache::get_or_compute`](crate::Cache)). If it is `false`, as provided, a response that
    /// is made of them counts as born when the oldest of them was: it is always safe, and costs a miss if one of the response's
    /// own tags was invalidated since then.
    fn reads_are_exact(&self) -> bool {
        false
    }

    /// Returns the time that all reads of one lookup may take together; `None` without a limit. A lookup reads several entries if its
    /// response has a `Vary`. Provided: a backend without limits has none. A backend with a limit also keeps it within each read.
    fn lookup_limit(&self) -> Option<Duration> {
        None
    }

    /// Reads the time from `clock` wherever the backend compares it with the times of entries, for tests: called by
    /// [`Cache::with_clock`](crate::Cache::with_clock), the last call wins. Provided: most backends leave such comparisons to the cache.
    fn use_clock(&self, clock: &Clock) {
        let _ = clock;
    }

    /// Returns the number of tags that the store has yet to invalidate, because it has failed or has not replied yet; an invalidation of
    /// everything counts as one. [`Cache::drain`](crate::Cache::drain) calls it again and again until it is 0. Provided: a backend that
    /// does not repeat failed invalidations owes none.
    fn owed(&self) -> usize {
        0
    }

    /// Acquires the lock that makes this node the only one that fetches `key`, for at most `life`, or for as little longer as the store's clock
    /// allows. The lock of a key that this node holds already is [`Held`](FetchLock::Held), too. A store may lose a lock: then two nodes fetch.
    /// Provided: without it, every node fetches for itself.
    async fn lock_fetch(&self, key: &Key, life: Duration) -> Result<FetchLock, Error> {
        let _ = (key, life);
        Ok(FetchLock::Acquired)
    }

    /// Releases the lock, if this node holds it. Provided, as [`lock_fetch`](Self::lock_fetch) is.
    async fn unlock_fetch(&self, key: &Key) {
        let _ = key;
    }

    /// Asks the store for a sign of life, by its cheapest operation and within a time limit. Provided: a store that cannot fail answers
    /// immediately.
    async fn health(&self) -> Health {
        Health::answers(Duration::ZERO)
    }

    /// Returns what this store has counted since it was created, and the stores behind it, the nearest first. Provided: it has counted
    /// nothing. It must not wait: metrics are read often.
    fn stats(&self) -> Vec<StoreStats> {
        Vec::new()
    }

    /// Returns the mode that all nodes share, as this node has read it last; `Enabled` before. It is called for each request, and must not wait.
    ///
    /// A backend that keeps the mode in a shared store reads it there with every lookup, and finds nothing from the lookup on that reads
    /// [`Bypass`](CacheMode::Bypass). Since no lookups follow then, this method makes sure that the mode is read again. Provided: there is no
    /// shared mode.
    fn shared_mode(&self) -> CacheMode {
        CacheMode::Enabled
    }

    /// Sets the mode of all nodes, and returns the nodes that will follow. Provided: it does nothing, and returns [`Scope::Process`]; then
    /// the cache sets the mode of this process.
    async fn set_shared_mode(&self, mode: CacheMode) -> Result<Scope, Error> {
        let _ = mode;
        Ok(Scope::Process)
    }

    /// Registers a function by which other programs invalidate tags, as documented at
    /// [`Cache::install_function`](crate::Cache::install_function). Provided: it returns an error.
    async fn install_function(&self) -> Result<(), Error> {
        Err(Error::invalid_input(
            "only a cache over Redis, with or without a near tier, can install a function: let other programs call a route of the application",
        ))
    }
}

/// Reads the present entry, and stores the other if it is the expected one.
pub(crate) async fn replace_in_two_steps(
    backend: &(impl Backend + ?Sized),
    key: &Key,
    present: &Stored,
    stored: Arc<Stored>,
) -> Result<PutOutcome, Error> {
    match backend.get(key, &[]).await?.found {
        Some((found, _)) if found.is_same_response(present) => backend.put(key, stored).await,
        _ => Ok(PutOutcome::Invalidated),
    }
}

/// Runs the reads of a lookup that follow its first one until `limit` has passed since it began. The first read needs no timer here, since the
/// store limits each read; and most lookups have only one.
pub(crate) async fn within<T>(
    limit: Option<Duration>,
    began: Instant,
    reads: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some((limit, deadline)) = limit.and_then(|limit| Some((limit, began.checked_add(limit)?))) else { return reads.await };
    timeout_at(deadline, reads).await.unwrap_or_else(|elapsed| {
        let millis = limit.as_millis();
        Err(Error::timeout(format!(
            "the store did not answer the reads of a lookup within {millis} ms: raise `read_timeout` if it is only slow"
        ))
        .with_source(elapsed))
    })
}

/// The result of acquiring a fetch lock. It has no further cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchLock {
    /// This node fetches.
    Acquired,
    /// Another node fetches.
    Held,
}

/// The result of a lookup. It may grow: create it with [`hit`](Self::hit) or [`miss`](Self::miss).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReadOutcome {
    /// The entry, if it may be used, and its validity.
    pub found: Option<(Arc<Stored>, Validity)>,
    /// The epoch at the read or before it, at which a response is born that the caller fetches now; `None` if the backend could not
    /// determine it, in which case nothing may be stored.
    pub epoch: Option<Epoch>,
}

impl ReadOutcome {
    /// Creates the result of a lookup that found an entry.
    pub fn hit(stored: Arc<Stored>, validity: Validity, epoch: impl Into<Option<Epoch>>) -> Self {
        Self { found: Some((stored, validity)), epoch: epoch.into() }
    }

    /// Creates the result of a lookup that found no entry that may be used.
    pub fn miss(epoch: impl Into<Option<Epoch>>) -> Self {
        Self { found: None, epoch: epoch.into() }
    }
}

/// The result of storing a response. It may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PutOutcome {
    /// The next read finds it.
    Stored,
    /// It was invalidated while its handler ran, and is not stored.
    Invalidated,
    /// One of its tags is being written, and it is not stored: see [`Backend::hold_tags`].
    PendingWrite,
    /// The backend has no room for it.
    TooLarge,
}

/// The entries to invalidate. It has no further cases: a backend must be able to carry out every invalidation.
#[derive(Debug, Clone)]
pub enum Invalidation {
    /// Entries with one of these tags must never be used again.
    Tags(Vec<Tag>),
    /// Entries with one of these tags become stale.
    ExpireTags {
        /// The tags.
        tags: Vec<Tag>,
        /// The time of the expiry, by the wall clock of the node that expires them.
        at: Timestamp,
    },
    /// No entry in the store may ever be used again.
    Everything,
}

impl Invalidation {
    /// Returns the tags that it names; none if it concerns everything.
    pub fn tags(&self) -> &[Tag] {
        match self {
            Self::Tags(tags) | Self::ExpireTags { tags, .. } => tags,
            Self::Everything => &[],
        }
    }
}

#[cfg(any(feature = "redis", feature = "memcached"))]
impl Invalidation {
    /// Splits it into invalidations of at most `most` tags.
    pub(crate) fn parts(&self, most: usize) -> Vec<Cow<'_, Self>> {
        if self.tags().len() <= most {
            return vec![Cow::Borrowed(self)];
        }
        self.tags().chunks(most).map(|tags| Cow::Owned(self.with_tags(tags.to_vec()))).collect()
    }

    fn with_tags(&self, tags: Vec<Tag>) -> Self {
        match self {
            Self::Tags(_) => Self::Tags(tags),
            Self::ExpireTags { at, .. } => Self::ExpireTags { tags, at: *at },
            Self::Everything => Self::Everything,
        }
    }
}

/// The result of an invalidation, and how far its promise reaches. It may grow: create it with [`new`](Self::new).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The epoch that the invalidation took: no response whose handler started before it will be used.
    pub epoch: Epoch,
    /// The number of tags that it named.
    pub tag_count: usize,
    /// The nodes that it reaches.
    pub scope: Scope,
    /// Whether it survives a restart of the store.
    pub durability: Durability,
}

impl Receipt {
    /// Creates a receipt.
    pub fn new(epoch: Epoch, tag_count: usize, scope: Scope, durability: Durability) -> Self {
        Self { epoch, tag_count, scope, durability }
    }
}

/// Whether an invalidation survives a restart of the store, as long as the responses that it concerns do. It may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// No restart or failover brings back a response that the invalidation concerns.
    Durable,
    /// A restart or failover of the store may lose the invalidation and keep the response.
    Volatile,
}

/// The nodes that an invalidation reaches once it has returned. It may grow.
///
/// A node that cannot reach the store is an exception if it has an `outage_grace` (`Tiered::outage_grace`): the invalidation reaches it when
/// it reaches the store again, or when that grace has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// This process.
    Process,
    /// Every node that uses the same store.
    Nodes,
    /// Every node that uses the same store: nodes that answer from copies under a lease (`Tiered::lease`) after this time at the
    /// latest, all others immediately. It is the longest lease that a node has announced in the store.
    ///
    /// Redis may lose an announcement, by eviction or by a failover to a replica without it. A receipt may then say
    /// [`Nodes`](Self::Nodes) until the nodes with a lease have announced it again, 10 seconds later at most.
    NodesWithin(Duration),
}

impl Scope {
    /// Returns the weaker of two promises.
    #[cfg_attr(
        not(any(feature = "memory", feature = "redis", feature = "memcached")),
        allow(dead_code, reason = "one store only")
    )]
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Process, _) | (_, Self::Process) => Self::Process,
            (Self::NodesWithin(one), Self::NodesWithin(other)) => Self::NodesWithin(one.max(other)),
            (within @ Self::NodesWithin(_), Self::Nodes) | (Self::Nodes, within) => within,
        }
    }
}
