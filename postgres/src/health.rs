//! The health of a follower.

use std::{error::Error as _, fmt, time::Duration};

use larder::Error;

/// The health of a [`Follower`](crate::Follower), returned by its `health`. It may grow.
///
/// Displayed as a line for operators.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FollowerHealth {
    /// How long ago the follower asked for the rows that it has applied last: every transaction that committed earlier is applied.
    pub behind: Duration,
    /// How long the lease of the cache still lasts; zero if it has ended, and the cache is bypassed.
    pub lease_left: Duration,
    /// The number of tags that were invalidated since the start.
    pub tags: u64,
    /// How often everything was invalidated since the start.
    pub clears: u64,
    /// The last failure of the database or of the store since the start, which may be over.
    pub last_error: Option<Error>,
}

impl FollowerHealth {
    /// Returns whether the cache is in use, as far as the follower is concerned.
    pub fn is_healthy(&self) -> bool {
        !self.lease_left.is_zero()
    }
}

impl fmt::Display for FollowerHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the outbox was read {:.1} s ago", self.behind.as_secs_f64())?;
        match self.is_healthy() {
            true => write!(f, ", and the cache is in use for another {:.1} s", self.lease_left.as_secs_f64())?,
            false => f.write_str(", and the cache is bypassed")?,
        }
        write!(f, "; tags invalidated: {}; everything: {} times", self.tags, self.clears)?;
        let Some(error) = &self.last_error else { return Ok(()) };
        write!(f, "; last error: {error}")?;
        std::iter::successors(error.source(), |&error| error.source()).try_for_each(|cause| write!(f, ": {cause}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_operators_says_whether_the_cache_is_in_use() {
        let error = Error::unavailable("the outbox could not be read").with_source("refused");
        let away = FollowerHealth {
            behind: Duration::from_millis(7_250),
            lease_left: Duration::ZERO,
            tags: 12,
            clears: 1,
            last_error: Some(error),
        };
        assert!(!away.is_healthy());
        assert_eq!(
            away.to_string(),
            "the outbox was read 7.2 s ago, and the cache is bypassed; tags invalidated: 12; everything: 1 times; last error: the outbox could not \
             be read: refused"
        );
        let healthy = FollowerHealth { lease_left: Duration::from_secs(5), last_error: None, ..away };
        assert!(healthy.is_healthy() && healthy.to_string().contains("in use for another 5.0 s"), "{healthy}");
    }
}
