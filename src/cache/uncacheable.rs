//! Keys whose latest response could not be stored.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::bounded_map::BoundedMap;
use crate::clock::Timestamp;

/// The keys whose responses could not be stored ("hit-for-miss"), so that requests for them do not wait for each other.
///
/// Bounded: the oldest key is dropped for the newest. A dropped key costs one wait.
#[derive(Debug)]
pub(crate) struct Uncacheable {
    /// The time for which a key is remembered.
    time: Duration,
    /// When each key is forgotten.
    keys: Mutex<BoundedMap<u64, Timestamp>>,
}

impl Default for Uncacheable {
    fn default() -> Self {
        Self::new(10_000, Duration::from_secs(120))
    }
}

impl Uncacheable {
    pub(crate) fn new(capacity: usize, time: Duration) -> Self {
        Self { time, keys: Mutex::new(BoundedMap::new(capacity)) }
    }

    /// Returns whether the latest response for the key with this digest could not be stored.
    pub(crate) fn contains(&self, key: u64, now: Timestamp) -> bool {
        self.lock().get(&key).is_some_and(|until| now < *until)
    }

    pub(crate) fn remember(&self, key: u64, now: Timestamp) {
        self.lock().insert(key, now + self.time);
    }

    /// Removes a key, whose response was stored after all.
    pub(crate) fn forget(&self, key: u64) {
        // It stays in the map, and leaves it like the others.
        if let Some(until) = self.lock().get_mut(&key) {
            *until = Timestamp::from_millis(0);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BoundedMap<u64, Timestamp>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_remembered_for_two_minutes_or_until_it_is_stored() {
        let keys = Uncacheable::default();
        let now = Timestamp::from_millis(1_000);
        keys.remember(7, now);
        let minutes = Duration::from_secs(120);
        assert!(keys.contains(7, now + minutes - Duration::from_millis(1)));
        assert!(!keys.contains(7, now + minutes));
        keys.forget(7);
        assert!(!keys.contains(7, now));
        keys.remember(7, now);
        assert!(keys.contains(7, now));
    }

    #[test]
    fn the_number_of_keys_is_bounded() {
        for (capacity, keys) in [(10_000, Uncacheable::default()), (0, Uncacheable::new(0, Duration::MAX))] {
            let now = Timestamp::from_millis(1_000);
            (0..30_000).for_each(|key| keys.remember(key, now));
            assert!(!keys.contains(0, now) && keys.contains(29_999, now) == (capacity > 0));
            let keys = keys.lock();
            assert_eq!((keys.entries.len(), keys.oldest_first.len()), (capacity, capacity));
        }
    }
}
