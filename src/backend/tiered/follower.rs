//! The follower of an invalidation feed.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;

use super::lease::{Brought, Lease};
use super::{copies::Copies, pace::Pace};
use crate::{
    backend::{
        contract::Invalidation,
        feed::{FeedBatch, InvalidationFeed},
    },
    clock::{Clock, Timestamp},
    entry::epoch::Epoch,
};

/// How far this node has followed the announcements of a far store.
#[derive(Debug)]
pub(super) struct FeedFollower {
    span: Duration,
    clock: Clock,
    /// For those who only look: the lease's end, in milliseconds, and the clock as it was seen last.
    valid_until: AtomicU64,
    incarnation: AtomicU64,
    number: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    lease: Lease,
    /// The clock as it was seen last, and where the announcements end that were applied; `None` until there was a poll.
    seen: Option<(Epoch, u64)>,
}

impl FeedFollower {
    pub(super) fn new(span: Duration, clock: Clock) -> Self {
        let state = State { lease: Lease::new(span), seen: None };
        let [valid_until, incarnation, number] = Default::default();
        Self { span, clock, valid_until, incarnation, number, state: Mutex::new(state) }
    }

    /// If the lease is valid, an epoch of the far store that is past; a fetch that begins now may be born at it.
    pub(super) fn is_current(&self) -> Option<Epoch> {
        let valid_until = Timestamp::from_millis(self.valid_until.load(Ordering::Acquire));
        if !Lease::until(self.span, valid_until).is_valid(self.clock.now()) {
            return None;
        }
        // The incarnation first: its number was there before it. A number of a later one makes an epoch of which nothing is used.
        let incarnation = self.incarnation.load(Ordering::Acquire);
        Some(Epoch::of(incarnation, self.number.load(Ordering::Relaxed)))
    }

    /// Applies what a poll has brought, and renews the lease if that was everything.
    fn apply(&self, near: &Copies, sent_at: Timestamp, announced: &FeedBatch) -> Brought {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let brought = state.take(near, announced);
        state.lease.note(sent_at, brought);
        if let Some((epoch, _)) = state.seen {
            self.number.store(epoch.get(), Ordering::Relaxed);
            self.incarnation.store(epoch.incarnation(), Ordering::Release);
        }
        // What was applied is there for whoever sees the new end.
        self.valid_until.store(state.lease.valid_until().as_millis(), Ordering::Release);
        brought
    }

    fn last(&self) -> Option<u64> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).seen.map(|(_, last)| last)
    }
}

impl State {
    fn take(&mut self, near: &Copies, announced: &FeedBatch) -> Brought {
        let FeedBatch { epoch, last, invalidations } = announced;
        let followed = self.seen.filter(|(seen, _)| seen.incarnation() == epoch.incarnation());
        let Some((_, mut applied)) = followed else { return self.begin_anew(near, announced) };
        for (end, invalidation) in invalidations {
            near.invalidate(invalidation);
            applied = *end;
        }
        if invalidations.is_empty() && applied != *last {
            return self.begin_anew(near, announced);
        }
        self.seen = Some((*epoch, applied));
        if applied == *last { Brought::All } else { Brought::Part }
    }

    /// What came before is not known: nothing that was copied until now is used again.
    fn begin_anew(&mut self, near: &Copies, announced: &FeedBatch) -> Brought {
        near.invalidate(&Invalidation::Everything);
        self.seen = Some((announced.epoch, announced.last));
        Brought::Gap
    }
}

/// Follows the announcements of `far` until nobody has the copies any more.
pub(super) async fn follow<F: InvalidationFeed>(near: Weak<Copies>, far: Arc<F>, follower: Arc<FeedFollower>) {
    let mut pace = Pace::new(follower.span / 4);
    loop {
        let sent_at = follower.clock.now();
        // After a failure, the cheapest poll: it begins again, unless nothing was announced meanwhile.
        let last = follower.last().filter(|_| !pace.failed());
        let announced = far.invalidations_since(last).await;
        let Some(near) = near.upgrade() else { return };
        let brought = announced.ok().map(|announced| follower.apply(&near, sent_at, &announced));
        drop(near);
        sleep(pace.pause(brought)).await;
    }
}
