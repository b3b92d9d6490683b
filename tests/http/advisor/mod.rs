//! Observe first: what an observer measures, what follows from it, and shadow verification.

mod accuracy;
mod advice;
mod bounds;
mod observing;
#[cfg(feature = "admin")]
mod outputs;
mod verification;
