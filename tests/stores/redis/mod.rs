//! Redis as the store: real servers, real faults.

mod across_nodes;
mod basics;
mod bursts;
mod cluster_failover;
mod durability;
mod expiry;
mod failover;
mod keys;
mod logs;
mod outages;
mod races;
mod records;
mod reshards;
mod returns;
mod runtimes;
pub(crate) mod support;
mod tiers;
#[cfg(feature = "redis-tls")]
mod tls;
