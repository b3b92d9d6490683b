//! The lease of a near tier on its copies.

use std::time::Duration;

use crate::clock::Timestamp;

/// The time for which a near tier may answer from its own copies without contacting the far store.
///
/// An invalidation returns only after it was added to the feed that all near tiers follow. Once a poll's result has been applied,
/// the node has seen every invalidation that completed before the poll was *sent*. That moment is read from the node's own clock,
/// so the clocks of nodes need not agree. From then on, the node is behind by at most `span`.
///
/// A reader must check the lease *before* it checks the copy, with the time at which its request began or a later one. In the other
/// order, it would miss the invalidations that are applied between the two checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    span: Duration,
    valid_until: Timestamp,
}

/// The completeness of a poll's result, all of which has been applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum PollResult {
    /// Every invalidation that was published before the poll, possibly none.
    All,
    /// The first part; more invalidations may have been published.
    Part,
    /// Invalidations are missing and will never arrive: the feed was trimmed, it began again, or the node was too far behind to read
    /// it. The node drops its copies, and those that it is still reading.
    Gap,
}

impl Lease {
    /// Creates a lease that begins with the first complete poll; each complete poll extends it by `span`.
    pub(crate) fn new(span: Duration) -> Self {
        Self { span, valid_until: Timestamp::from_millis(0) }
    }

    /// Recreates a lease from its [`valid_until`](Self::valid_until), as read by another thread.
    pub(crate) fn until(span: Duration, valid_until: Timestamp) -> Self {
        Self { span, valid_until }
    }

    /// Returns whether copies may be used at `now`.
    pub(crate) fn is_valid(&self, now: Timestamp) -> bool {
        now < self.valid_until
    }

    /// Returns whether copies may still be used at `now` because the store cannot be reached: until `grace` has passed since the poll
    /// that renewed the lease last was sent. With a grace that is shorter than the span, the lease alone counts.
    pub(crate) fn is_in_grace(&self, grace: Duration, now: Timestamp) -> bool {
        self.agreed_at().is_some_and(|agreed_at| now < agreed_at + grace)
    }

    /// Returns the latest time at which copies agreed with the store for sure; `None` before the first complete poll and after a gap.
    pub(crate) fn agreed_at(&self) -> Option<Timestamp> {
        (self.valid_until > Timestamp::from_millis(0)).then(|| self.valid_until - self.span)
    }

    /// Returns the time at which the lease ends, unless a poll renews it.
    pub(crate) fn valid_until(&self) -> Timestamp {
        self.valid_until
    }

    /// Records a poll after its result has been applied. `sent_at` was read before the poll was sent.
    ///
    /// For a poll that blocks until something is published, `sent_at` counts, too: a wait can be cut short and its reply delayed,
    /// which looks like a long wait. Such a poll should block for at most a third of the span, so that the next one returns in time.
    pub(crate) fn record(&mut self, sent_at: Timestamp, result: PollResult) {
        match result {
            PollResult::All => self.valid_until = self.valid_until.max(sent_at + self.span),
            PollResult::Part => {}
            PollResult::Gap => self.end(),
        }
    }

    /// Ends the lease until the next complete poll.
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

    fn lease_after(result: PollResult) -> Lease {
        let mut lease = Lease::new(SECOND);
        lease.record(at(1000), result);
        lease
    }

    #[test]
    fn nothing_is_valid_before_the_first_poll() {
        assert!(!Lease::new(SECOND).is_valid(at(0)));
    }

    #[test]
    fn a_complete_poll_renews_the_lease_for_its_span() {
        let lease = lease_after(PollResult::All);
        assert!(lease.is_valid(at(1999)));
        assert!(!lease.is_valid(at(2000)));
    }

    #[test]
    fn grace_counts_from_the_poll_and_not_from_the_end_of_the_lease() {
        let lease = lease_after(PollResult::All);
        assert!(lease.is_in_grace(5 * SECOND, at(5999)) && !lease.is_in_grace(5 * SECOND, at(6000)));
        assert!(!lease.is_in_grace(Duration::ZERO, at(1000)));
        assert!(lease.is_in_grace(Duration::MAX, at(u64::MAX - 1)));
    }

    #[test]
    fn there_is_no_grace_without_a_complete_poll_or_after_a_gap() {
        assert!(!Lease::new(SECOND).is_in_grace(Duration::MAX, at(0)));
        assert!(!lease_after(PollResult::Part).is_in_grace(Duration::MAX, at(1000)));
        let mut lease = lease_after(PollResult::All);
        lease.record(at(1100), PollResult::Gap);
        assert!(!lease.is_in_grace(Duration::MAX, at(1100)));
    }

    #[test]
    fn an_incomplete_poll_does_not_renew_the_lease() {
        let mut lease = lease_after(PollResult::Part);
        assert!(!lease.is_valid(at(1000)));
        lease.record(at(1100), PollResult::All);
        lease.record(at(1200), PollResult::Part);
        assert!(lease.is_valid(at(2099)));
        assert!(!lease.is_valid(at(2100)));
    }

    #[test]
    fn a_gap_ends_the_lease_until_the_next_complete_poll() {
        let mut lease = lease_after(PollResult::All);
        lease.record(at(1100), PollResult::Gap);
        assert!(!lease.is_valid(at(1100)));
        lease.record(at(1200), PollResult::All);
        assert!(lease.is_valid(at(1200)));
    }
}
