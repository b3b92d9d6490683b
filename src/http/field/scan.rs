//! Scans of client-supplied bytes. In tests each scan counts its steps, which exposes a parser that takes more than linear time.

/// Returns the position of the first byte that `is` accepts.
pub(crate) fn find(bytes: &[u8], is: impl Fn(u8) -> bool) -> Option<usize> {
    let at = bytes.iter().position(|&byte| is(byte));
    count(at.map_or(bytes.len(), |at| at + 1));
    at
}

/// Splits at each byte that `is` accepts.
pub(crate) fn split(bytes: &[u8], is: impl Fn(u8) -> bool) -> impl Iterator<Item = &[u8]> {
    bytes.split(move |&byte| is(byte)).inspect(|part| count(part.len() + 1))
}

/// Removes white space at both ends.
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let trimmed = bytes.trim_ascii();
    count(bytes.len() - trimmed.len() + 1);
    trimmed
}

/// Counts bytes that were read, compared or copied. Does nothing outside of tests.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn count(_bytes: usize) {}

#[cfg(test)]
pub(crate) use counting::count;

#[cfg(test)]
#[cfg_attr(not(all(feature = "axum", feature = "memory")), allow(dead_code, reason = "the tests that limit steps need both"))]
pub(crate) mod counting {
    use std::{
        cell::Cell,
        panic::{AssertUnwindSafe, catch_unwind},
    };

    thread_local! {
        static STEPS: Cell<usize> = const { Cell::new(0) };
        static LIMIT: Cell<usize> = const { Cell::new(usize::MAX) };
    }

    pub(crate) fn count(bytes: usize) {
        STEPS.set(STEPS.get() + bytes);
        assert!(STEPS.get() <= LIMIT.get(), "more steps than allowed");
    }

    /// Returns whether `work` takes at most `most` steps; it is stopped when it takes more.
    pub(crate) fn limited(most: usize, work: impl FnOnce()) -> bool {
        LIMIT.set(STEPS.get() + most);
        let ended = catch_unwind(AssertUnwindSafe(work));
        LIMIT.set(usize::MAX);
        ended.is_ok()
    }

    /// Returns the number of steps that `work` takes on this thread.
    pub(crate) fn steps(work: impl FnOnce()) -> usize {
        let before = STEPS.get();
        work();
        STEPS.get() - before
    }
}
