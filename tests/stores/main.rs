//! Stores: what a backend must do, what clients see while real servers fail, and histories under load.
#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

#[cfg(feature = "conformance")]
mod backends;
mod history;
#[cfg(feature = "memcached")]
mod memcached;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "memcached", feature = "redis"))]
#[path = "../support/servers/mod.rs"]
mod servers;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "`http` uses all of it")]
mod support;
