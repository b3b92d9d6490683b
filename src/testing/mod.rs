//! What it takes to test an application with a cache: a store that fails, assertions about responses, and a probe that looks for
//! ways to poison a page.
//!
//! A clock that a test moves is there without the feature: [`ManualClock`](crate::ManualClock). What the cache did with a request
//! stands in each response: [`CacheStatus::of`](crate::CacheStatus::of), which [`assert_hit!`](crate::assert_hit) and its kin
//! look at.

mod assertions;
mod faulty;
mod findings;
mod probe;
mod vectors;
pub(crate) mod whole_body;

pub use assertions::{Expected, expect};
pub use faulty::{Fault, Faulty, Operation};
pub use findings::{Finding, ProbeReport};
pub use probe::Probe;
pub use whole_body::WholeBody;
