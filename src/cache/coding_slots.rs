//! The codings that are being made in the background.

use std::{
    collections::HashSet,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    thread::available_parallelism,
};

use super::uncacheable::Uncacheable;
use crate::clock::Timestamp;

/// The keys of the responses for which a coding is being made: one at a time for each, and few at a time in all.
///
/// There is no queue: a coding for which there is no slot is made at a later hit.
#[derive(Debug, Default)]
pub(crate) struct CodingSlots {
    keys: Mutex<HashSet<u64>>,
    /// Keys whose codings could not be stored, so that each hit does not try again.
    refused: Uncacheable,
}

/// Half of the cores.
static LIMIT: LazyLock<usize> = LazyLock::new(|| available_parallelism().map_or(1, |cores| cores.get().div_ceil(2)));

/// A coding that is being made; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct CodingSlot {
    slots: Arc<CodingSlots>,
    key: u64,
}

impl CodingSlots {
    /// Takes the slot of a key; `None` if it is taken, if half of the cores are busy, or if the store has refused a coding of this response
    /// lately.
    pub(crate) fn begin(self: &Arc<Self>, key: u64, now: Timestamp) -> Option<CodingSlot> {
        if self.refused.contains(key, now) {
            return None;
        }
        let mut keys = self.lock();
        (keys.len() < *LIMIT && keys.insert(key)).then(|| CodingSlot { slots: Arc::clone(self), key })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CodingSlot {
    /// Makes no coding for this key for two minutes.
    pub(crate) fn refuse(&self, now: Timestamp) {
        self.slots.refused.remember(self.key, now);
    }
}

impl Drop for CodingSlot {
    fn drop(&mut self) {
        self.slots.lock().remove(&self.key);
    }
}
