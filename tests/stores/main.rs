//! Stores: what a backend must do, what clients see while real servers fail, and histories under load.
#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

#[cfg(feature = "conformance")]
mod backends;
#[cfg(all(feature = "memcached", feature = "redis", feature = "zstd"))]
mod extremes;
#[cfg(all(feature = "memcached", feature = "redis"))]
mod health;
mod history;
#[cfg(feature = "memcached")]
mod memcached;
#[cfg(all(feature = "memcached", feature = "redis"))]
mod modes;
#[cfg(all(feature = "admin", feature = "memcached", feature = "redis"))]
mod operators_page;
#[cfg(feature = "redis")]
mod redis;
#[cfg(all(feature = "compression", feature = "conformance", feature = "memcached", feature = "redis"))]
mod replacing;
#[cfg(any(feature = "memcached", feature = "redis"))]
#[path = "../support/servers/mod.rs"]
mod servers;
#[cfg(all(feature = "memcached", feature = "redis"))]
mod statistics;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "`http` uses all of it")]
mod support;
#[cfg(all(feature = "memcached", feature = "redis", feature = "zstd"))]
mod urls;
#[cfg(all(feature = "memcached", feature = "redis", feature = "values"))]
mod values;
