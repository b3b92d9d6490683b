//! The mode of a cache: what is enabled.

use std::{fmt, str::FromStr};

use crate::error::Error;

/// The parts of the cache that are enabled; set by [`Cache::set_mode`](crate::Cache::set_mode) and
/// [`Cache::set_mode_everywhere`](crate::Cache::set_mode_everywhere). They are ordered: a later one is stricter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
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

/// The modes by their numbers, with their names as in configurations.
const NAMES: [(&str, CacheMode); 3] =
    [("enabled", CacheMode::Enabled), ("read-only", CacheMode::ReadOnly), ("bypass", CacheMode::Bypass)];

impl CacheMode {
    /// Returns the name, as `Display` writes it.
    pub fn as_str(self) -> &'static str {
        NAMES[usize::from(self.number())].0
    }

    /// Returns the number in metrics and in memcached: 0 for `Enabled`, more for stricter modes.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Enabled => 0,
            Self::ReadOnly => 1,
            Self::Bypass => 2,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Some(NAMES.get(usize::from(number))?.1)
    }
}

impl fmt::Display for CacheMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Parses `enabled`, `read-only` or `bypass`, as `Display` writes them.
impl FromStr for CacheMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mode = NAMES.iter().find(|(name, _)| *name == text).map(|(_, mode)| *mode);
        mode.ok_or_else(|| {
            Error::invalid_input(format!("`{text}` is not a mode of the cache: choose `enabled`, `read-only` or `bypass`"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_is_parsed_from_what_it_displays() {
        for mode in [CacheMode::Enabled, CacheMode::ReadOnly, CacheMode::Bypass] {
            assert_eq!(mode.to_string().parse::<CacheMode>().unwrap(), mode);
            assert_eq!(CacheMode::from_number(mode.number()), Some(mode));
        }
        let error = "off".parse::<CacheMode>().unwrap_err();
        assert!(error.is_invalid_input() && error.to_string().contains("`read-only`"), "{error}");
    }

    #[test]
    fn stricter_modes_are_greater() {
        assert!(CacheMode::Enabled < CacheMode::ReadOnly && CacheMode::ReadOnly < CacheMode::Bypass);
        assert_eq!(CacheMode::from_number(3), None);
    }
}
