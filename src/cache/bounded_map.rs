//! A map that drops its oldest entries.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// A map of limited size: the entry that was inserted first is dropped for the newest.
#[derive(Debug)]
pub(crate) struct BoundedMap<K, V> {
    pub(super) entries: HashMap<K, V>,
    /// The keys in the order of their insertion. One whose entry was removed stays, and is dropped in its turn.
    pub(super) oldest_first: VecDeque<K>,
    capacity: usize,
}

impl<K: Clone + Eq + Hash, V> BoundedMap<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), oldest_first: VecDeque::new(), capacity }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    /// Inserts an entry. One that replaces another has the age of that one.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.entries.insert(key.clone(), value).is_none() {
            self.oldest_first.push_back(key);
        }
        if self.oldest_first.len() > self.capacity
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key)
    }
}
