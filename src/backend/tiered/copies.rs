//! The near copies of entries.

use std::sync::Arc;

use crate::{
    backend::{
        contract::Invalidation,
        memory::Memory,
        validity::{Strength, Validity},
    },
    entry::{epoch::Epoch, stored::Stored},
    key::Key,
};

/// Copies of what a far store holds, and what this node knows to have been invalidated of them.
///
/// They are judged by a clock of their own: its epochs say when a copy was last found usable by the far store, and when this node has
/// learnt of an invalidation, however the far store numbers it.
#[derive(Debug)]
pub(super) struct Copies(Memory);

/// How many tags are invalidated one by one. Each takes about a microsecond, in which others wait.
const MOST_TAGS: usize = 1000;

impl Copies {
    pub(super) fn new(memory: Memory) -> Self {
        Self(memory)
    }

    /// The copy, whether it may be used or not.
    pub(super) fn any(&self, key: &Key) -> Option<Arc<Stored>> {
        self.0.entries.get(key.as_bytes())
    }

    /// The copy, unless something is known to have been invalidated since it was found usable.
    pub(super) fn usable(&self, key: &Key) -> Option<Arc<Stored>> {
        let epoch = self.epoch();
        let copy = self.any(key)?;
        let found_usable = Epoch::new(copy.validated_at().get());
        if found_usable == epoch {
            return Some(copy);
        }
        if self.0.validity(found_usable, copy.tags()) != Some(Validity::Valid) {
            return None;
        }
        copy.set_validated_at(epoch);
        Some(copy)
    }

    /// This node's own epoch: what is found usable afterwards has outlived whatever was known before.
    pub(super) fn epoch(&self) -> Epoch {
        Epoch::new(self.0.table.epoch())
    }

    /// Keeps a copy of what was found usable after `epoch`.
    pub(super) fn keep(&self, key: &Key, stored: &Arc<Stored>, epoch: Epoch) {
        stored.set_validated_at(epoch);
        self.0.insert(key, Arc::clone(stored));
    }

    pub(super) fn forget(&self, key: &Key) {
        self.0.entries.remove(key.as_bytes());
    }

    /// Drops expired copies as well: only the far store records since when a response is stale. Very many tags take all copies with
    /// them, which takes no time.
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
