//! The ends of the leases that one store is under.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use crate::clock::Timestamp;

/// The leases of a store in this process: its entries answer while none of them has ended.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    /// The earliest end, in milliseconds.
    earliest: AtomicU64,
    slots: Mutex<Vec<Slot>>,
}

/// The place of one lease. It outlives its holder: what is no longer followed must not be served.
#[derive(Debug)]
struct Slot {
    until: Timestamp,
    is_held: bool,
}

const ENDED: Timestamp = Timestamp::from_millis(0);

impl Leases {
    /// Adds a lease that has ended, in place of one whose holder is gone if there is one. Returns its number.
    pub(crate) fn begin(&self) -> usize {
        let mut slots = self.slots();
        let slot = Slot { until: ENDED, is_held: true };
        let number = slots.iter().position(|slot| !slot.is_held).unwrap_or(slots.len());
        match slots.get_mut(number) {
            Some(left) => *left = slot,
            None => slots.push(slot),
        }
        self.publish(&slots);
        number
    }

    /// Moves the end of a lease to a later time.
    pub(crate) fn extend(&self, number: usize, until: Timestamp) {
        let mut slots = self.slots();
        slots[number].until = slots[number].until.max(until);
        self.publish(&slots);
    }

    /// Leaves a lease to whoever begins one next. It ends when it would have.
    pub(crate) fn leave(&self, number: usize) {
        self.slots()[number].is_held = false;
    }

    pub(crate) fn until(&self, number: usize) -> Timestamp {
        self.slots()[number].until
    }

    /// Returns whether no lease has ended.
    pub(crate) fn are_valid(&self, now: Timestamp) -> bool {
        // Acquire: with a later end, a reader sees the invalidations that were applied before it.
        now.as_millis() < self.earliest.load(Ordering::Acquire)
    }

    fn publish(&self, slots: &[Slot]) {
        let earliest = slots.iter().map(|slot| slot.until.as_millis()).min();
        self.earliest.store(earliest.unwrap_or(u64::MAX), Ordering::Release);
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn the_lease_that_ends_first_counts() {
        let leases = Leases::default();
        let (one, other) = (leases.begin(), leases.begin());
        leases.extend(one, at(2000));
        assert!(!leases.are_valid(at(1)), "the other one has not begun");
        leases.extend(other, at(1000));
        assert!(leases.are_valid(at(999)) && !leases.are_valid(at(1000)));
        leases.extend(other, at(3000));
        leases.extend(other, at(500));
        assert!(leases.are_valid(at(1999)) && !leases.are_valid(at(2000)));
    }

    #[test]
    fn a_lease_without_a_holder_ends_and_the_next_holder_takes_its_place() {
        let leases = Leases::default();
        let first = leases.begin();
        leases.extend(first, at(1000));
        leases.leave(first);
        assert!(leases.are_valid(at(999)) && !leases.are_valid(at(1000)));
        let second = leases.begin();
        assert_eq!(second, first);
        assert!(!leases.are_valid(at(1)));
        leases.extend(second, at(5000));
        assert!(leases.are_valid(at(4999)));
    }
}
