//! The near copies of entries.

use std::sync::Arc;

use crate::{
    backend::{
        contract::{Backend as _, Invalidation},
        memory::Memory,
        store_stats::StoreStats,
        validity::{Strength, Validity},
    },
    clock::{Clock, Timestamp},
    entry::{epoch::Epoch, stored::Stored},
    key::Key,
};

/// Copies of entries of the far store, and the invalidations that this node has applied to them.
///
/// They have a logical clock of their own, independent of the far store's epochs. Its epochs order two kinds of events: the far store
/// returned a copy as valid, and this node applied an invalidation.
#[derive(Debug)]
pub(super) struct NearCopies(Memory);

/// The epoch of no clock.
pub(super) const NEVER_VALIDATED: Epoch = Epoch::new(0);

/// The maximum number of tags that are invalidated one by one. Each takes about a microsecond, during which other threads wait.
const MOST_TAGS: usize = 1000;

impl NearCopies {
    pub(super) fn new(memory: Memory) -> Self {
        Self(memory)
    }

    /// Measures by `clock` when copies have expired.
    pub(super) fn use_clock(&self, clock: &Clock) {
        self.0.use_clock(clock);
    }

    pub(super) fn stats(&self) -> StoreStats {
        self.0.counted("near")
    }

    /// Returns the copy, whether it is valid or not.
    pub(super) fn any(&self, key: &Key) -> Option<Arc<Stored>> {
        self.0.entries.get(key.as_bytes())
    }

    /// Returns the copy, unless this node has applied an invalidation of it since it was last found valid.
    pub(super) fn usable(&self, key: &Key) -> Option<Arc<Stored>> {
        let epoch = self.epoch();
        let copy = self.any(key)?;
        let validated_at = Epoch::new(copy.validated_at().get());
        if validated_at == epoch {
            self.0.answered(key, &copy);
            return Some(copy);
        }
        if self.0.validity(validated_at, copy.tags()) != Some(Validity::Valid) {
            return None;
        }
        copy.set_validated_at(epoch);
        self.0.answered(key, &copy);
        Some(copy)
    }

    /// Returns whether no invalidation that this node has applied after `epoch` concerns the copy; `false` if in doubt.
    pub(super) fn is_untouched_since(&self, epoch: Epoch, copy: &Stored) -> bool {
        self.0.validity_of_fetched(epoch, copy.tags()) == Some(Validity::Valid)
    }

    /// Counts a lookup that a copy has answered which is valid by the far store's clock.
    pub(super) fn answered(&self, key: &Key, copy: &Stored) {
        self.0.answered(key, copy);
    }

    /// Returns this node's own epoch. A copy that is read from the far store later takes all invalidations up to it into account.
    pub(super) fn epoch(&self) -> Epoch {
        Epoch::new(self.0.table.epoch())
    }

    /// Keeps a copy of an entry that was read as valid after `epoch`, when this node's clock shows `now`; returns the copy.
    pub(super) fn keep(&self, key: &Key, stored: &Arc<Stored>, epoch: Epoch, now: Timestamp) -> Arc<Stored> {
        let present = self.any(key).filter(|present| present.is_aged_copy_of(stored));
        let copy = present.unwrap_or_else(|| stored.copied_at(now));
        copy.set_validated_at(epoch);
        let validated = (epoch != NEVER_VALIDATED).then_some(epoch);
        self.0.keep(key, Arc::clone(&copy), validated);
        copy
    }

    pub(super) fn forget(&self, key: &Key) {
        self.0.entries.remove(key.as_bytes());
    }

    /// Drops expired copies as well: only the far store records since when a response is stale. For very many tags, it drops all
    /// copies, which takes constant time.
    pub(super) fn invalidate(&self, invalidation: &Invalidation) {
        match invalidation {
            Invalidation::Tags(tags) | Invalidation::ExpireTags { tags, .. } if tags.len() > MOST_TAGS => {
                self.0.apply(&Invalidation::Everything)
            }
            Invalidation::ExpireTags { tags, .. } => self.0.apply_to(tags, Strength::Hard),
            Invalidation::Tags(_) | Invalidation::Everything => self.0.apply(invalidation),
        };
    }
}
