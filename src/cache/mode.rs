//! The mode of the cache, which can be changed at run time.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

/// The parts of the cache that are enabled; set by [`Cache::set_mode`](crate::Cache::set_mode).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheMode {
    /// Stored responses are served, and new ones are stored. The default.
    #[default]
    Enabled,
    /// Stored responses are served; new ones are not stored.
    ReadOnly,
    /// Every request goes to its handler, as if there were no cache.
    Bypass,
}

/// The mode that all handles to one store share.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModeCell(Arc<AtomicU8>);

impl ModeCell {
    pub(crate) fn mode(&self) -> CacheMode {
        match self.0.load(Ordering::Relaxed) {
            0 => CacheMode::Enabled,
            1 => CacheMode::ReadOnly,
            _ => CacheMode::Bypass,
        }
    }

    pub(crate) fn set(&self, mode: CacheMode) {
        let number = match mode {
            CacheMode::Enabled => 0,
            CacheMode::ReadOnly => 1,
            CacheMode::Bypass => 2,
        };
        self.0.store(number, Ordering::Relaxed);
    }
}
