//! The most frequent items of a stream, in bounded memory.

use std::{
    mem,
    sync::{Mutex, PoisonError, TryLockError},
    time::Duration,
};

use crate::clock::Timestamp;

/// The most items that are counted at once: an item with more than a 48th of all is always among them.
const MOST_ITEMS: usize = 48;

/// How long a sketch counts before it is replaced.
const WINDOW: Duration = Duration::from_secs(60);

/// Counts in the latest minute and the one before. Bounded: with keys of 200 bytes, 20 KiB.
#[derive(Debug)]
pub(super) struct HeavyHitters<T>(Mutex<Windows<T>>);

#[derive(Debug)]
struct Windows<T> {
    began: Timestamp,
    latest: Sketch<T>,
    previous: Sketch<T>,
}

/// The algorithm Space-Saving: an item that is not counted yet replaces the rarest, and inherits its count (Metwally, Agrawal, El
/// Abbadi: Efficient Computation of Frequent and Top-k Elements in Data Streams, 2005).
#[derive(Debug, Clone)]
struct Sketch<T> {
    counters: Vec<Counter<T>>,
    total: u64,
}

#[derive(Debug, Clone)]
struct Counter<T> {
    hash: u64,
    count: u64,
    item: T,
}

impl<T> Default for Sketch<T> {
    fn default() -> Self {
        Self { counters: Vec::new(), total: 0 }
    }
}

impl<T> Default for HeavyHitters<T> {
    fn default() -> Self {
        Self(Mutex::new(Windows { began: Timestamp::from_millis(0), latest: Sketch::default(), previous: Sketch::default() }))
    }
}

impl<T> Sketch<T> {
    fn add(&mut self, hash: u64, weight: u64, item: impl FnOnce() -> T) {
        self.total += weight;
        if let Some(counter) = self.counters.iter_mut().find(|counter| counter.hash == hash) {
            counter.count += weight;
        } else if self.counters.len() < MOST_ITEMS {
            self.counters.push(Counter { hash, count: weight, item: item() });
        } else if let Some(rarest) = self.counters.iter_mut().min_by_key(|counter| counter.count) {
            *rarest = Counter { hash, count: rarest.count + weight, item: item() };
        }
    }
}

impl<T> Windows<T> {
    fn rotate(&mut self, now: Timestamp) {
        if now < self.began + WINDOW {
            return;
        }
        let latest = mem::take(&mut self.latest);
        self.previous = if now < self.began + 2 * WINDOW { latest } else { Sketch::default() };
        self.began = now;
    }
}

#[cfg(test)]
impl<T> HeavyHitters<T> {
    /// The most bytes that it takes if each item refers to so many bytes of its own.
    pub(super) const fn most_bytes(of_item: usize) -> usize {
        size_of::<Self>() + 2 * MOST_ITEMS * (size_of::<Counter<T>>() + of_item)
    }
}

impl<T: Clone> HeavyHitters<T> {
    /// Counts an item `weight` times. If another thread counts at this moment, the item is left out: it is a sample in any case.
    pub(super) fn add(&self, now: Timestamp, hash: u64, weight: u64, item: impl FnOnce() -> T) {
        let mut windows = match self.0.try_lock() {
            Ok(windows) => windows,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        windows.rotate(now);
        windows.latest.add(hash, weight, item);
    }

    /// Returns the `count` most frequent items of the last one to two minutes with their estimated counts, and the sum of all counts.
    pub(super) fn top(&self, now: Timestamp, count: usize) -> (Vec<(T, u64)>, u64) {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        windows.rotate(now);
        let (mut counters, total) = (windows.latest.counters.clone(), windows.latest.total + windows.previous.total);
        for before in &windows.previous.counters {
            match counters.iter_mut().find(|counter| counter.hash == before.hash) {
                Some(counter) => counter.count += before.count,
                None => counters.push(before.clone()),
            }
        }
        drop(windows);
        counters.sort_by_key(|counter| std::cmp::Reverse(counter.count));
        counters.truncate(count);
        (counters.into_iter().map(|counter| (counter.item, counter.count)).collect(), total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_frequent_item_is_found_among_many_rare_ones() {
        let hitters = HeavyHitters::default();
        for item in 0..10_000_u64 {
            hitters.add(at(100), item, 1, || item);
            if item % 10 == 0 {
                hitters.add(at(100), u64::MAX, 1, || u64::MAX);
            }
        }
        let (top, total) = hitters.top(at(100), 1);
        assert_eq!((top[0].0, total), (u64::MAX, 11_000));
        // Too many by a 48th of all at most.
        assert!((1_000..=1_000 + 11_000 / 48 + 1).contains(&top[0].1), "{top:?}");
        assert_eq!(hitters.top(at(100), 1000).0.len(), MOST_ITEMS);
    }

    #[test]
    fn what_was_frequent_two_minutes_ago_is_forgotten() {
        let hitters = HeavyHitters::default();
        hitters.add(at(100), 1, 64, || "old");
        hitters.add(at(161), 2, 64, || "new");
        hitters.add(at(162), 1, 64, || "old");
        assert_eq!(hitters.top(at(163), 9), (vec![("old", 128), ("new", 64)], 192));
        assert_eq!(hitters.top(at(222), 9), (vec![("new", 64), ("old", 64)], 128));
        assert_eq!(hitters.top(at(400), 9), (vec![], 0));
    }
}
