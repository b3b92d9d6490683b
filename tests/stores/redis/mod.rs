//! Redis as the store: real servers, real faults.

mod across_nodes;
mod authenticity;
mod basics;
mod bursts;
mod clocks;
mod cluster_failover;
mod connectors;
mod deadlines;
mod draining;
mod durability;
mod expiry;
mod failover;
mod hits;
mod keys;
mod logs;
mod outage_grace;
mod outages;
mod races;
mod records;
mod reshards;
mod returns;
mod rights;
mod runtimes;
mod schedules;
pub(crate) mod support;
mod tiers;
#[cfg(feature = "redis-tls")]
mod tls;
