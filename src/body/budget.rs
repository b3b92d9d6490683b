//! A bound on bytes that are held at once, by whatever holds them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// So many bytes, for all who hold some of them.
#[derive(Debug)]
pub(crate) struct ByteBudget {
    limit: u64,
    held: AtomicU64,
}

/// The bytes that one of them holds; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<ByteBudget>,
    bytes: u64,
}

impl ByteBudget {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicU64::new(0) })
    }

    fn free(&self) -> u64 {
        self.limit.saturating_sub(self.held.load(Ordering::Relaxed))
    }
}

impl Held {
    pub(crate) fn nothing_of(budget: &Arc<ByteBudget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether more may be taken: while at least twice as much is free, so that a few large holders leave room for many small ones.
    pub(crate) fn may_grow(&self) -> bool {
        let free = self.budget.free();
        free > 0 && self.bytes <= free / 2
    }

    /// Takes what is there already, and counts even if it is too much.
    pub(crate) fn grow(&mut self, bytes: u64) {
        self.budget.held.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
    }

    pub(crate) fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.budget.held.fetch_sub(bytes, Ordering::Relaxed);
        self.bytes -= bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_holder_leaves_room_for_small_ones() {
        let budget = ByteBudget::new(90);
        let (mut large, mut small) = (Held::nothing_of(&budget), Held::nothing_of(&budget));
        while large.may_grow() {
            large.grow(1);
        }
        assert_eq!(large.bytes(), 31);
        small.grow(10);
        assert!(small.may_grow() && !large.may_grow());
        drop(small);
        large.shrink(1);
        assert!(large.may_grow());
        drop(large);
        assert_eq!(budget.free(), 90);
    }

    #[test]
    fn nothing_is_free_of_an_empty_budget_and_enough_of_an_endless_one() {
        assert!(!Held::nothing_of(&ByteBudget::new(0)).may_grow());
        let mut held = Held::nothing_of(&ByteBudget::new(u64::MAX));
        held.grow(1 << 40);
        assert!(held.may_grow());
    }
}
