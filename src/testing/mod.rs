//! Tools for tests of an application with a cache: a backend that fails on demand ([`Faulty`]), assertions about responses
//! ([`assert_hit!`](crate::assert_hit) and others), and a search for cache poisoning ([`Probe`]).
//!
//! [`ManualClock`](crate::ManualClock), a clock that a test advances, needs no feature. The assertions read the outcome of a request from
//! its response, see [`CacheStatus::of`](crate::CacheStatus::of).

mod assertions;
pub(crate) mod attack_vectors;
mod faulty;
mod probe;
pub(crate) mod probe_report;

pub use assertions::{Expected, expect};
pub use faulty::{Fault, Faulty, Operation};
pub use probe::Probe;
pub use probe_report::{Finding, ProbeReport};
