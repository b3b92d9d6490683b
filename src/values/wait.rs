//! Which caller computes a value, and which waits for the computation of another.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    call::{ValueCall, epoch_of},
    computation::Computation,
    compute::{Role, Run},
};
use crate::{
    cache::{
        fetch_lock::{Attempt, FetchLockGuard},
        flights::{FetchOutcome, Joined, LeaderGuard},
    },
    dependencies::Dependencies,
    entry::epoch::Epoch,
    fetch::collapse::Fetches,
    http::cache_status::{CacheStatus, Forward, Reason},
    stats::{fill_result::Trigger, in_flight::Waiting},
    timer::{self, timeout_at},
};

/// The next step of a caller that has waited.
enum Waited<T> {
    Answered(T),
    /// Compute the value. The epoch is that of the latest lookup.
    Compute(Role, Result<Epoch, Reason>),
}

/// The next step of a caller that had to agree with other nodes.
enum Agreed<T> {
    Answered(T),
    /// Compute the value, with the fetch lock if the store has given it.
    Compute(Option<FetchLockGuard>),
}

/// The result of a further lookup by a caller that waits.
enum LookedAgain<T> {
    Answered(T),
    NotFound(Epoch),
    /// The store has failed, in this way.
    Failed(Reason),
}

impl<T: Clone + Send + Sync + 'static> ValueCall<T> {
    /// Computes the value after a miss, or waits for another caller that does.
    pub(super) async fn fetch<E: Send + 'static>(
        self: Arc<Self>,
        epoch: Result<Epoch, Reason>,
        why: Forward,
        compute: impl Computation<T, E>,
    ) -> Result<T, E> {
        let Some(epoch) = epoch.ok().filter(|_| self.collapses()) else { return self.compute_alone(epoch, why, compute).await };
        let first = self.join(epoch);
        let waited = match self.join_older(first, epoch).await {
            Joined::Leader(leader) => Box::pin(self.lead(leader, epoch, why, Instant::now() + self.policy.wait_limit)).await,
            joined => {
                let _waiting = Waiting::begin(&self.cache.inner.statistics);
                Box::pin(self.wait(joined, epoch, why)).await
            }
        };
        match waited {
            Waited::Answered(value) => Ok(value),
            Waited::Compute(role, epoch) => {
                self.compute_for_caller(Run { role, epoch, why, trigger: Trigger::Request }, compute).await
            }
        }
    }

    /// Whether this call may share a computation.
    fn collapses(&self) -> bool {
        let (inner, digest) = (&self.cache.inner, self.key.digest());
        !Dependencies::is_computing(self.cache.store_address(), digest)
            && !inner.uncacheable.contains(digest, self.cache.now())
            // Waiting needs tokio's timer.
            && timer::is_on()
    }

    fn join(&self, epoch: Epoch) -> Joined {
        self.cache.inner.flights.join(self.key.as_bytes(), epoch, epoch)
    }

    /// Joins a computation that began at an earlier epoch if none of the known tags has been invalidated since. (If the computation has added
    /// one that has, the lookup after it notices.)
    async fn join_older(&self, joined: Joined, epoch: Epoch) -> Joined {
        let Joined::Outdated(began) = joined else { return joined };
        let flights = &self.cache.inner.flights;
        if self.cache.is_alive(began, &self.known_tags()).await {
            let joined = flights.join(self.key.as_bytes(), epoch, began);
            let Joined::Outdated(_) = joined else { return joined };
        }
        flights.supersede(self.key.as_bytes(), epoch)
    }

    /// Waits until this leader may compute: until other nodes agree, and until a slot of the label is free. A computation inside another takes
    /// no slot: that one may occupy the last one, and waits for it.
    async fn lead(&self, leader: LeaderGuard, mut epoch: Epoch, why: Forward, deadline: Instant) -> Waited<T> {
        // A value that stays in this process is of no use to other nodes.
        let across_nodes = self.policy.across_nodes.filter(|_| self.form.encode.is_some());
        let agreed = match across_nodes {
            Some(life) => self.agree_with_nodes(life, &mut epoch, why, deadline).await,
            None => Agreed::Compute(None),
        };
        let lock = match agreed {
            Agreed::Answered(value) => {
                leader.finish(FetchOutcome::Stored);
                return Waited::Answered(value);
            }
            Agreed::Compute(lock) => lock,
        };
        let slot = self.slot();
        if !Dependencies::is_in_computation() && !slot.try_take() {
            slot.take(deadline).await;
        }
        Waited::Compute(Role::Leader { leader, slot, _lock: lock }, Ok(epoch))
    }

    /// Waits until another node has stored the value, or until this node may compute it: it has acquired the lock, the other node took too
    /// long, or the store failed.
    async fn agree_with_nodes(&self, life: Duration, epoch: &mut Epoch, why: Forward, deadline: Instant) -> Agreed<T> {
        loop {
            let lock = match self.cache.try_lock_fetch(self.key.clone(), life, deadline).await {
                Attempt::Acquired(lock) => Some(lock),
                Attempt::Waited => None,
                Attempt::GivenUp => return Agreed::Compute(None),
            };
            // Look again even when the lock was acquired: its previous holder may have stored the value.
            match self.look_again(why, false).await {
                LookedAgain::Answered(value) => return Agreed::Answered(value),
                LookedAgain::NotFound(now) => *epoch = now,
                LookedAgain::Failed(_) => return Agreed::Compute(None),
            }
            if lock.is_some() {
                return Agreed::Compute(lock);
            }
        }
    }

    /// Waits until another computation has ended, or until this caller may compute. After each wait limit without an outcome, one of the
    /// callers computes as well. Once a computation has failed, a caller does not extend its wait. From the soft timeout on, a stale value is an
    /// answer.
    async fn wait(&self, joined: Joined, mut epoch: Epoch, why: Forward) -> Waited<T> {
        let mut fetches = Fetches::within(self.policy.wait_limit);
        let mut soft_timeout = self.policy.soft_timeout.filter(|_| why == Forward::Stale);
        let mut joined = Some(joined);
        loop {
            let next = match joined.take() {
                Some(joined) => joined,
                None => self.join_older(self.join(epoch), epoch).await,
            };
            match next {
                Joined::Leader(leader) => return self.lead(leader, epoch, why, fetches.deadline).await,
                Joined::Follower(follower) => fetches.followers.push(follower),
                Joined::Outdated(_) | Joined::Full => return Waited::Compute(Role::Passthrough, Ok(epoch)),
            }
            let mut outcome = None;
            if let Some(limit) = soft_timeout.take().filter(|limit| *limit < self.policy.wait_limit) {
                outcome = timer::timeout(limit, &mut fetches).await.ok();
                if outcome.is_none()
                    && let Some(stale) = self.stale_while_slow().await
                {
                    return Waited::Answered(stale);
                }
            }
            if outcome.is_none() {
                outcome = timeout_at(fetches.deadline, &mut fetches).await.ok();
            }
            let failed = matches!(outcome, Some(FetchOutcome::Failed | FetchOutcome::ServerError));
            match self.look_again(why, failed).await {
                LookedAgain::Answered(value) => return Waited::Answered(value),
                LookedAgain::Failed(reason) => return Waited::Compute(Role::Solo, Err(reason)),
                LookedAgain::NotFound(now) => epoch = now,
            }
            match outcome {
                Some(FetchOutcome::Uncacheable | FetchOutcome::ServerError) => return Waited::Compute(Role::Solo, Ok(epoch)),
                Some(FetchOutcome::Stored) => {}
                Some(FetchOutcome::Failed) => fetches.failed = true,
                None if fetches.failed => return Waited::Compute(Role::Passthrough, Ok(epoch)),
                None => {
                    fetches.deadline = Instant::now() + self.policy.wait_limit;
                    let latest = fetches.followers.last();
                    joined = latest.and_then(|latest| self.cache.inner.flights.overtake(self.key.as_bytes(), epoch, latest));
                }
            }
        }
    }

    /// Looks up what another caller has stored. If its computation has failed, a stale value is an answer, too.
    async fn look_again(&self, why: Forward, failed: bool) -> LookedAgain<T> {
        let read = match self.read().await {
            Ok(read) => read,
            Err(reason) => return LookedAgain::Failed(reason),
        };
        if let Some(found) = self.find(&read) {
            let ttl = found.freshness.ttl();
            let status = match found.freshness {
                freshness if freshness.is_fresh() => Some(CacheStatus::collapsed(why, ttl)),
                freshness if failed && freshness.is_usable_on_error() => Some(CacheStatus::stale(Reason::StaleOnError, ttl)),
                _ => None,
            };
            if let Some(status) = status {
                return LookedAgain::Answered(found.answer(&self.cache, self.label, status));
            }
        }
        epoch_of(&read).map_or_else(LookedAgain::Failed, LookedAgain::NotFound)
    }
}
