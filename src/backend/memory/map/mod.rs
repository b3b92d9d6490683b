//! The bounded map under the memory store.
//!
//! Each crate that can be this map is named in one file of this folder; the rest of larder knows [`EntryMap`] only.

mod on_moka;
#[cfg(feature = "memory-quick")]
mod on_quick_cache;
pub(super) mod removals;
mod weight;

use std::{fmt, sync::Arc};

pub(crate) use self::on_moka::MokaBuilder;
#[cfg(feature = "memory-quick")]
use self::on_quick_cache::QuickMap;
use self::{on_moka::MokaMap, removals::Removals};
use crate::{clock::Timestamp, entry::stored::Stored};

/// The map under the memory store: bounded in bytes, with lookup by a borrowed key. Clones share the entries.
#[derive(Clone)]
pub(crate) enum EntryMap {
    Moka(MokaMap),
    #[cfg(feature = "memory-quick")]
    Quick(QuickMap),
}

/// Calls the same method of whichever map it is.
macro_rules! in_map {
    ($self:expr, $map:ident => $call:expr) => {
        match $self {
            EntryMap::Moka($map) => $call,
            #[cfg(feature = "memory-quick")]
            EntryMap::Quick($map) => $call,
        }
    };
}

impl EntryMap {
    pub(super) fn moka(max_bytes: u64) -> Self {
        Self::Moka(MokaMap::new(max_bytes))
    }

    pub(super) fn from_moka(builder: MokaBuilder) -> Self {
        Self::Moka(MokaMap::from_builder(builder))
    }

    #[cfg(feature = "memory-quick")]
    pub(super) fn quick(max_bytes: u64) -> Self {
        Self::Quick(QuickMap::new(max_bytes))
    }

    /// Creates an empty map of the same crate, with its default policy, for `max_bytes` bytes.
    pub(super) fn smaller(&self, max_bytes: u64) -> Self {
        match self {
            Self::Moka(_) => Self::moka(max_bytes),
            #[cfg(feature = "memory-quick")]
            Self::Quick(_) => Self::quick(max_bytes),
        }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Arc<Stored>> {
        in_map!(self, map => map.get(key))
    }

    pub(super) fn insert(&self, key: &[u8], stored: Arc<Stored>) {
        in_map!(self, map => map.insert(key, stored));
    }

    pub(crate) fn remove(&self, key: &[u8]) {
        in_map!(self, map => map.remove(key));
    }

    /// Returns whether an entry of this size can be stored at all.
    pub(super) fn has_room_for(&self, key: &[u8], stored: &Stored) -> bool {
        in_map!(self, map => map.has_room_for(key, stored))
    }

    /// Returns the number of entries and their size in bytes.
    pub(super) fn size(&self) -> (u64, u64) {
        in_map!(self, map => map.size())
    }

    /// Removes the entries that have expired at `now`; returns when the next one of those that are left expires. An entry that is replaced
    /// at this very moment may be removed as well. Looks at every entry, without being in the way of lookups.
    pub(super) fn remove_expired(&self, now: Timestamp) -> Option<Timestamp> {
        in_map!(self, map => map.remove_expired(now))
    }

    pub(super) fn removals(&self) -> &Removals {
        in_map!(self, map => map.removals())
    }

    pub(super) fn max_bytes(&self) -> u64 {
        in_map!(self, map => map.max_bytes())
    }

    /// The crate that it is, by the name that it has in a URL.
    fn name(&self) -> &'static str {
        match self {
            Self::Moka(_) => "moka",
            #[cfg(feature = "memory-quick")]
            Self::Quick(_) => "quick",
        }
    }
}

impl fmt::Debug for EntryMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, Hasher};

    use super::*;
    use crate::entry::{epoch::Epoch, stored::Content};

    /// A hasher that gives every key the same hash.
    #[derive(Debug, Clone, Copy)]
    struct Colliding;

    impl BuildHasher for Colliding {
        type Hasher = Self;

        fn build_hasher(&self) -> Self {
            Self
        }
    }

    impl Hasher for Colliding {
        fn finish(&self) -> u64 {
            7
        }

        fn write(&mut self, _: &[u8]) {}
    }

    fn entry() -> Arc<Stored> {
        Arc::new(Stored::new(Epoch::new(1), Vec::new(), Content::Tombstone))
    }

    /// Stores three keys, and finds each under its own.
    fn finds_its_own(insert: impl Fn(&[u8], Arc<Stored>), get: impl Fn(&[u8]) -> Option<Arc<Stored>>) {
        let stored: Vec<_> = [&b"a"[..], b"b", b"ab"].into_iter().map(|key| (key, entry())).collect();
        stored.iter().for_each(|(key, entry)| insert(key, Arc::clone(entry)));
        for (key, entry) in &stored {
            assert!(Arc::ptr_eq(&get(key).unwrap(), entry));
        }
        assert!(get(b"c").is_none() && get(b"").is_none());
    }

    #[test]
    fn w9_keys_with_the_same_hash_do_not_share() {
        let map = MokaMap::with_hasher(MokaBuilder::new(1 << 20), Colliding);
        finds_its_own(|key, entry| map.insert(key, entry), |key| map.get(key));
    }

    #[cfg(feature = "memory-quick")]
    #[test]
    fn w9_keys_with_the_same_hash_do_not_share_in_quick_cache() {
        let map = QuickMap::with_hasher(1 << 20, Colliding);
        finds_its_own(|key, entry| map.insert(key, entry), |key| map.get(key));
    }
}
