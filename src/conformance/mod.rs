//! Tests a backend: checks an implementation of [`Backend`] against its whole contract, case by case.
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
//! Each case calls the factory for a fresh backend. Fresh means that it shares no entries, tags and clock with another backend, such as
//! an empty database, or a namespace of its own. A runtime with several threads finds races sooner.
//!
//! Optional abilities of a backend are declared to a [`Suite`]; the [`Report`] lists cases that need undeclared abilities as skipped. The
//! feature `conformance` includes `testing` and `memory`. The cases, by name:
//!
//! | case | rule |
//! |---|---|
#![doc = include_str!("cases.md")]
//!
//! Unit tests of a backend can create entries by [`stored`], and read their bodies by [`body`].

pub(crate) mod backend_under_test;
mod cases;
mod concurrency;
mod epochs;
mod holds;
mod locks;
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

/// Runs all cases on backends that `factory` creates, each of them fresh. Equal to `Suite::new(factory).run()`.
///
/// Takes about a second for an in-memory store. Must be called within a tokio runtime with timers enabled.
pub async fn check<B: Backend, F: Future<Output = B>>(factory: impl Fn() -> F) -> Report {
    Suite::new(factory).run().await
}
