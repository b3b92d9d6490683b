//! The settings of a Redis store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    backend::remote::{Timeouts, options::RemoteOptions},
    clock::Clock,
    codec::{self, compression::Compression},
    entry::stored::Stored,
};

/// The settings of a Redis store.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) limits: Timeouts,
    pub(super) compression: Compression,
    pub(super) decoding: codec::DecodeLimits,
    /// The number of replicas that must confirm an invalidation.
    pub(super) replicas: Option<u32>,
    pub(super) clock: Clock,
    /// The number of values that could not be decoded.
    pub(super) corrupt: Arc<AtomicU64>,
}

/// The longest time to live of an entry. A `No-Vary-Search` rule would otherwise never expire.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

impl Options {
    pub(super) fn new(remote: &RemoteOptions, replicas: Option<u32>) -> Self {
        Self {
            limits: remote.timeouts.clone(),
            compression: remote.compression,
            decoding: codec::DecodeLimits::default(),
            replicas,
            clock: Clock::default(),
            corrupt: Arc::default(),
        }
    }

    /// Returns the time by which a tag's record outlives its entries, so that the next entry with the tag finds it.
    pub(super) fn record_life(&self) -> Duration {
        Duration::from_secs(3600)
    }

    /// Returns the time to live of a record that is not renewed together with its entries.
    pub(super) fn settled_life(&self) -> Duration {
        Duration::from_secs(48 * 3600)
    }

    pub(super) fn stream_life(&self) -> Duration {
        Duration::from_secs(24 * 3600)
    }

    /// Returns the time to live of an entry: up to 5 % less than its remaining lifetime, so that entries that were stored together do
    /// not expire together. An entry that has expired is stored for a second, to replace the previous one.
    pub(super) fn life(&self, stored: &Stored) -> Duration {
        const MOMENT: Duration = Duration::from_secs(1);
        match stored.expires().since(self.clock.now()).min(LONGEST) {
            Duration::ZERO => MOMENT,
            life => life.mul_f64(1.0 - 0.05 * fastrand::f64()).max(Duration::from_millis(1)),
        }
    }

    pub(super) fn note_corrupt<T>(&self) -> Option<T> {
        self.corrupt.fetch_add(1, Ordering::Relaxed);
        None
    }
}
