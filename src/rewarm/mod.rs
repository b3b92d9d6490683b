//! Requests that are repeated after an invalidation: which ones, and when.

mod allowance;
pub(crate) mod layers;
mod removed;
pub(crate) mod repeat;
pub(crate) mod requests;
