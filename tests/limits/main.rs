//! What larder takes: allocations per request, and memory. Apart from other tests, because an allocator counts.
#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod allocations;
mod bounds;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "`http` uses all of it")]
mod support;
