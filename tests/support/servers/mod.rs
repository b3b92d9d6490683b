//! Real servers for the tests: each on a free port of the loopback interface, ended by its own process id.
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

#[cfg(feature = "redis-tls")]
pub(crate) mod authority;
#[cfg(feature = "memcached")]
pub(crate) mod memcached;
pub(crate) mod process;
#[cfg(feature = "redis")]
pub(crate) mod proxy;
#[cfg(feature = "redis")]
pub(crate) mod redis;
