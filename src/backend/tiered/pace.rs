//! The pauses between the polls of a feed follower.

use std::{mem::replace, time::Duration};

use super::lease::PollResult;

/// Computes the pauses between the polls of a feed follower.
///
/// A follower that is behind polls again soon, but never without a pause. A store that fails is polled less and less often.
#[derive(Debug)]
pub(super) struct Pace {
    usual: Duration,
    failures: u32,
    began_again: bool,
}

impl Pace {
    /// Creates a pace whose pause is `usual` while the follower keeps up.
    pub(super) fn new(usual: Duration) -> Self {
        /// A lease of almost nothing must not make a node poll without a pause.
        const SHORTEST: Duration = Duration::from_millis(5);
        Self { usual: usual.max(SHORTEST), failures: 0, began_again: false }
    }

    /// Returns whether the last poll failed.
    pub(super) fn failed(&self) -> bool {
        self.failures > 0
    }

    /// Returns the pause after a poll with this result; `None` if it failed.
    pub(super) fn pause(&mut self, result: Option<PollResult>) -> Duration {
        const LONGEST: u32 = 8;
        let soon = self.usual / 16;
        let began_again = replace(&mut self.began_again, result == Some(PollResult::Gap));
        self.failures = if result.is_none() { self.failures.saturating_add(1) } else { 0 };
        match result {
            None => self.usual * 2_u32.saturating_pow(self.failures - 1).min(LONGEST),
            Some(PollResult::Part) => soon,
            // The next poll renews the lease, unless invalidations keep coming at the same rate.
            Some(PollResult::Gap) if !began_again => soon,
            Some(PollResult::Gap | PollResult::All) => self.usual,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses<const N: usize>(polls: [Option<PollResult>; N]) -> [u128; N] {
        let mut pace = Pace::new(Duration::from_millis(160));
        polls.map(|result| pace.pause(result).as_millis())
    }

    #[test]
    fn a_follower_that_is_behind_polls_again_soon_but_not_immediately() {
        let [all, part, gap] = [PollResult::All, PollResult::Part, PollResult::Gap].map(Some);
        assert_eq!(pauses([gap, all, part, part, all]), [10, 160, 10, 10, 160]);
        assert_eq!(pauses([gap, gap, gap, all, gap]), [10, 160, 160, 160, 10]);
    }

    #[test]
    fn a_failing_store_is_polled_less_and_less_often() {
        assert_eq!(pauses([None; 6]), [160, 320, 640, 1280, 1280, 1280]);
        assert_eq!(pauses([None, None, Some(PollResult::All), None]), [160, 320, 160, 160]);
    }
}
