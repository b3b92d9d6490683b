//! The latest clock that this node observed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::clock::{ClockReading, Term};

/// The latest clock that this node observed on any server.
///
/// It is passed to each script: a clock that is behind it may lack invalidations, and begins a new incarnation. So a server that was
/// primary at the same time as another one, and missed its invalidations, serves no earlier entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) term: Term,
    pub(super) number: u64,
}

/// Clocks from this number on are not remembered: too few numbers would be left, and larder cannot have written them.
const FAR: u64 = 9_000_000_000_000_000;
/// The largest number that a clock can reach.
const END: u64 = 9_007_199_254_740_000;

impl Seen {
    pub(super) const NOTHING: Self = Self { term: Term([0; 8]), number: 0 };

    /// Encodes the argument of the scripts; `rule` is the sentinels' config epoch, 0 without sentinels.
    pub(super) fn to_bytes(self, rule: u64) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.term.0);
        bytes[8..16].copy_from_slice(&self.number.to_be_bytes());
        bytes[16..].copy_from_slice(&rule.to_be_bytes());
        bytes
    }

    /// Returns whether the clock has not gone back since.
    pub(super) fn is_before(self, reading: &ClockReading) -> bool {
        reading.term == self.term && (self.number..END).contains(&reading.epoch.get())
    }

    /// Returns what this reading shows.
    pub(super) fn of(reading: &ClockReading) -> Self {
        let number = reading.epoch.get();
        Self { term: reading.term, number: if number < FAR { number } else { 0 } }
    }
}

/// The latest clock observed by all users of a connection to several servers.
#[derive(Debug)]
pub(super) struct Latest(Mutex<Seen>);

impl Latest {
    pub(super) fn get(&self) -> Seen {
        *self.lock()
    }

    /// Records the reply of a script that was passed `sent`. Returns `false` if a concurrent caller observed a clock whose invalidations
    /// this server may lack.
    pub(super) fn observe(&self, sent: Seen, reading: &ClockReading) -> bool {
        let mut seen = self.lock();
        if seen.term != reading.term && *seen != sent {
            return false;
        }
        let now = Seen::of(reading);
        *seen = Seen { number: now.number.max(seen.number), ..now };
        true
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Latest {
    fn default() -> Self {
        Self(Mutex::new(Seen::NOTHING))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::epoch::Epoch;

    fn reading(term: u8, number: u64) -> ClockReading {
        ClockReading { term: Term([term; 8]), epoch: Epoch::of(1, number), sequence: 0 }
    }

    #[test]
    fn a_clock_goes_back_to_a_lower_number_or_another_term() {
        let seen = Seen::of(&reading(1, 7));
        assert!(seen.is_before(&reading(1, 7)) && seen.is_before(&reading(1, 8)));
        assert!(!seen.is_before(&reading(1, 6)) && !seen.is_before(&reading(2, 8)));
    }

    #[test]
    fn numbers_that_no_clock_can_have_are_not_remembered() {
        assert_eq!(Seen::of(&reading(1, FAR)).number, 0);
        assert!(!Seen::of(&reading(1, 7)).is_before(&reading(1, END)));
    }

    #[test]
    fn a_clock_of_another_term_must_have_received_the_latest_observation() {
        let latest = Latest::default();
        assert!(latest.observe(Seen::NOTHING, &reading(1, 7)));
        let sent = latest.get();
        assert!(latest.observe(sent, &reading(1, 9)));
        assert!(!latest.observe(sent, &reading(2, 20)), "it may lack 9");
        assert!(latest.observe(latest.get(), &reading(2, 20)));
        assert!(!latest.observe(sent, &reading(1, 30)), "it may lack 20 of the other");
        assert_eq!(latest.get(), Seen::of(&reading(2, 20)));
    }
}
