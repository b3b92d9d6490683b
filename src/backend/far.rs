use async_trait::async_trait;

use super::{Backend, Invalidation};
use crate::{error::Error, stored::Epoch};

/// A store that may stand behind memory, since it shows its clock.
///
/// While the epoch is what it was when an entry was last found usable, the entry is usable still: so the epoch must grow with every
/// invalidation *after* that has taken effect for whoever reads.
#[async_trait]
pub trait Far: Backend {
    /// The epoch as it is now; of all that is asked of a store the cheapest.
    async fn epoch(&self) -> Result<Epoch, Error>;
}

/// A store that announces each invalidation, for those who keep copies of what it holds.
#[async_trait]
pub trait Followed: Far {
    /// What has been announced after the announcement of this number, or the first part of it.
    ///
    /// An invalidation that has returned before this is called has been announced.
    async fn announced_since(&self, last: u64) -> Result<Announced, Error>;
}

/// What has been announced.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Announced {
    /// The epoch when this was read.
    pub epoch: Epoch,
    /// The number of the last announcement then.
    pub last: u64,
    /// Announcements with their numbers, in their order; those that are missing will never come.
    pub invalidations: Vec<(u64, Invalidation)>,
}

impl Announced {
    /// Puts together what was read.
    pub fn new(epoch: Epoch, last: u64, invalidations: Vec<(u64, Invalidation)>) -> Self {
        Self { epoch, last, invalidations }
    }
}
