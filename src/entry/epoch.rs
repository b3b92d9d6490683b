//! The logical time of a store, by which entries are compared with invalidations.

use std::cmp::Ordering;

/// A point in a backend's logical time, which advances with every invalidation and is independent of wall clocks.
///
/// A clock that can be lost, such as one in a remote store, starts again as another *incarnation*. Numbers of different incarnations
/// say nothing about each other: such epochs are neither equal nor ordered, and every comparison of them is `false`.
///
/// ```
/// use larder::backend::Epoch;
///
/// let (earlier, later) = (Epoch::of(1, 7), Epoch::of(1, 9));
/// assert!(earlier < later);
/// let after_a_loss = Epoch::of(2, 3);
/// assert!(!(after_a_loss < later) && !(after_a_loss >= later));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch {
    number: u64,
    incarnation: u64,
}

impl Epoch {
    /// Creates the epoch with this number on a clock that is never lost.
    pub const fn new(number: u64) -> Self {
        Self::of(0, number)
    }

    /// Creates the epoch with this number on this incarnation of the clock.
    pub const fn of(incarnation: u64, number: u64) -> Self {
        Self { number, incarnation }
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.number
    }

    /// Returns the incarnation of the clock.
    pub const fn incarnation(self) -> u64 {
        self.incarnation
    }
}

/// Returns `None` for epochs of different incarnations.
impl PartialOrd for Epoch {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.incarnation == other.incarnation).then(|| self.number.cmp(&other.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_of_different_incarnations_have_no_order() {
        let (one, other) = (Epoch::of(1, 7), Epoch::of(2, 9));
        assert_eq!(one.partial_cmp(&other), None);
        assert_eq!(one.partial_cmp(&Epoch::of(1, 9)), Some(Ordering::Less));
        assert_eq!([one < other, one >= other, other < one, other >= one], [false; 4]);
        assert_ne!(one, Epoch::of(2, 7));
    }
}
