//! Proves a backend: the whole contract of [`Backend`], case by case, against any implementation of it.
//!
//! ```
//! use larder::{Memory, conformance};
//!
//! #[tokio::main] // in a test: #[tokio::test(flavor = "multi_thread")]
//! async fn main() {
//!     conformance::check(|| async { Memory::new(64 << 20) }).await.assert();
//! }
//! ```
//!
//! Every case gets a fresh backend from the function that it is given: fresh means that nobody else's entries, tags and clock
//! are in it, as in an empty database or under a namespace of its own. With several threads, races are found sooner.
//!
//! What a backend can do beyond what each must is said to a [`Suite`]; what cannot be tried without is listed in the [`Report`] as
//! skipped. The cases, by name:
//!
//! | case | rule |
//! |---|---|
#![doc = include_str!("cases.md")]
//!
//! A backend's own unit tests make what they store with [`stored`], and read it back with [`body`].

pub(crate) mod backend_under_test;
mod cases;
mod concurrency;
mod epochs;
mod outage;
mod report;
pub(crate) mod sample_entry;
mod serving;
mod storing;
mod suite;
mod tags;
pub(crate) mod test_app;

use std::future::Future;

pub use report::{Outcome, Report};
pub use sample_entry::{body, stored};
pub use suite::Suite;

use crate::backend::contract::Backend;

/// Tries every case on backends that `factory` makes, each of them fresh: `Suite::new(factory).run()`.
///
/// Takes about a second for a store in memory. Must be called within a tokio runtime that has its timer on.
pub async fn check<B: Backend, F: Future<Output = B>>(factory: impl Fn() -> F) -> Report {
    Suite::new(factory).run().await
}
