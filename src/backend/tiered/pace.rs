//! When a follower polls again.

use std::{mem::replace, time::Duration};

use super::lease::Brought;

/// How long a follower waits between polls.
///
/// It catches up fast, but never without a pause; and a store that is in trouble is polled less and less often.
#[derive(Debug)]
pub(super) struct Pace {
    usual: Duration,
    failures: u32,
    began_again: bool,
}

impl Pace {
    /// The pace of a follower that usually waits so long.
    pub(super) fn new(usual: Duration) -> Self {
        Self { usual, failures: 0, began_again: false }
    }

    /// Whether the last poll failed.
    pub(super) fn failed(&self) -> bool {
        self.failures > 0
    }

    /// The pause after a poll that brought this; nothing if it failed.
    pub(super) fn pause(&mut self, brought: Option<Brought>) -> Duration {
        const LONGEST: u32 = 8;
        let soon = self.usual / 16;
        let began_again = replace(&mut self.began_again, brought == Some(Brought::Gap));
        self.failures = if brought.is_none() { self.failures.saturating_add(1) } else { 0 };
        match brought {
            None => self.usual * 2_u32.saturating_pow(self.failures - 1).min(LONGEST),
            Some(Brought::Part) => soon,
            // One poll more renews the lease, unless as much is announced all the time.
            Some(Brought::Gap) if !began_again => soon,
            Some(Brought::Gap | Brought::All) => self.usual,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses<const N: usize>(polls: [Option<Brought>; N]) -> [u128; N] {
        let mut pace = Pace::new(Duration::from_millis(160));
        polls.map(|brought| pace.pause(brought).as_millis())
    }

    #[test]
    fn a_follower_catches_up_soon_but_never_at_once() {
        let [all, part, gap] = [Brought::All, Brought::Part, Brought::Gap].map(Some);
        assert_eq!(pauses([gap, all, part, part, all]), [10, 160, 10, 10, 160]);
        assert_eq!(pauses([gap, gap, gap, all, gap]), [10, 160, 160, 160, 10]);
    }

    #[test]
    fn a_store_in_trouble_is_polled_less_and_less_often() {
        assert_eq!(pauses([None; 6]), [160, 320, 640, 1280, 1280, 1280]);
        assert_eq!(pauses([None, None, Some(Brought::All), None]), [160, 320, 160, 160]);
    }
}
