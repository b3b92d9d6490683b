//! The logical time of an entry: the epoch at which its handler was called.

/// A point in a backend's logical time: it grows with every invalidation, and knows nothing of wall clocks.
///
/// A clock that can be lost, as one in a remote store can, begins anew as another incarnation; numbers of different
/// incarnations say nothing about each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    number: u64,
    incarnation: u64,
}

impl Epoch {
    /// The epoch with this number, on a clock that is never lost.
    pub const fn new(number: u64) -> Self {
        Self::of(0, number)
    }

    /// The epoch with this number, on this incarnation of the clock.
    pub const fn of(incarnation: u64, number: u64) -> Self {
        Self { number, incarnation }
    }

    /// The epoch's number.
    pub const fn get(self) -> u64 {
        self.number
    }

    /// Which clock it was read on.
    pub const fn incarnation(self) -> u64 {
        self.incarnation
    }
}
