//! What a store must do, and the stores that larder has.

pub(crate) mod contract;
#[allow(dead_code, reason = "without a store, nothing is expired")]
mod expiries;
pub(crate) mod feed;
#[cfg(any(feature = "memory", feature = "redis", feature = "memcached"))]
pub(crate) mod lone_task;
#[cfg(feature = "memcached")]
pub(crate) mod memcached;
#[cfg(feature = "memory")]
pub(crate) mod memory;
#[cfg(feature = "redis")]
pub(crate) mod redis;
#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) mod remote;
#[cfg(feature = "memory")]
pub(crate) mod tiered;
#[allow(dead_code, reason = "without a store, nothing is judged")]
pub(crate) mod validity;

pub use contract::{Backend, Durability, FetchLock, Invalidation, PutOutcome, ReadOutcome, Receipt, Scope};
pub use feed::{FeedBatch, InvalidationFeed, SharedStore};
pub use validity::Validity;

/// The attribute for an implementation of [`Backend`], of the crate `async-trait`.
pub use async_trait::async_trait;

pub use crate::{
    clock::{Clock, Timestamp},
    entry::{epoch::Epoch, stored::Stored},
    key::Key,
    tag::Tag,
};
