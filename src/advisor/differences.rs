//! What shadow verification has found: hits that differed from what the handler responds.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use super::writes::WriteName;

/// The differences that are remembered.
const MOST: usize = 64;

/// A hit that differed from what the handler responds, found by shadow verification
/// ([`CacheLayer::verify_hits`](crate::CacheLayer::verify_hits)).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Difference {
    /// When it was found, in milliseconds since 1970.
    pub at_millis: u64,
    /// The route.
    pub route: String,
    /// The age of the stored response, in seconds.
    pub age: u64,
    /// The writes that came between the stored response and the handler's, as far as layers have seen them; those for the same captures
    /// first. One of them probably forgets an invalidation.
    pub writes: Vec<WriteName>,
}

/// The latest differences.
#[derive(Debug, Default)]
pub(crate) struct Differences(Mutex<VecDeque<Difference>>);

impl Differences {
    pub(crate) fn add(&self, difference: Difference) {
        let mut differences = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        differences.truncate(MOST - 1);
        differences.push_front(difference);
    }

    /// Returns the latest `count` differences, the last one first.
    pub(crate) fn latest(&self, count: usize) -> Vec<Difference> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().take(count).cloned().collect()
    }
}
