//! The clock and values read by one `MGET`.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use smallvec::SmallVec;

use super::clock::Reading;
use crate::{entry::stored::Stored, key::Key};

/// The clock and the values of some keys, read atomically.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) clock: Reading,
    /// Usually one: the entry.
    pub(super) values: SmallVec<[Option<Bytes>; 1]>,
    /// The first value as decoded by the first of several callers; `None` if there is one caller.
    pub(super) shared: Option<OnceLock<(Key, DecodedEntry)>>,
}

/// A decoded entry, and the id of the write that stored it.
#[derive(Debug, Clone)]
pub(super) struct DecodedEntry {
    pub(super) stored: Arc<Stored>,
    pub(super) id: u64,
}

impl Snapshot {
    /// Returns the entry of this key if another caller has decoded it.
    pub(super) fn decoded(&self, key: &Key) -> Option<DecodedEntry> {
        let (of, decoded) = self.shared.as_ref()?.get()?;
        (of == key).then(|| decoded.clone())
    }

    /// Shares a decoded entry with the other callers. Callers do not wait for it; the first one to finish is kept.
    pub(super) fn memoize(&self, key: &Key, decoded: &DecodedEntry) {
        if let Some(shared) = &self.shared {
            let _ = shared.set((key.clone(), decoded.clone()));
        }
    }
}
