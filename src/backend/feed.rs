//! The traits of a store that can stand behind a near tier.

use async_trait::async_trait;

use super::contract::{Backend, Invalidation};
use crate::{entry::epoch::Epoch, error::Error};

/// A store that may stand behind memory, since it shows its clock.
///
/// While the epoch is what it was when an entry was last found usable, the entry is usable still: so the epoch must grow with every
/// invalidation *after* that has taken effect for whoever reads.
#[async_trait]
pub trait SharedStore: Backend {
    /// The epoch as it is now; of all that is asked of a store the cheapest.
    async fn epoch(&self) -> Result<Epoch, Error>;
}

/// A store that announces each invalidation, for those who keep copies of what it holds.
#[async_trait]
pub trait InvalidationFeed: SharedStore {
    /// Returns what has been announced after position `last`, or the first part of it; without `last`, only where the announcements
    /// end now.
    ///
    /// An invalidation that has returned before this is called has been announced.
    async fn invalidations_since(&self, last: Option<u64>) -> Result<FeedBatch, Error>;
}

/// What has been announced.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FeedBatch {
    /// The epoch when this was read.
    pub epoch: Epoch,
    /// Where the announcements ended then: a position that grows with each.
    pub last: u64,
    /// Announcements without a gap, each with the position where it ends. None, although some were made since the position that was
    /// asked for, if the first of them is lost or if they are too many to be read: the node drops its copies, and goes on at `last`.
    pub invalidations: Vec<(u64, Invalidation)>,
}

impl FeedBatch {
    /// Puts together what was read.
    pub fn new(epoch: Epoch, last: u64, invalidations: Vec<(u64, Invalidation)>) -> Self {
        Self { epoch, last, invalidations }
    }
}
