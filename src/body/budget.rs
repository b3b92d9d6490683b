//! A shared limit on buffered bytes.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A limit on the number of bytes that all holders buffer together.
#[derive(Debug)]
pub(crate) struct ByteBudget {
    /// In bytes.
    limit: u64,
    held: AtomicU64,
}

/// The bytes that one holder takes from a budget; returned on drop.
#[derive(Debug)]
pub(crate) struct HeldBytes {
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

impl HeldBytes {
    pub(crate) fn none_of(budget: &Arc<ByteBudget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns whether the holder may take more: while at least twice as many bytes are free as it holds, so that a few large bodies leave
    /// room for many small ones.
    pub(crate) fn may_grow(&self) -> bool {
        let free = self.budget.free();
        free > 0 && self.bytes <= free / 2
    }

    /// Takes `bytes` that are already in memory, even beyond the limit.
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

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_holder_leaves_room_for_small_ones() {
        let budget = ByteBudget::new(90);
        let (mut large, mut small) = (HeldBytes::none_of(&budget), HeldBytes::none_of(&budget));
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
    fn empty_budget_has_no_room_and_unlimited_one_always_has() {
        assert!(!HeldBytes::none_of(&ByteBudget::new(0)).may_grow());
        let mut held = HeldBytes::none_of(&ByteBudget::new(u64::MAX));
        held.grow(1 << 40);
        assert!(held.may_grow());
    }
}
