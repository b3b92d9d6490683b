//! What it takes to test an application with a cache: a store that fails, assertions about responses, and a probe that looks for
//! ways to poison a page.
//!
//! A clock that a test moves is there without the feature: [`ManualClock`](crate::ManualClock). What the cache did with a request
//! stands in each response: [`CacheStatus::of`](crate::CacheStatus::of), which [`assert_hit!`](crate::assert_hit) and its kin
//! look at.

mod assertions;
pub(crate) mod attack_vectors;
mod faulty;
pub(crate) mod full_body;
mod probe;
pub(crate) mod probe_report;

pub use assertions::{Expected, expect};
pub use faulty::{Fault, Faulty, Operation};
pub use full_body::WholeBody;
pub use probe::Probe;
pub use probe_report::{Finding, ProbeReport};
