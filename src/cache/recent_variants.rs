//! The variants that this process has stored or served lately, and which of them have had hits.

use std::{
    cell::Cell,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::bounded_map::BoundedMap;
use crate::{
    entry::{stored::Stored, variants::VariantId},
    key::Key,
};

/// The variants that this process has stored or served lately.
///
/// A URI has a limited number of variants. If there are more, one has to go: rather one that has had no hit, so that a client that invents
/// values of a `Vary` field replaces its own variants. The key is remembered as well, because the list of variants has only digests.
///
/// Bounded: the oldest variant is dropped for the newest. A dropped one counts as one without a hit, and stays in the store until it is
/// evicted there.
#[derive(Debug)]
pub(crate) struct RecentVariants(Mutex<BoundedMap<VariantId, Variant>>);

impl Default for RecentVariants {
    fn default() -> Self {
        const CAPACITY: usize = 4096;
        Self(Mutex::new(BoundedMap::new(CAPACITY)))
    }
}

#[derive(Debug)]
struct Variant {
    key: Key,
    has_hit: bool,
}

impl RecentVariants {
    pub(crate) fn stored(&self, id: VariantId, key: &Key) {
        let mut recent = self.lock();
        match recent.get_mut(&id) {
            Some(variant) => variant.key = key.clone(),
            None => recent.insert(id, Variant { key: key.clone(), has_hit: false }),
        }
    }

    /// Notes each 64th hit of a thread, once for each copy of an entry: a digest costs as much as half of the hit.
    #[inline]
    pub(crate) fn hit(&self, stored: &Stored, variant: impl FnOnce() -> (VariantId, Key)) {
        const NOTED: u32 = 64;
        thread_local! {
            static HITS: Cell<u32> = const { Cell::new(0) };
        }
        let hits = HITS.get() + 1;
        HITS.set(hits % NOTED);
        if hits == NOTED && stored.note_hit() {
            self.note_hit(variant());
        }
    }

    #[cold]
    fn note_hit(&self, (id, key): (VariantId, Key)) {
        let mut recent = self.lock();
        match recent.get_mut(&id) {
            Some(variant) => variant.has_hit = true,
            // The only response to its URI until now, or stored by another node.
            None => recent.insert(id, Variant { key, has_hit: true }),
        }
    }

    pub(crate) fn has_hit(&self, id: &VariantId) -> bool {
        self.lock().get(id).is_some_and(|variant| variant.has_hit)
    }

    /// Forgets a variant, and returns its key.
    pub(crate) fn remove(&self, id: &VariantId) -> Option<Key> {
        self.lock().remove(id).map(|variant| variant.key)
    }

    fn lock(&self) -> MutexGuard<'_, BoundedMap<VariantId, Variant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
