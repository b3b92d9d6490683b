//! HTTP through the layer, with the store in memory.
#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

#[cfg(all(feature = "admin", feature = "testing"))]
mod admin;
mod advisor;
mod cache_status;
#[cfg(feature = "compression")]
mod compression;
mod connect;
mod content;
mod draining;
mod extremes;
mod fields;
mod head;
mod invalidate_part;
mod invalidation;
mod isolation;
mod keys;
mod leases;
mod lifetime;
mod limits;
mod namespaces;
mod panics;
mod pending_writes;
mod placement;
mod request_rules;
mod security;
mod settings;
mod staleness;
mod stampede;
mod standards;
mod statistics;
mod storing;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod tags_and_writes;
mod tower;
mod tower_http;
#[cfg(feature = "typed-tags")]
mod typed_tags;
#[cfg(all(feature = "values", feature = "testing"))]
mod values;
mod vary;
mod warm;
mod without_timer;
mod writes;
