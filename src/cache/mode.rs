//! The mode of this process: its initial value, and the cell that all handles to one store share.

use std::{
    env::{self, VarError},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use super::leases::Leases;
use crate::{backend::cache_mode::CacheMode, clock::Timestamp, error::Error};

/// The environment variable with the mode in which caches begin.
const VARIABLE: &str = "LARDER_MODE";

/// Set in the cell once a revision has been activated. It is here, and not in a cell of its own, because every request reads the mode.
const ACTIVATED: u8 = 0x80;

/// Set in the cell once the store has been put under a lease.
const LEASED: u8 = 0x40;

/// The mode that all handles to one store share in this process, and the leases of the store.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModeCell(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    mode: AtomicU8,
    leases: Leases,
}

impl ModeCell {
    /// Begins with the mode in the environment. An invalid one is logged, and counts as none.
    pub(crate) fn from_environment() -> Self {
        let cell = Self::default();
        match in_environment() {
            Ok(mode) => cell.set(mode),
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "the cache begins in the mode `enabled`"),
        }
        cell
    }

    /// Returns the mode that was set, whatever the leases.
    pub(crate) fn mode(&self) -> CacheMode {
        CacheMode::from_number(self.0.mode.load(Ordering::Relaxed) & !(ACTIVATED | LEASED)).unwrap_or_default()
    }

    /// Returns the mode in force; `None` if a revision has been activated, so that keys begin otherwise than when the handles were made.
    #[inline]
    pub(crate) fn mode_as_built(&self, now: impl FnOnce() -> Timestamp) -> Option<CacheMode> {
        let cell = self.0.mode.load(Ordering::Relaxed);
        if cell & LEASED == 0 {
            return CacheMode::from_number(cell);
        }
        Some(CacheMode::from_number(cell & !LEASED)?.max(self.mode_by_leases(now)))
    }

    /// Returns `Bypass` if a lease has ended.
    pub(crate) fn mode_by_leases(&self, now: impl FnOnce() -> Timestamp) -> CacheMode {
        let is_leased = self.0.mode.load(Ordering::Relaxed) & LEASED != 0;
        if is_leased && !self.0.leases.are_valid(now()) { CacheMode::Bypass } else { CacheMode::Enabled }
    }

    pub(crate) fn set(&self, mode: CacheMode) {
        let with_mode = |present: u8| Some((present & (ACTIVATED | LEASED)) | mode.number());
        let _ = self.0.mode.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with_mode);
    }

    /// Records that a revision has been activated.
    pub(crate) fn note_activation(&self) {
        self.0.mode.fetch_or(ACTIVATED, Ordering::AcqRel);
    }

    /// Puts the store under one more lease, which has ended, and returns its number.
    pub(crate) fn begin_lease(&self) -> usize {
        let number = self.0.leases.begin();
        self.0.mode.fetch_or(LEASED, Ordering::AcqRel);
        number
    }

    pub(crate) fn leases(&self) -> &Leases {
        &self.0.leases
    }
}

/// Returns the mode in the environment; `Enabled` if there is none.
pub(crate) fn in_environment() -> Result<CacheMode, Error> {
    initial(env::var(VARIABLE))
}

fn initial(variable: Result<String, VarError>) -> Result<CacheMode, Error> {
    let invalid = |error: Error| Error::invalid_input(format!("the environment variable {VARIABLE} is invalid: {error}"));
    match variable {
        Ok(text) if text.is_empty() => Ok(CacheMode::Enabled),
        Ok(text) => text.parse().map_err(invalid),
        Err(VarError::NotPresent) => Ok(CacheMode::Enabled),
        Err(VarError::NotUnicode(text)) => text.to_string_lossy().parse().map_err(invalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Timestamp {
        Timestamp::from_millis(0)
    }

    #[test]
    fn an_activation_leaves_the_mode_as_it_is() {
        let cell = ModeCell::default();
        cell.set(CacheMode::ReadOnly);
        assert_eq!(cell.mode_as_built(start), Some(CacheMode::ReadOnly));
        cell.note_activation();
        assert_eq!((cell.mode_as_built(start), cell.mode()), (None, CacheMode::ReadOnly));
        cell.set(CacheMode::Bypass);
        assert_eq!((cell.mode_as_built(start), cell.mode()), (None, CacheMode::Bypass));
    }

    #[test]
    fn a_lease_that_has_ended_is_stricter_than_the_mode_that_was_set() {
        let cell = ModeCell::default();
        cell.set(CacheMode::ReadOnly);
        let lease = cell.begin_lease();
        assert_eq!((cell.mode_as_built(start), cell.mode()), (Some(CacheMode::Bypass), CacheMode::ReadOnly));
        cell.leases().extend(lease, Timestamp::from_millis(1));
        assert_eq!((cell.mode_as_built(start), cell.mode_by_leases(start)), (Some(CacheMode::ReadOnly), CacheMode::Enabled));
        cell.set(CacheMode::Enabled);
        assert_eq!(cell.mode_as_built(|| Timestamp::from_millis(1)), Some(CacheMode::Bypass));
        cell.note_activation();
        assert_eq!(cell.mode_as_built(start), None);
    }

    #[test]
    fn environment_has_a_mode_none_or_an_invalid_one() {
        assert_eq!(initial(Ok("read-only".to_owned())).unwrap(), CacheMode::ReadOnly);
        assert_eq!(initial(Err(VarError::NotPresent)).unwrap(), CacheMode::Enabled);
        assert_eq!(initial(Ok(String::new())).unwrap(), CacheMode::Enabled);
        let error = initial(Ok("off".to_owned())).unwrap_err();
        assert!(error.is_invalid_input() && error.to_string().contains("LARDER_MODE"), "{error}");
    }
}
