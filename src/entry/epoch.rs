//! The logical time of a store, by which entries are compared with invalidations.

/// A reading of a backend's logical clock, which advances with each invalidation and is independent of wall clocks.
///
/// If a store loses its clock, it starts a new incarnation of it. Numbers of different incarnations cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    number: u64,
    incarnation: u64,
}

impl Epoch {
    /// Creates an epoch of a clock that is never lost: its incarnation is 0.
    pub const fn new(number: u64) -> Self {
        Self::of(0, number)
    }

    /// Creates an epoch of one incarnation of the clock.
    pub const fn of(incarnation: u64, number: u64) -> Self {
        Self { number, incarnation }
    }

    /// Returns the number, which grows with each invalidation.
    pub const fn get(self) -> u64 {
        self.number
    }

    /// Returns the incarnation of the clock.
    pub const fn incarnation(self) -> u64 {
        self.incarnation
    }
}
