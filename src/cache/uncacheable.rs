//! Keys whose latest response could not be stored.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::clock::Timestamp;

/// The keys whose responses could not be stored ("hit-for-miss"), so that requests for them do not wait for each other.
///
/// Bounded: the oldest key is dropped for the newest. A dropped key costs one wait.
#[derive(Debug, Default)]
pub(crate) struct Uncacheable {
    keys: Mutex<Keys>,
}

#[derive(Debug, Default)]
struct Keys {
    until: HashMap<u64, Timestamp>,
    oldest_first: VecDeque<u64>,
}

/// The time for which a key is remembered.
const MEMORY: Duration = Duration::from_secs(120);

/// The largest number of keys.
const CAPACITY: usize = 10_000;

impl Uncacheable {
    /// Returns whether the latest response for the key with this digest could not be stored.
    pub(crate) fn contains(&self, key: u64, now: Timestamp) -> bool {
        self.lock().until.get(&key).is_some_and(|until| now < *until)
    }

    pub(crate) fn remember(&self, key: u64, now: Timestamp) {
        let keys = &mut *self.lock();
        if keys.until.insert(key, now + MEMORY).is_none() {
            keys.oldest_first.push_back(key);
        }
        if keys.oldest_first.len() > CAPACITY
            && let Some(oldest) = keys.oldest_first.pop_front()
        {
            keys.until.remove(&oldest);
        }
    }

    /// Removes a key, whose response was stored after all.
    pub(crate) fn forget(&self, key: u64) {
        // It remains in `oldest_first`, and leaves it like the others.
        if let Some(until) = self.lock().until.get_mut(&key) {
            *until = Timestamp::from_millis(0);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Keys> {
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
        assert!(keys.contains(7, now + MEMORY - Duration::from_millis(1)));
        assert!(!keys.contains(7, now + MEMORY));
        keys.forget(7);
        assert!(!keys.contains(7, now));
        keys.remember(7, now);
        assert!(keys.contains(7, now));
    }

    #[test]
    fn the_number_of_keys_is_bounded() {
        let keys = Uncacheable::default();
        let now = Timestamp::from_millis(1_000);
        (0..3 * CAPACITY as u64).for_each(|key| keys.remember(key, now));
        assert!(!keys.contains(0, now) && keys.contains(3 * CAPACITY as u64 - 1, now));
        let keys = keys.lock();
        assert_eq!((keys.until.len(), keys.oldest_first.len()), (CAPACITY, CAPACITY));
    }
}
