//! What a store has counted.

#[cfg(any(feature = "redis", feature = "memcached"))]
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{backend::memory_curve::MemoryCurve, counting::histogram::Durations};
#[cfg(any(feature = "redis", feature = "memcached"))]
use crate::{counting::histogram::Histogram, error::Error};

/// What one store has counted, returned by [`Backend::stats`](crate::backend::Backend::stats). A number is `None` if the store does not
/// know it. It may grow: create it with [`new`](Self::new).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// The kind of the store: the label `store` of metrics.
    pub store: &'static str,
    /// The number of entries, including those that are no longer valid.
    pub entries: Option<u64>,
    /// The size of the entries, in bytes.
    pub bytes: Option<u64>,
    /// The largest size, in bytes.
    pub limit_bytes: Option<u64>,
    /// The number of entries that were removed for want of room.
    pub evictions: Option<u64>,
    /// The number of invalidated tags that are remembered one by one.
    pub tag_records: Option<u64>,
    /// What the hit ratio of a store in memory would be with more or less memory.
    pub memory_curve: Option<MemoryCurve>,
    /// Whether the store is not used at present, because it failed.
    pub suspended: Option<bool>,
    /// The number of tags whose invalidation is owed to the store.
    pub outbox_tags: Option<u64>,
    /// The number of values that were damaged, or not written by larder.
    pub corrupt_values: Option<u64>,
    /// What was sent to the store, by operation. Operations on a suspended store are not sent.
    pub operations: Vec<OperationStats>,
    /// The servers of the store, as far as this process knows them.
    pub servers: Vec<StoreServer>,
}

/// A server of a store. It may grow: create it with [`new`](Self::new).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreServer {
    /// The address, without user and password: `host:port`, or the path of a socket.
    pub address: String,
    /// What it does: `primary`, `sentinel`, `replica` or `server`.
    pub role: &'static str,
    /// Whether this process has a connection to it; `None` if the client does not say.
    pub connected: Option<bool>,
}

/// What one operation of a store has counted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperationStats {
    /// The name, such as `get`.
    pub operation: &'static str,
    /// The number of operations that failed.
    pub errors: u64,
    /// The number and the durations of all that ended.
    pub durations: Durations,
}

impl StoreStats {
    /// Creates the statistics of a store of this kind that knows nothing else.
    pub fn new(store: &'static str) -> Self {
        Self { store, ..Self::default() }
    }
}

impl StoreServer {
    /// Creates a server at this address with this role.
    pub fn new(address: impl Into<String>, role: &'static str, connected: Option<bool>) -> Self {
        Self { address: address.into(), role, connected }
    }
}

impl OperationStats {
    /// Creates the statistics of one operation.
    pub fn new(operation: &'static str, errors: u64, durations: Durations) -> Self {
        Self { operation, errors, durations }
    }
}

/// An operation of a remote store.
#[cfg(any(feature = "redis", feature = "memcached"))]
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation {
    Get,
    Put,
    IsAlive,
    Invalidate,
}

#[cfg(any(feature = "redis", feature = "memcached"))]
const OPERATIONS: [&str; 4] = ["get", "put", "is-alive", "invalidate"];

/// Counts the operations of a remote store.
#[cfg(any(feature = "redis", feature = "memcached"))]
#[derive(Debug, Default)]
pub(crate) struct OperationCounts([OperationCount; OPERATIONS.len()]);

#[cfg(any(feature = "redis", feature = "memcached"))]
#[derive(Debug, Default)]
struct OperationCount {
    errors: AtomicU64,
    durations: Histogram,
}

#[cfg(any(feature = "redis", feature = "memcached"))]
impl OperationCounts {
    /// Counts an operation that began at `began` and ends now.
    pub(crate) fn ended<T>(&self, operation: Operation, began: tokio::time::Instant, outcome: &Result<T, Error>) {
        let count = &self.0[operation as usize];
        count.durations.record(began.elapsed());
        if outcome.as_ref().is_err_and(|error| !error.is_invalid_input()) {
            count.errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn stats(&self) -> Vec<OperationStats> {
        let named = OPERATIONS.iter().zip(&self.0);
        let stats = named.map(|(operation, count)| {
            OperationStats::new(operation, count.errors.load(Ordering::Relaxed), count.durations.snapshot())
        });
        stats.collect()
    }
}
