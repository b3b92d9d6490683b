//! The contract of a store.

#[cfg(any(feature = "redis", feature = "memcached"))]
use std::borrow::Cow;
use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::validity::Validity;
use crate::{
    clock::Timestamp,
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
/// [`Scope`] and [`Durability`] may grow and are `non_exhaustive`; [`Invalidation`], [`Validity`] and [`FetchLock`] do not grow, so that
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

    /// Returns whether a read would find a response [`Valid`](Validity::Valid) that was born at `born` with these tags; `false` if
    /// in doubt.
    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error>;

    /// Makes everything unusable that `invalidation` names and whose handler started before now. The cost does not depend on
    /// the number of entries.
    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error>;

    /// Acquires the lock that makes this node the only one that fetches `key`, for at most `life`. Provided: without it, every node
    /// fetches for itself.
    async fn lock_fetch(&self, key: &Key, life: Duration) -> Result<FetchLock, Error> {
        let _ = (key, life);
        Ok(FetchLock::Acquired)
    }

    /// Releases the lock, if this node holds it. Provided, as [`lock_fetch`](Self::lock_fetch) is.
    async fn unlock_fetch(&self, key: &Key) {
        let _ = key;
    }
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// This process.
    Process,
    /// Every node that uses the same store.
    Nodes,
}
