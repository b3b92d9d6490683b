//! A bounded sample of keys.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// A value for each key of a sample: the keys that were met first, which has the frequent ones among them, and of all further keys those with
/// the lowest hashes, so that each further key is as likely as any other to be among them.
///
/// The second half follows SHARDS with a fixed size (Waldspurger et al., FAST '15).
#[derive(Debug)]
pub(super) struct KeySample<V> {
    first: HashMap<u64, V, RandomState>,
    further: HashMap<u64, V, RandomState>,
    /// The hash below which a further key is in the sample.
    below: u64,
    /// The size of each half.
    half: usize,
}

/// For what a key of the sample stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Stands {
    /// It is one of the first, and stands for itself.
    ForItself,
    /// It stands for so many of the further keys.
    For(f64),
}

impl<V: Default> KeySample<V> {
    pub(super) fn of(most_keys: usize) -> Self {
        let map = || HashMap::with_hasher(RandomState::default());
        Self { first: map(), further: map(), below: u64::MAX, half: most_keys / 2 }
    }

    /// Returns the value of a key, and for what it stands; `None` for a further key that is not in the sample.
    pub(super) fn get(&mut self, key: u64) -> Option<(&mut V, Stands)> {
        if self.first.contains_key(&key) || self.first.len() < self.half {
            return Some((self.first.entry(key).or_default(), Stands::ForItself));
        }
        if !self.further.contains_key(&key) && !self.make_room(key) {
            return None;
        }
        let stands = Stands::For(u64::MAX as f64 / self.below as f64);
        Some((self.further.entry(key).or_default(), stands))
    }

    pub(super) fn len(&self) -> usize {
        self.first.len() + self.further.len()
    }

    /// Forgets all values.
    pub(super) fn clear(&mut self) {
        *self = Self::of(2 * self.half);
    }

    /// Gives up an eighth of the further keys if there is no room; returns whether `key` is in the sample then.
    fn make_room(&mut self, key: u64) -> bool {
        if mixed(key) < self.below && self.further.len() >= self.half {
            let mut hashes: Vec<u64> = self.further.keys().map(|key| mixed(*key)).collect();
            let kept = hashes.len() - hashes.len().div_ceil(8);
            let (_, below, _) = hashes.select_nth_unstable(kept);
            self.below = *below;
            let below = self.below;
            self.further.retain(|key, _| mixed(*key) < below);
        }
        mixed(key) < self.below
    }
}

/// The order of sampling is not that of the map.
fn mixed(key: u64) -> u64 {
    let mixed = (key ^ (key >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_up_to_the_number_of_keys() {
        let mut sample = KeySample::<u32>::of(1_024);
        let keys = (0..100_000_u64).map(|key| key.wrapping_mul(0xd6e8_feb8_6659_fd93));
        for key in keys.clone() {
            sample.get(key);
        }
        assert!(sample.len() <= 1_024 && sample.len() > 900, "{}", sample.len());
        let before = sample.len();
        let weights = keys.filter_map(|key| Some(sample.get(key)?.1)).map(|stands| match stands {
            Stands::ForItself => 1.0,
            Stands::For(keys) => keys,
        });
        let weight: f64 = weights.sum();
        assert!((80_000.0..120_000.0).contains(&weight), "{weight}");
        assert_eq!(sample.len(), before);
    }
}
