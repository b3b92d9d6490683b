//! The settings of a Redis store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    backend::remote::Timeouts,
    clock::Clock,
    codec::{self, compression::Compression},
    entry::stored::Stored,
};

/// What may be set about a store in Redis.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) limits: Timeouts,
    pub(super) compression: Compression,
    pub(super) decoding: codec::DecodeLimits,
    /// How many replicas must confirm an invalidation.
    pub(super) replicas: Option<u32>,
    pub(super) clock: Clock,
    pub(super) corrupt: Arc<AtomicU64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Timeouts::default(),
            compression: Compression { threshold: Some(4 << 10), level: 1 },
            decoding: codec::DecodeLimits::default(),
            replicas: None,
            clock: Clock::default(),
            corrupt: Arc::default(),
        }
    }
}

/// The longest that an entry is kept, whatever it says: a `No-Vary-Search` rule never ends by itself.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

impl Options {
    /// For how long the record of a tag outlives the entries that have it: long enough to be met again, and not for ever.
    pub(super) fn record_life(&self) -> Duration {
        Duration::from_secs(3600)
    }

    /// For how long a record is kept that cannot be renewed together with the entries that need it.
    pub(super) fn settled_life(&self) -> Duration {
        Duration::from_secs(48 * 3600)
    }

    pub(super) fn stream_life(&self) -> Duration {
        Duration::from_secs(24 * 3600)
    }

    /// How long an entry is to be kept from now on: up to a twentieth less than it could be used, so that what was stored together is
    /// not lost together. What has expired replaces what was there all the same, and goes in a moment.
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
