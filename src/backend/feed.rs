//! The traits of a store in front of which a near tier can be placed.

use std::time::Duration;

use async_trait::async_trait;

use super::contract::{Backend, Invalidation};
use crate::{entry::epoch::Epoch, error::Error};

/// A store that exposes its epoch, so that copies of its entries can be validated by it.
///
/// While the epoch is the one at which an entry was last found valid, the entry is still valid. So an invalidation must advance the
/// epoch *after* it has taken effect for every reader.
#[async_trait]
pub trait SharedStore: Backend {
    /// Returns the current epoch. This is the cheapest operation of a store.
    async fn epoch(&self) -> Result<Epoch, Error>;

    /// Returns whether the store is not used at present, because it failed: a lookup finds nothing then, and returns no error. A near tier
    /// calls it before a lookup, if its copies may answer during an outage. Provided: a store that returns an error for each lookup that
    /// fails is never suspended.
    fn is_suspended(&self) -> bool {
        false
    }
}

/// A store that publishes its invalidations, so that copies of its entries can be used without contacting it.
#[async_trait]
pub trait InvalidationFeed: SharedStore {
    /// Returns the invalidations that were published after position `last`, or the first part of them. Without `last`, it returns only
    /// the current end of the feed.
    ///
    /// Every invalidation that returned before this call has been published.
    async fn invalidations_since(&self, last: Option<u64>) -> Result<FeedBatch, Error>;

    /// Announces that this node may use copies for up to `span` after an invalidation, during the time `hold` from now on. Until then, the
    /// [`Scope`](super::contract::Scope) of each receipt should be [`NodesWithin`](super::contract::Scope::NodesWithin) that span at least.
    ///
    /// Provided: nothing is announced, and nodes without copies do not state the leases of others.
    async fn announce_lease(&self, span: Duration, hold: Duration) -> Result<(), Error> {
        let _ = (span, hold);
        Ok(())
    }
}

/// A batch of published invalidations.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FeedBatch {
    /// The epoch at the read.
    pub epoch: Epoch,
    /// The end of the feed at the read: a position that grows with each invalidation.
    pub last: u64,
    /// Consecutive invalidations, each with the position of its end. The list is empty although the feed has grown if the first of the
    /// new invalidations was lost, or if there are too many to read: the node then drops its copies, and continues at `last`.
    pub invalidations: Vec<(u64, Invalidation)>,
}

impl FeedBatch {
    /// Creates a batch from its parts.
    pub fn new(epoch: Epoch, last: u64, invalidations: Vec<(u64, Invalidation)>) -> Self {
        Self { epoch, last, invalidations }
    }
}
