//! What a store must do.

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

/// A place to keep stored responses, and the logical clock that decides which of them may still be used.
///
/// The contract, from which the promise of the crate follows:
///
/// - The backend owns an [`Epoch`] that only grows. [`invalidate`](Self::invalidate) takes the next one, `v`, and
///   records for each of its tags `inv[tag] = max(inv[tag], v)`; an invalidation of everything raises a floor to `v`.
/// - A read reports the epoch **as it was when the read began, or earlier**. A caller that misses runs its handler and
///   hands that epoch back as [`Stored::born`]. Too low an epoch costs a miss; too high a one serves stale answers.
/// - A read returns what is stored under the key only if `born >= floor` and `inv[tag] <= born` for each tag, judged by all
///   invalidations that had returned before the read began. If the record of a tag may have been lost, the answer is a miss.
/// - What [`put`](Self::put) has stored when it returns is visible to the next read on this node, with the epoch it was born
///   at, whatever the epoch is by then. It may refuse what is already dead.
/// - Two invalidations never take the same epoch. Of several of one tag the latest counts, in whichever order they are recorded.
///   A tag that is expired after it was invalidated stays invalidated.
/// - What was expired is [`Stale`](Validity::Stale) since the *earliest* expiry after its birth, by any of its tags: later
///   expiries do not move it. A backend that cannot tell reports an earlier moment, never a later one, or a miss.
///
/// Keys are compared in full. A tag is any text, with a meaning as a whole only; a read that knows tags ahead finds what any
/// other finds. A backend may forget anything at any time.
///
/// Put the attribute [`async_trait`](crate::backend::async_trait) on an implementation. Everything that it needs is in
/// [`larder::backend`](crate::backend): `use larder::backend::*`.
///
/// The feature `conformance` has a suite that tries all of this on any backend.
#[async_trait]
pub trait Backend: Send + Sync + fmt::Debug + 'static {
    /// Looks up without waiting; `None` if this backend has to wait, and [`get`](Self::get) must be asked.
    ///
    /// Provided, as [`lock_fetch`](Self::lock_fetch) is: it may change how fast an answer comes, never which.
    fn get_now(&self, key: &Key) -> Option<ReadOutcome> {
        let _ = key;
        None
    }

    /// Looks up what is stored under `key`. `known` are the tags that the entry will have if it is filled by this
    /// request, as far as they are known before the handler has run.
    async fn get(&self, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error>;

    /// Stores, replacing what was there; tells whether it was kept. What is too large is [`PutOutcome::TooLarge`], not an error.
    ///
    /// What has [expired](Stored::expires) already need not be kept, but what it replaces must be gone: that is how the cache takes
    /// back what must not be used, not even stale.
    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error>;

    /// Whether something born at `born` with these tags would be [`Valid`](Validity::Valid), judged as a read would; `false`
    /// if in doubt.
    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error>;

    /// Makes everything unusable that `invalidation` names and whose handler began before now; at a cost that does not
    /// depend on how many entries there are.
    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error>;

    /// Asks to be the only node that fetches for `key`, for at most `life`. Provided: without it, every node fetches for itself.
    async fn lock_fetch(&self, key: &Key, life: Duration) -> Result<FetchLock, Error> {
        let _ = (key, life);
        Ok(FetchLock::Acquired)
    }

    /// Gives a claim back, if it is this node's. Provided, as [`lock_fetch`](Self::lock_fetch) is.
    async fn unlock_fetch(&self, key: &Key) {
        let _ = key;
    }
}

/// What became of a claim to fetch for all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchLock {
    /// Nobody else fetches.
    Acquired,
    /// Another node does.
    Held,
}

/// What a look-up found.
#[derive(Debug, Clone)]
pub struct ReadOutcome {
    /// What is stored and may be used, and how.
    pub found: Option<(Arc<Stored>, Validity)>,
    /// The epoch at the read or before it, for what the caller may store; `None` if the backend could not tell, in which
    /// case nothing may be stored.
    pub epoch: Option<Epoch>,
}

/// What became of a stored response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// It is there for the next reader.
    Stored,
    /// It was invalidated while its handler ran, and is not kept.
    Invalidated,
    /// The backend has no room for it.
    TooLarge,
}

/// What to invalidate.
#[derive(Debug, Clone)]
pub enum Invalidation {
    /// Everything with one of these tags must never be used again.
    Tags(Vec<Tag>),
    /// Everything with one of these tags becomes stale.
    ExpireTags {
        /// The tags.
        tags: Vec<Tag>,
        /// When, by the wall clock of the node that expires them.
        at: Timestamp,
    },
    /// Everything in the store must never be used again.
    Everything,
}

#[cfg(any(feature = "redis", feature = "memcached"))]
impl Invalidation {
    /// The tags that it concerns, none if it concerns everything.
    pub(crate) fn tags(&self) -> &[Tag] {
        match self {
            Self::Tags(tags) | Self::ExpireTags { tags, .. } => tags,
            Self::Everything => &[],
        }
    }

    /// The same in parts of at most `most` tags, of which each is an invalidation by itself.
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

/// What an invalidation did, and how far its promise reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The epoch that the invalidation took: nothing whose handler began before it will be used.
    pub epoch: Epoch,
    /// How many tags it concerned.
    pub tag_count: usize,
    /// Which nodes obey it.
    pub scope: Scope,
    /// Whether it survives a restart of the store.
    pub durability: Durability,
}

impl Receipt {
    /// Creates a receipt, for a backend.
    pub fn new(epoch: Epoch, tag_count: usize, scope: Scope, durability: Durability) -> Self {
        Self { epoch, tag_count, scope, durability }
    }
}

/// Whether an invalidation survives a restart of the store, as long as the responses that it concerns do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// No restart or failover brings back a response that the invalidation concerns.
    Durable,
    /// A restart or failover of the store may lose the invalidation and keep the response.
    Volatile,
}

/// How far an invalidation reaches once it has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// This process.
    Process,
    /// Every node that uses the same store.
    Nodes,
}
