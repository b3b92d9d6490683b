//! Switching the cache off or to read-only at run time.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

/// How much of the cache is at work; set by [`Cache::set_mode`](crate::Cache::set_mode).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheMode {
    /// All of it: the default.
    #[default]
    Enabled,
    /// What is stored is served; nothing is stored anew.
    ReadOnly,
    /// Every request goes to its handler, as if there were no cache.
    Bypass,
}

/// The switch that all handles to one store share.
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
