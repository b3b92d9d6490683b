//! What the tests of larder have for real servers.
#![allow(dead_code, reason = "the tests of larder use the rest")]

#[path = "../../../tests/support/servers/memcached.rs"]
pub(crate) mod memcached;
#[path = "../../../tests/support/servers/process.rs"]
pub(crate) mod process;
#[path = "../../../tests/support/servers/proxy.rs"]
pub(crate) mod proxy;
