use std::time::Duration;

use crate::clock::Timestamp;

/// For how long a near tier may answer from its own copies without asking anybody.
///
/// An invalidation has returned once it is in the stream that all near tiers follow. One who polls the stream has, after
/// applying what the poll brought, everything that was in it when the poll arrived, so everything of before it was *sent*: by
/// the reader's own clock, which needs to agree with nobody's. From then on he may be behind by `span`, and no longer.
///
/// The lease is looked at with the time at which a request began, or a later one, and *before* the copy is judged by
/// what was applied: the other way round, what was applied in between would be missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    span: Duration,
    valid_until: Timestamp,
}

/// A question to the stream for what has come since the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Poll {
    /// Taken before it is sent.
    pub(crate) sent_at: Timestamp,
    /// For how long the stream waits before it says that nothing has come; zero if it does not wait.
    pub(crate) block: Duration,
}

/// What a poll has brought, all of which was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Brought {
    /// Nothing came while the stream waited.
    Nothing,
    /// All that had come.
    All,
    /// As much as was asked for; there may be more.
    Part,
    /// Something after a gap, or from a stream that began anew: what was in between will never come. Whoever gets this drops
    /// his copies, and those that are on their way to him.
    Gap,
}

impl Lease {
    /// A lease that begins with the first poll that brings everything, and reaches `span` beyond each.
    pub(crate) fn new(span: Duration) -> Self {
        Self { span, valid_until: Timestamp::from_millis(0) }
    }

    /// Whether copies may be used at `now`.
    pub(crate) fn is_valid(&self, now: Timestamp) -> bool {
        now < self.valid_until
    }

    /// When it ends, if no poll renews it.
    pub(crate) fn valid_until(&self) -> Timestamp {
        self.valid_until
    }

    /// Takes note of a poll that was answered at `now`, when all that it brought was applied.
    pub(crate) fn note(&mut self, poll: Poll, brought: Brought, now: Timestamp) {
        match brought {
            Brought::Nothing => self.renew(poll.waited_until(now)),
            Brought::All => self.renew(poll.sent_at),
            Brought::Part => {}
            Brought::Gap => self.end(),
        }
    }

    /// Ends it, until a poll brings everything again.
    pub(crate) fn end(&mut self) {
        self.valid_until = Timestamp::from_millis(0);
    }

    fn renew(&mut self, complete_at: Timestamp) {
        self.valid_until = self.valid_until.max(complete_at + self.span);
    }
}

impl Poll {
    /// The latest moment until which nothing had come for certain, if nothing came: the stream began to wait after the poll was
    /// sent. It did not wait for all of `block` if the answer is back earlier, because somebody has cut it short.
    fn waited_until(self, now: Timestamp) -> Timestamp {
        if now.since(self.sent_at) < self.block { self.sent_at } else { self.sent_at + self.block }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn noted(block: Duration, brought: Brought, now: u64) -> Lease {
        let mut lease = Lease::new(SECOND);
        lease.note(Poll { sent_at: at(1000), block }, brought, at(now));
        lease
    }

    #[test]
    fn nothing_is_valid_before_the_first_poll() {
        assert!(!Lease::new(SECOND).is_valid(at(0)));
    }

    #[test]
    fn a_poll_counts_from_when_it_was_sent() {
        for brought in [Brought::All, Brought::Nothing] {
            let lease = noted(Duration::ZERO, brought, 1800);
            assert!(lease.is_valid(at(1999)));
            assert!(!lease.is_valid(at(2000)));
        }
    }

    #[test]
    fn a_poll_that_waited_for_nothing_counts_from_the_end_of_the_wait() {
        let lease = noted(SECOND / 2, Brought::Nothing, 1600);
        assert!(lease.is_valid(at(2499)));
        assert!(!lease.is_valid(at(2500)));
    }

    #[test]
    fn a_wait_that_was_cut_short_or_brought_something_does_not_count() {
        for lease in [noted(SECOND / 2, Brought::Nothing, 1499), noted(SECOND / 2, Brought::All, 1499)] {
            assert!(lease.is_valid(at(1999)));
            assert!(!lease.is_valid(at(2000)));
        }
    }

    #[test]
    fn an_earlier_poll_does_not_shorten_it() {
        let mut lease = noted(SECOND / 2, Brought::Nothing, 1500);
        lease.note(Poll { sent_at: at(1400), block: SECOND }, Brought::All, at(1600));
        assert!(lease.is_valid(at(2499)));
    }

    #[test]
    fn part_of_what_has_come_is_not_enough() {
        assert!(!noted(Duration::ZERO, Brought::Part, 1000).is_valid(at(1000)));
    }

    #[test]
    fn a_gap_ends_it_until_the_next_poll() {
        let mut lease = noted(Duration::ZERO, Brought::All, 1000);
        lease.note(Poll { sent_at: at(1100), block: Duration::ZERO }, Brought::Gap, at(1100));
        assert!(!lease.is_valid(at(1100)));
        lease.note(Poll { sent_at: at(1200), block: Duration::ZERO }, Brought::All, at(1200));
        assert!(lease.is_valid(at(1200)));
    }
}
