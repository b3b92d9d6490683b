use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use smallvec::SmallVec;

use super::clock::Reading;
use crate::{entry::stored::Stored, key::Key};

/// The clock, and what stood under some keys, in one moment.
#[derive(Debug)]
pub(super) struct Moment {
    pub(super) clock: Reading,
    /// One for most: the entry.
    pub(super) values: SmallVec<[Option<Bytes>; 1]>,
    /// What the first of several who asked has made of the first value; `None` if only one did.
    pub(super) shared: Option<OnceLock<(Key, Opened)>>,
}

/// An entry, and the id of this writing of it.
#[derive(Debug, Clone)]
pub(super) struct Opened {
    pub(super) stored: Arc<Stored>,
    pub(super) id: u64,
}

impl Moment {
    /// What another has made of the entry of this very key.
    pub(super) fn opened(&self, key: &Key) -> Option<Opened> {
        let (of, opened) = self.shared.as_ref()?.get()?;
        (of == key).then(|| opened.clone())
    }

    /// Leaves what was made of the entry to the others. Nobody waits for it: of several the first counts.
    pub(super) fn leave(&self, key: &Key, opened: &Opened) {
        if let Some(shared) = &self.shared {
            let _ = shared.set((key.clone(), opened.clone()));
        }
    }
}
