use std::{hash::BuildHasher, sync::Arc};

use moka::{policy::EvictionPolicy, sync::Cache};

use crate::stored::Stored;

/// The map under the memory backend: bounded in bytes, looked up by a borrowed key.
///
/// Everything that larder asks of moka is in this file, so that another engine can be tried by replacing it.
pub(super) struct Engine<S> {
    entries: Cache<Box<[u8]>, Arc<Stored>, S>,
}

impl<S: BuildHasher + Clone + Send + Sync + 'static> Engine<S> {
    #[expect(clippy::borrowed_box, reason = "moka passes the key as it holds it")]
    pub(super) fn new(max_bytes: u64, hasher: S) -> Self {
        let entries = Cache::builder()
            .max_capacity(max_bytes)
            .eviction_policy(EvictionPolicy::tiny_lfu())
            .weigher(|key: &Box<[u8]>, stored: &Arc<Stored>| weight(key, stored))
            .build_with_hasher(hasher);
        Self { entries }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Arc<Stored>> {
        self.entries.get(key)
    }

    pub(super) fn insert(&self, key: &[u8], stored: Arc<Stored>) {
        self.entries.insert(key.into(), stored);
    }

    pub(super) fn max_bytes(&self) -> u64 {
        self.entries.policy().max_capacity().unwrap_or(u64::MAX)
    }

    /// Entries and bytes, counted after pending evictions.
    pub(super) fn size(&self) -> (u64, u64) {
        self.entries.run_pending_tasks();
        (self.entries.entry_count(), self.entries.weighted_size())
    }
}

/// What an entry takes, moka's own record of it included.
pub(super) fn weight(key: &[u8], stored: &Stored) -> u32 {
    const RECORD: usize = 300;
    u32::try_from(key.len() + stored.weight() + RECORD).unwrap_or(u32::MAX)
}
