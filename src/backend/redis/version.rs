//! The version of a Redis server.

use std::fmt;

use redis::{ErrorKind, RedisError, RedisResult};

/// The version that a server reports as `redis_version`. Valkey reports the version of Redis with which it is compatible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    major: u32,
    minor: u32,
}

/// The oldest supported version: the first with `XADD … MINID`.
const OLDEST: Version = Version { major: 6, minor: 2 };

/// The description of the error for an older server, by which [`is_too_old`] recognizes it.
const TOO_OLD: &str = "larder does not support the version of this server";

impl Version {
    /// Parses `7.0`.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (major, minor) = std::str::from_utf8(text).ok()?.split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }

    /// Returns an error if larder does not support this version.
    pub(super) fn check(self) -> RedisResult<Self> {
        if self < OLDEST {
            let message = format!("this server is Redis {self}: larder needs {OLDEST} or later");
            return Err((ErrorKind::Client, TOO_OLD, message).into());
        }
        Ok(self)
    }

    /// Returns whether replicas receive the scripts that their primary has run.
    pub(super) fn replicates_scripts(self) -> bool {
        self.major < 7
    }
}

/// Returns whether the error is that of [`Version::check`].
pub(super) fn is_too_old(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Client && error.to_string().starts_with(TOO_OLD)
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_before_redis_6_2_are_refused() {
        let check = |text: &str| Version::parse(text.as_bytes()).unwrap().check();
        for supported in ["6.2", "6.12", "7.0", "10.0", "255.255"] {
            assert!(check(supported).is_ok(), "{supported}");
        }
        for old in ["2.8", "5.0", "6.0", "6.1"] {
            let error = check(old).unwrap_err();
            assert!(is_too_old(&error));
            assert_eq!(error.detail(), Some(&*format!("this server is Redis {old}: larder needs 6.2 or later")));
        }
        for malformed in ["", "7", "7.", ".0", "7.0.1", "7,0", "v7.0"] {
            assert_eq!(Version::parse(malformed.as_bytes()), None, "{malformed}");
        }
    }
}
