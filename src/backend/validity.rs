//! The validity of an entry after invalidations. The rule by which it is judged is `validity` in `tag_record.rs`, beside the records that it reads.

use crate::clock::Timestamp;

/// The validity of an entry that no invalidation has made unusable.
///
/// It has no further cases, so that a `match` covers them all: an entry that must not be used has no validity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// No invalidation concerns it.
    Valid,
    /// A tag of it was expired: it counts as stale, and may be served only where stale responses may.
    Stale {
        /// When the first expiry after its birth took place, or earlier. Its stale window begins then.
        since: Timestamp,
    },
}

/// The strength of an invalidation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strength {
    /// Entries must not be used again.
    Hard,
    /// Entries are stale from this time on.
    Soft { at: Timestamp },
}

/// Returns the validity of an entry by its validity under each of its tags: the worst counts, and of two expiries the earlier.
pub(crate) fn worst(by_tag: impl IntoIterator<Item = Option<Validity>>) -> Option<Validity> {
    by_tag.into_iter().try_fold(Validity::Valid, |worst, validity| Some(worst.and(validity?)))
}

impl Validity {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Stale { since }, Self::Stale { since: other }) => Self::Stale { since: since.min(other) },
            (Self::Valid, other) => other,
            (stale, Self::Valid) => stale,
        }
    }
}
