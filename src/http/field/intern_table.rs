//! A table of values that are kept once, for the life of the process.

use std::{
    hash::{BuildHasher as _, Hash},
    sync::{LazyLock, OnceLock},
};

use foldhash::fast::RandomState;

/// A table of `N` values that are never removed: found by a hash, without a lock.
#[derive(Debug)]
pub(crate) struct InternTable<T, const N: usize>([OnceLock<T>; N]);

/// How many places are tried for a value.
const PROBES: usize = 4;

impl<T, const N: usize> InternTable<T, N> {
    pub(crate) const fn new() -> Self {
        Self([const { OnceLock::new() }; N])
    }

    /// Returns the value that `is_equal` accepts, which `make` makes if there is none yet; `None` if its places are taken by others.
    /// Equal values have equal `hashed`.
    pub(crate) fn get_or_make(&self, hashed: impl Hash, is_equal: impl Fn(&T) -> bool, make: impl Fn() -> T) -> Option<&T> {
        static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::default);
        let first = HASHER.hash_one(hashed) as usize;
        let mut places = (0..PROBES).map(|probe| self.0[first.wrapping_add(probe) % N].get_or_init(&make));
        places.find(|value| is_equal(value))
    }

    #[cfg(test)]
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(OnceLock::get)
    }
}
