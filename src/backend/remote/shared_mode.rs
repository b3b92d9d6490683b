//! The mode of all nodes, as read from the store.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::backend::cache_mode::CacheMode;

/// The mode that was read last. It is read with every clock, so that it costs no round trip.
#[derive(Debug, Default)]
pub(crate) struct SharedMode(AtomicU8);

/// The number of a value that is not a mode. It counts as `Enabled`: a store with a damaged value must not disable the cache.
const UNKNOWN: u8 = u8::MAX;

impl SharedMode {
    pub(crate) fn get(&self) -> CacheMode {
        CacheMode::from_number(self.0.load(Ordering::Relaxed)).unwrap_or_default()
    }

    /// Takes the name of the mode as read from the store; without one, the mode is `Enabled`.
    #[allow(dead_code, reason = "only Redis keeps a name")]
    pub(crate) fn observe_name(&self, name: Option<&[u8]>) {
        let mode = name.map_or(Some(CacheMode::Enabled), |name| std::str::from_utf8(name).ok()?.parse().ok());
        self.observe(mode);
    }

    /// Takes the mode as read from the store; `None` if it is unknown. Logs a change.
    pub(crate) fn observe(&self, mode: Option<CacheMode>) {
        let number = mode.map_or(UNKNOWN, CacheMode::number);
        // Usually there is nothing to write.
        if self.0.load(Ordering::Relaxed) == number || self.0.swap(number, Ordering::Relaxed) == number {
            return;
        }
        match mode {
            Some(mode) => tracing::warn!(mode = mode.as_str(), "the mode of the cache on all nodes has changed in the store"),
            None => {
                tracing::error!("the mode of the cache on all nodes has an unknown value in the store, and counts as `enabled`");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_modes_and_any_other_value_is_enabled() {
        let shared = SharedMode::default();
        for (name, mode) in [
            (Some(&b"bypass"[..]), CacheMode::Bypass),
            (None, CacheMode::Enabled),
            (Some(b"read-only"), CacheMode::ReadOnly),
            (Some(b"Bypass"), CacheMode::Enabled),
            (Some(b"bypass"), CacheMode::Bypass),
            (Some(b"\xff"), CacheMode::Enabled),
        ] {
            shared.observe_name(name);
            assert_eq!(shared.get(), mode, "{name:?}");
        }
    }
}
