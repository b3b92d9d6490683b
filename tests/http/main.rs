//! HTTP through the layer, with the store in memory.
#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod cache_status;
mod connect;
mod fields;
mod head;
mod invalidate_part;
mod invalidation;
mod isolation;
mod keys;
mod lifetime;
mod namespaces;
mod panics;
mod placement;
mod security;
mod settings;
mod staleness;
mod stampede;
mod standards;
mod storing;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod tags_and_writes;
mod tower;
mod tower_http;
mod vary;
mod writes;
