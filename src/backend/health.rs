//! The health of a store.

use std::{error::Error as _, fmt, time::Duration};

use crate::error::Error;

/// The health of a store as seen by this node, returned by [`Cache::health`](crate::Cache::health). It may grow: create it with
/// [`answers`](Self::answers) or [`fails`](Self::fails).
///
/// Displayed as a line for operators. It contains addresses and words of the server, and no password; show it to operators only.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Health {
    /// How long the store took to answer; `None` if it did not answer.
    pub round_trip: Option<Duration>,
    /// How long ago this node stopped using the store; `None` if it uses it. A suspended store is used again when it answers and has
    /// received all owed invalidations.
    pub suspended_for: Option<Duration>,
    /// The number of tags whose invalidation is owed: it failed, and is carried out when the store answers. An invalidation of everything
    /// counts as one.
    pub owed: usize,
    /// For how long near copies may still answer in place of the store, which does not answer or is suspended: zero if they no longer do.
    /// `None` if the store is in use, or if copies never answer without it (`Tiered::outage_grace`).
    pub grace_left: Option<Duration>,
    /// The last failure of the store since this node was started, which may be over.
    pub last_error: Option<Error>,
}

impl Health {
    /// Creates the health of a store that has answered and is used.
    pub fn answers(round_trip: Duration) -> Self {
        Self { round_trip: Some(round_trip), suspended_for: None, owed: 0, grace_left: None, last_error: None }
    }

    /// Creates the health of a store that has not answered.
    pub fn fails(error: Error) -> Self {
        Self { round_trip: None, suspended_for: None, owed: 0, grace_left: None, last_error: Some(error) }
    }

    /// Returns whether the store has answered and is not suspended.
    pub fn is_healthy(&self) -> bool {
        self.round_trip.is_some() && self.suspended_for.is_none()
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.round_trip {
            Some(time) => write!(f, "the store answers within {:.1} ms", time.as_secs_f64() * 1e3)?,
            None => f.write_str("the store does not answer")?,
        }
        if let Some(time) = self.suspended_for {
            write!(f, ", and has been suspended for {:.1} s", time.as_secs_f64())?;
        }
        match self.grace_left {
            None => {}
            Some(Duration::ZERO) => f.write_str("; near copies no longer answer")?,
            Some(left) => write!(f, "; near copies answer for another {:.1} s", left.as_secs_f64())?,
        }
        if self.owed > 0 {
            write!(f, "; tags that are still to be invalidated: {}", self.owed)?;
        }
        let Some(error) = &self.last_error else { return Ok(()) };
        let when = if self.is_healthy() { "the last error, since overcome" } else { "last error" };
        let mut text = error.to_string();
        for cause in std::iter::successors(error.source(), |&error| error.source()) {
            let cause = cause.to_string();
            // Some errors repeat what their cause says.
            if !text.contains(&cause) {
                text += &format!(": {cause}");
            }
        }
        write!(f, "; {when}: {text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_operators_has_everything_that_is_wrong() {
        let healthy = Health::answers(Duration::from_micros(310));
        assert!(healthy.is_healthy());
        assert_eq!(healthy.to_string(), "the store answers within 0.3 ms");

        let error = Error::unavailable("the connection failed").with_source("refused");
        let suspended = Health { suspended_for: Some(Duration::from_millis(12_340)), owed: 3, ..Health::fails(error) };
        assert!(!suspended.is_healthy());
        assert_eq!(
            suspended.to_string(),
            "the store does not answer, and has been suspended for 12.3 s; tags that are still to be invalidated: 3; last error: the connection \
             failed: refused"
        );
        for (left, clause) in
            [(2500, "; near copies answer for another 2.5 s; tags"), (0, "; near copies no longer answer; tags")]
        {
            let graced = Health { grace_left: Some(Duration::from_millis(left)), ..suspended.clone() };
            assert!(graced.to_string().contains(clause), "{graced}");
        }
        let error = Error::unavailable("the connection failed: refused").with_source("refused");
        let recovered = Health { last_error: Some(error), ..healthy.clone() };
        assert_eq!(
            recovered.to_string(),
            "the store answers within 0.3 ms; the last error, since overcome: the connection failed: refused"
        );
        assert!(!Health { suspended_for: Some(Duration::ZERO), ..healthy }.is_healthy());
    }
}
