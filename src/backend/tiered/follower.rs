//! The follower of an invalidation feed.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;

use super::lease::{Lease, PollResult};
use super::{copies::NearCopies, pace::Pace};
use crate::{
    backend::{
        contract::Invalidation,
        feed::{FeedBatch, InvalidationFeed},
    },
    clock::{Clock, Timestamp},
    entry::epoch::Epoch,
    error::Error,
};

/// The position of this node in the invalidation feed of a far store, and the lease that follows from it.
#[derive(Debug)]
pub(super) struct FeedFollower {
    span: Duration,
    clock: Clock,
    /// Copies of parts of `state` for readers, which take no lock: the end of the lease in milliseconds, and the latest epoch.
    valid_until: AtomicU64,
    incarnation: AtomicU64,
    number: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    lease: Lease,
    /// The latest epoch up to which all invalidations were applied, and the position in the feed; `None` before the first poll.
    seen: Option<(Epoch, u64)>,
}

impl FeedFollower {
    pub(super) fn new(span: Duration, clock: Clock) -> Self {
        let state = State { lease: Lease::new(span), seen: None };
        let [valid_until, incarnation, number] = Default::default();
        Self { span, clock, valid_until, incarnation, number, state: Mutex::new(state) }
    }

    pub(super) fn span(&self) -> Duration {
        self.span
    }

    /// Returns the lease as it is now.
    pub(super) fn lease(&self) -> Lease {
        Lease::until(self.span, Timestamp::from_millis(self.valid_until.load(Ordering::Acquire)))
    }

    /// Returns a past epoch of the far store if the lease is valid: all invalidations up to it are applied here. A fetch that begins after this
    /// call may be born at it.
    pub(super) fn leased_epoch(&self) -> Option<Epoch> {
        if !self.lease().is_valid(self.clock.now()) {
            return None;
        }
        // The incarnation is read first, since its number was written before it. Combined with the number of a later incarnation, it is
        // an epoch of an ended incarnation, at which nothing is valid.
        let incarnation = self.incarnation.load(Ordering::Acquire);
        Some(Epoch::of(incarnation, self.number.load(Ordering::Acquire)))
    }

    /// Applies the result of a poll, and renews the lease if the result is complete.
    fn apply(&self, near: &NearCopies, sent_at: Timestamp, batch: &FeedBatch) -> PollResult {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = state.take(near, batch);
        state.lease.record(sent_at, result);
        if let Some((epoch, _)) = state.seen {
            // Released after the invalidations up to it were applied: what is read later at this epoch takes them into account.
            self.number.store(epoch.get(), Ordering::Release);
            self.incarnation.store(epoch.incarnation(), Ordering::Release);
        }
        // Released last: a reader that sees the new end also sees the invalidations that were applied.
        self.valid_until.store(state.lease.valid_until().as_millis(), Ordering::Release);
        result
    }

    fn last(&self) -> Option<u64> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).seen.map(|(_, last)| last)
    }
}

impl State {
    fn take(&mut self, near: &NearCopies, batch: &FeedBatch) -> PollResult {
        let FeedBatch { epoch, last, invalidations } = batch;
        let followed = self.seen.filter(|(seen, _)| seen.incarnation() == epoch.incarnation());
        let Some((seen, mut applied)) = followed else { return self.begin_again(near, batch) };
        for (end, invalidation) in invalidations {
            near.invalidate(invalidation);
            applied = *end;
        }
        if invalidations.is_empty() && applied != *last {
            return self.begin_again(near, batch);
        }
        // The store's epoch is of now. Part of what led to it may be yet to come.
        if applied == *last {
            self.seen = Some((*epoch, applied));
            PollResult::All
        } else {
            self.seen = Some((seen, applied));
            PollResult::Part
        }
    }

    /// Drops all copies, since earlier invalidations may be missing, and continues at the end of the feed.
    fn begin_again(&mut self, near: &NearCopies, batch: &FeedBatch) -> PollResult {
        near.invalidate(&Invalidation::Everything);
        self.seen = Some((batch.epoch, batch.last));
        PollResult::Gap
    }
}

/// How often a node announces its lease. An announcement holds for twice as long, and for the lease.
const ANNOUNCED_EVERY: Duration = Duration::from_secs(10);

/// Follows the feed of `far` until the near copies are dropped.
pub(super) async fn follow<F: InvalidationFeed>(near: Weak<NearCopies>, far: Arc<F>, follower: Arc<FeedFollower>) {
    let mut pace = Pace::new(follower.span / 4);
    let mut announced_at = None;
    loop {
        // After a failure, send the cheapest poll, which reads only the end: it is a gap, unless nothing was published meanwhile.
        let last = follower.last().filter(|_| !pace.failed());
        let polled = poll(&*far, &follower, last, &mut announced_at).await;
        let Some(near) = near.upgrade() else { return };
        let result = polled.ok().map(|(sent_at, batch)| follower.apply(&near, sent_at, &batch));
        drop(near);
        if result == Some(PollResult::Gap) {
            // The announcement may have been lost together with the feed.
            announced_at = None;
        }
        sleep(pace.pause(result)).await;
    }
}

/// Polls the feed, and returns the batch with the time before the poll was sent. Before that, the lease that the poll may renew is
/// announced: an invalidation that is published later has a receipt with the lease.
async fn poll<F: InvalidationFeed>(
    far: &F,
    follower: &FeedFollower,
    last: Option<u64>,
    announced_at: &mut Option<Timestamp>,
) -> Result<(Timestamp, FeedBatch), Error> {
    let now = follower.clock.now();
    if announced_at.is_none_or(|at| now.since(at) >= ANNOUNCED_EVERY) {
        far.announce_lease(follower.span, follower.span.saturating_add(2 * ANNOUNCED_EVERY)).await?;
        *announced_at = Some(now);
    }
    let sent_at = follower.clock.now();
    Ok((sent_at, far.invalidations_since(last).await?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{backend::memory::Memory, clock::ManualClock, tag::Tag};

    #[test]
    fn epoch_of_a_lease_grows_only_when_everything_up_to_it_is_applied() {
        let clock = ManualClock::new();
        let near = NearCopies::new(Memory::new(1 << 20));
        let follower = FeedFollower::new(Duration::from_secs(1), Clock::from(&clock));
        let poll = |number, last, end: Option<u64>| {
            let epoch = Epoch::of(7, number);
            let invalidations = end.map(|end| (end, Invalidation::Tags(vec![Tag::unchecked("t:a")])));
            let batch = FeedBatch::new(epoch, last, invalidations.into_iter().collect());
            (follower.apply(&near, follower.clock.now(), &batch), follower.leased_epoch().map(Epoch::get))
        };
        assert_eq!(poll(10, 5, None), (PollResult::Gap, None));
        assert_eq!(poll(10, 5, None), (PollResult::All, Some(10)));
        // The clock of the store is at 20, but what happened between 6 and 8 has not arrived.
        assert_eq!(poll(20, 8, Some(6)), (PollResult::Part, Some(10)));
        assert_eq!(poll(21, 8, Some(8)), (PollResult::All, Some(21)));
    }
}
