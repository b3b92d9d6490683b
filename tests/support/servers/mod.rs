//! Real servers for the tests: each on a free port of the loopback interface, ended by its own process id.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "in a test it is an assertion; real servers take real time")]

#[cfg(feature = "redis-tls")]
pub mod authority;
#[cfg(feature = "memcached")]
pub mod memcached;
pub mod process;
#[cfg(feature = "redis")]
pub mod proxy;
#[cfg(feature = "redis")]
pub mod redis;
