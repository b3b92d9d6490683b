//! The contract of a store, and the stores that larder provides.
//!
//! To write a backend, implement [`Backend`]. [`validity`] and [`TagRecord`] implement its rule about invalidated entries, and the feature
//! `conformance` has a suite of tests for it.

pub(crate) mod cache_mode;
pub(crate) mod contract;
mod expiries;
pub(crate) mod feed;
pub(crate) mod health;
#[cfg(any(feature = "memory", feature = "redis", feature = "memcached"))]
pub(crate) mod lone_task;
#[cfg(feature = "memcached")]
pub(crate) mod memcached;
#[cfg(feature = "memory")]
pub(crate) mod memory;
pub(crate) mod memory_curve;
#[cfg(feature = "redis")]
pub(crate) mod redis;
#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) mod remote;
pub(crate) mod store_stats;
pub(crate) mod tag_record;
#[cfg(feature = "memory")]
pub(crate) mod tiered;
#[cfg(any(feature = "memory", feature = "redis", feature = "memcached"))]
pub(crate) mod url;
pub(crate) mod validity;
#[allow(dead_code, reason = "each store uses its own part of it")]
pub(crate) mod write_marks;

pub use contract::{Backend, Durability, FetchLock, Invalidation, PutOutcome, ReadOutcome, Receipt, Scope};
pub use feed::{FeedBatch, InvalidationFeed, SharedStore};
pub use health::Health;
pub use memory_curve::{MemoryCurve, MemoryPoint};
pub use store_stats::{OperationStats, StoreServer, StoreStats};
pub use tag_record::{TagRecord, validity};
pub use validity::Validity;

/// The attribute that an implementation of [`Backend`] needs, from the crate `async-trait`.
pub use async_trait::async_trait;

pub use crate::{
    clock::{Clock, Timestamp},
    entry::{epoch::Epoch, stored::Stored},
    key::Key,
    tag::Tag,
};
