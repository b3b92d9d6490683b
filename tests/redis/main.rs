//! Redis as the store: real servers, real faults.
#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

#[path = "../support/expiry.rs"]
mod expired;
#[path = "../support/servers/mod.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;

mod across_nodes;
mod basics;
mod bursts;
mod durability;
mod expiry;
mod failover;
mod keys;
mod logs;
mod outages;
mod pages;
mod places;
mod races;
mod records;
mod reigns;
mod reshards;
mod returns;
mod runtimes;
mod tiers;
#[cfg(feature = "redis-tls")]
mod tls;
