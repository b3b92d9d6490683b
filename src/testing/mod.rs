//! Tools for tests of an application with a cache: a backend that fails on demand ([`Faulty`]), assertions about responses
//! ([`assert_hit!`](crate::assert_hit) and others), a search for cache poisoning ([`Probe`]),
//! and, with the feature
//! `typed-tags`, an assertion that each tag is both stored and invalidated (`assert_tags_covered`).
//!
//! [`ManualClock`](crate::ManualClock), a clock that a test advances, needs no feature. The assertions read the outcome of a request from
//! its response, see [`CacheStatus::of`](crate::CacheStatus::of).

mod assertions;
pub(crate) mod attack_vectors;
mod cookie_jar;
mod faulty;
mod probe;
pub(crate) mod probe_report;
#[cfg(feature = "typed-tags")]
mod tag_ledger;
mod wrap_backend;

pub use assertions::{Expected, expect};
pub use faulty::{Fault, Faulty, Operation};
pub use probe::Probe;
pub use probe_report::{Finding, ProbeReport};
#[cfg(feature = "typed-tags")]
pub use tag_ledger::{TagLedger, assert_tags_covered};
