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
    /// The latest epoch of the far store, and the position up to which invalidations were applied; `None` before the first poll.
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

    /// Returns a past epoch of the far store if the lease is valid. A fetch that begins after this call may be born at it.
    pub(super) fn leased_epoch(&self) -> Option<Epoch> {
        let valid_until = Timestamp::from_millis(self.valid_until.load(Ordering::Acquire));
        if !Lease::until(self.span, valid_until).is_valid(self.clock.now()) {
            return None;
        }
        // The incarnation is read first, since its number was written before it. Combined with the number of a later incarnation, it is
        // an epoch of an ended incarnation, at which nothing is valid.
        let incarnation = self.incarnation.load(Ordering::Acquire);
        Some(Epoch::of(incarnation, self.number.load(Ordering::Relaxed)))
    }

    /// Applies the result of a poll, and renews the lease if the result is complete.
    fn apply(&self, near: &NearCopies, sent_at: Timestamp, batch: &FeedBatch) -> PollResult {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = state.take(near, batch);
        state.lease.record(sent_at, result);
        if let Some((epoch, _)) = state.seen {
            self.number.store(epoch.get(), Ordering::Relaxed);
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
        let Some((_, mut applied)) = followed else { return self.begin_again(near, batch) };
        for (end, invalidation) in invalidations {
            near.invalidate(invalidation);
            applied = *end;
        }
        if invalidations.is_empty() && applied != *last {
            return self.begin_again(near, batch);
        }
        self.seen = Some((*epoch, applied));
        if applied == *last { PollResult::All } else { PollResult::Part }
    }

    /// Drops all copies, since earlier invalidations may be missing, and continues at the end of the feed.
    fn begin_again(&mut self, near: &NearCopies, batch: &FeedBatch) -> PollResult {
        near.invalidate(&Invalidation::Everything);
        self.seen = Some((batch.epoch, batch.last));
        PollResult::Gap
    }
}

/// Follows the feed of `far` until the near copies are dropped.
pub(super) async fn follow<F: InvalidationFeed>(near: Weak<NearCopies>, far: Arc<F>, follower: Arc<FeedFollower>) {
    let mut pace = Pace::new(follower.span / 4);
    loop {
        let sent_at = follower.clock.now();
        // After a failure, send the cheapest poll, which reads only the end: it is a gap, unless nothing was published meanwhile.
        let last = follower.last().filter(|_| !pace.failed());
        let batch = far.invalidations_since(last).await;
        let Some(near) = near.upgrade() else { return };
        let result = batch.ok().map(|batch| follower.apply(&near, sent_at, &batch));
        drop(near);
        sleep(pace.pause(result)).await;
    }
}
