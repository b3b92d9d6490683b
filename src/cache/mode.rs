//! The mode of this process: its initial value, and the cell that all handles to one store share.

use std::{
    env::{self, VarError},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use crate::{backend::cache_mode::CacheMode, error::Error};

/// The environment variable with the mode in which caches begin.
const VARIABLE: &str = "LARDER_MODE";

/// Set in the cell once a revision has been activated. It is here, and not in a cell of its own, because every request reads the mode.
const ACTIVATED: u8 = 0x80;

/// The mode that all handles to one store share in this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModeCell(Arc<AtomicU8>);

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

    pub(crate) fn mode(&self) -> CacheMode {
        CacheMode::from_number(self.0.load(Ordering::Relaxed) & !ACTIVATED).unwrap_or_default()
    }

    /// Returns the mode; `None` if a revision has been activated, so that keys begin otherwise than when the handles were made.
    #[inline]
    pub(crate) fn mode_as_built(&self) -> Option<CacheMode> {
        CacheMode::from_number(self.0.load(Ordering::Relaxed))
    }

    pub(crate) fn set(&self, mode: CacheMode) {
        let with_mode = |present: u8| Some((present & ACTIVATED) | mode.number());
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with_mode);
    }

    /// Records that a revision has been activated.
    pub(crate) fn note_activation(&self) {
        self.0.fetch_or(ACTIVATED, Ordering::AcqRel);
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

    #[test]
    fn an_activation_leaves_the_mode_as_it_is() {
        let cell = ModeCell::default();
        cell.set(CacheMode::ReadOnly);
        assert_eq!(cell.mode_as_built(), Some(CacheMode::ReadOnly));
        cell.note_activation();
        assert_eq!((cell.mode_as_built(), cell.mode()), (None, CacheMode::ReadOnly));
        cell.set(CacheMode::Bypass);
        assert_eq!((cell.mode_as_built(), cell.mode()), (None, CacheMode::Bypass));
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
