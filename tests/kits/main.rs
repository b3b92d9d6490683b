//! What larder offers besides the cache: kits for tests, examples; and the rules for its own source.
#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod architecture;
#[cfg(all(feature = "admin", feature = "memory"))]
mod browser;
#[cfg(feature = "conformance")]
mod conformance;
mod dependencies;
#[cfg(all(feature = "axum", feature = "memory"))]
mod examples;
mod guide;
mod layering;
mod release;
#[cfg(feature = "redis")]
#[path = "../support/servers/mod.rs"]
#[allow(dead_code, reason = "`stores` uses all of it")]
mod servers;
#[cfg(feature = "testing")]
mod testing;
