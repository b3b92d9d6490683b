//! The validity of an entry after invalidations.

use crate::clock::Timestamp;

/// How a tag, or everything, was invalidated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strength {
    /// Must not be used again.
    Hard,
    /// Stale from this moment on.
    Soft { at: Timestamp },
}

/// The validity of a response that was born at one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    Alive,
    Stale { since: Timestamp },
    Dead,
}

impl Judgement {
    /// Combines two validities: the worse one, and of two expiries the earlier.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Dead, _) | (_, Self::Dead) => Self::Dead,
            (Self::Stale { since }, Self::Stale { since: other }) => Self::Stale { since: since.min(other) },
            (Self::Stale { since }, _) | (_, Self::Stale { since }) => Self::Stale { since },
            (Self::Alive, Self::Alive) => Self::Alive,
        }
    }

    /// The judgement by one tag: whether it was invalidated for good since the birth, and since when it has been expired.
    pub(crate) fn by(is_dead: bool, stale_since: Option<Timestamp>) -> Self {
        match stale_since {
            _ if is_dead => Self::Dead,
            Some(since) => Self::Stale { since },
            None => Self::Alive,
        }
    }
}

/// The validity of an entry with regard to invalidations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Validity {
    /// No invalidation concerns it.
    Valid,
    /// It was expired softly: it counts as stale, and may be served only where stale responses may.
    Stale {
        /// When the first expiry after its birth took place, or earlier: its stale window begins then.
        since: Timestamp,
    },
}

#[cfg(any(feature = "redis", feature = "memcached"))]
impl Validity {
    /// Returns how the entry may be used; `None` if it is dead.
    pub(crate) fn of(judgement: Judgement) -> Option<Self> {
        match judgement {
            Judgement::Alive => Some(Self::Valid),
            Judgement::Stale { since } => Some(Self::Stale { since }),
            Judgement::Dead => None,
        }
    }
}
