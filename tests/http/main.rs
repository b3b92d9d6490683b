//! HTTP through the layer, with the store in memory.
#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod panics;
mod peers;
mod placement;
mod security;
mod staleness;
mod stampede;
mod standards;
#[path = "../support/mod.rs"]
mod support;
mod tags_and_writes;
mod tower_http;
