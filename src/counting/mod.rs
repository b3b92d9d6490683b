//! Counters for hot paths: histograms, counters that one thread writes, and samples.

pub(crate) mod countdown;
pub(crate) mod histogram;
pub(crate) mod own_count;
