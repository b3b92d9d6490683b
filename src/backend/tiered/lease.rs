//! The lease of a near tier on its copies.

use std::time::Duration;

use crate::clock::Timestamp;

/// The time for which a near tier may answer from its own copies without contacting the far store.
///
/// An invalidation has returned once it is in the stream that all near tiers follow. Once a
/// poll's result has been applied, the node has seen every invalidation that completed before the poll was *sent*, by the node's
/// own clock, which needs no synchronization. From then on the node may be behind by at most `span`.
///
/// The lease is looked at with the time at which a request began, or a later one, and *before* the copy is judged by
/// what was applied: the other way round, what was applied in between would be missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    span: Duration,
    valid_until: Timestamp,
}

/// What a poll has brought, all of which was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Brought {
    /// All that had come; it may be nothing.
    All,
    /// As much as was asked for; there may be more.
    Part,
    /// Something after a gap, from a stream that began again, or only where the stream ends, since there was more than is worth
    /// reading: what was in between will never come. The node drops its copies, and those that are on their way to it.
    Gap,
}

impl Lease {
    /// A lease that begins with the first poll that brings everything, and reaches `span` beyond each.
    pub(crate) fn new(span: Duration) -> Self {
        Self { span, valid_until: Timestamp::from_millis(0) }
    }

    /// A lease as somebody else has read [`valid_until`](Self::valid_until).
    pub(crate) fn until(span: Duration, valid_until: Timestamp) -> Self {
        Self { span, valid_until }
    }

    /// Whether copies may be used at `now`.
    pub(crate) fn is_valid(&self, now: Timestamp) -> bool {
        now < self.valid_until
    }

    /// When it ends, if no poll renews it.
    pub(crate) fn valid_until(&self) -> Timestamp {
        self.valid_until
    }

    /// Takes note of a poll, when all that it brought was applied. `sent_at` was taken before it was sent.
    ///
    /// A poll that waits at the stream until something comes counts from when it was sent, too: a wait can be cut short, and an
    /// answer can be late, and together they look like a wait. So it should wait for a third of the span at most, for the
    /// next one to be back in time.
    pub(crate) fn note(&mut self, sent_at: Timestamp, brought: Brought) {
        match brought {
            Brought::All => self.valid_until = self.valid_until.max(sent_at + self.span),
            Brought::Part => {}
            Brought::Gap => self.end(),
        }
    }

    /// Ends it, until a poll brings everything again.
    pub(crate) fn end(&mut self) {
        self.valid_until = Timestamp::from_millis(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn noted(brought: Brought) -> Lease {
        let mut lease = Lease::new(SECOND);
        lease.note(at(1000), brought);
        lease
    }

    #[test]
    fn nothing_is_valid_before_the_first_poll() {
        assert!(!Lease::new(SECOND).is_valid(at(0)));
    }

    #[test]
    fn a_poll_counts_for_the_span() {
        let lease = noted(Brought::All);
        assert!(lease.is_valid(at(1999)));
        assert!(!lease.is_valid(at(2000)));
    }

    #[test]
    fn part_of_what_has_come_does_not_count() {
        let mut lease = noted(Brought::Part);
        assert!(!lease.is_valid(at(1000)));
        lease.note(at(1100), Brought::All);
        lease.note(at(1200), Brought::Part);
        assert!(lease.is_valid(at(2099)));
        assert!(!lease.is_valid(at(2100)));
    }

    #[test]
    fn a_gap_ends_it_until_the_next_poll() {
        let mut lease = noted(Brought::All);
        lease.note(at(1100), Brought::Gap);
        assert!(!lease.is_valid(at(1100)));
        lease.note(at(1200), Brought::All);
        assert!(lease.is_valid(at(1200)));
    }
}
