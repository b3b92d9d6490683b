//! Which caller computes a value, and which waits for the computation of another.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    call::{ValueCall, epoch_of},
    computation::Computation,
    compute::{Role, Run},
};
use crate::{
    cache::flights::{FetchOutcome, Joined, LeaderGuard},
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
        let (role, epoch) = match self.join_older(first, epoch).await {
            Joined::Leader(leader) => (self.leader_role(leader, Instant::now() + self.policy.wait_limit).await, Ok(epoch)),
            joined => {
                let waiting = Waiting::begin(&self.cache.inner.statistics);
                let waited = Box::pin(self.wait(joined, epoch, why)).await;
                drop(waiting);
                match waited {
                    Waited::Answered(value) => return Ok(value),
                    Waited::Compute(role, epoch) => (role, epoch),
                }
            }
        };
        self.compute_detached(Run { role, epoch, why, trigger: Trigger::Request }, compute).await
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

    /// Takes a slot of the label. A computation inside another takes none: that one may occupy the last slot, and waits for it.
    async fn leader_role(&self, leader: LeaderGuard, deadline: Instant) -> Role {
        let slot = self.slot();
        if !Dependencies::is_in_computation() && !slot.try_take() {
            slot.take(deadline).await;
        }
        Role::Leader(leader, slot)
    }

    /// Waits until another computation has ended, or until this caller may compute. After each wait limit without an outcome, one of the
    /// callers computes as well. Once a computation has failed, a caller does not extend its wait.
    async fn wait(&self, joined: Joined, mut epoch: Epoch, why: Forward) -> Waited<T> {
        let mut fetches = Fetches::within(self.policy.wait_limit);
        let mut joined = Some(joined);
        loop {
            let next = match joined.take() {
                Some(joined) => joined,
                None => self.join_older(self.join(epoch), epoch).await,
            };
            match next {
                Joined::Leader(leader) => return Waited::Compute(self.leader_role(leader, fetches.deadline).await, Ok(epoch)),
                Joined::Follower(follower) => fetches.followers.push(follower),
                Joined::Outdated(_) | Joined::Full => return Waited::Compute(Role::Passthrough, Ok(epoch)),
            }
            let outcome = timeout_at(fetches.deadline, &mut fetches).await.ok();
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
