//! One computation of a value, and the storing of its result.

use std::{any::Any, panic::resume_unwind, pin::pin, sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::Instrument as _;

use super::{call::ValueCall, computation::Computation};
use crate::{
    cache::{
        detached::{Detached, OnDisconnect, until},
        fetch_lock::FetchLockGuard,
        fetch_slots::FetchSlot,
        flights::{FetchOutcome, LeaderGuard},
        work::WorkKind,
    },
    clock::Timestamp,
    dependencies::{Collected, Dependencies, UsedValue},
    entry::{
        epoch::Epoch,
        stored::{Content, Stored},
        value::{StoredValue, ValueData},
    },
    fetch::catch_panic::catch_panic,
    http::cache_status::{CacheStatus, Forward, Reason},
    policy::limits::Limits,
    stats::fill_result::{FillResult, Trigger},
    tag::{Tag, deduplicate},
    timer,
};

/// The role of a caller that computes.
pub(super) enum Role {
    /// Its value is also for the callers that wait for it.
    Leader {
        leader: LeaderGuard,
        slot: Arc<FetchSlot>,
        /// Released when the computation has ended.
        _lock: Option<FetchLockGuard>,
    },
    /// Its value is for itself, and is stored.
    Solo,
    /// Its value is for itself and is not stored, because another computation may store one at any moment.
    Passthrough,
}

impl Role {
    fn finish(self, outcome: FetchOutcome) {
        if let Self::Leader { leader, .. } = self {
            leader.finish(outcome);
        }
    }
}

/// What is known of a computation when it begins.
pub(super) struct Run {
    pub(super) role: Role,
    /// Read before the computation; the error is the reason why its value cannot be stored.
    pub(super) epoch: Result<Epoch, Reason>,
    pub(super) why: Forward,
    pub(super) trigger: Trigger,
}

/// How an entry of a value will look.
struct StoragePlan {
    born: Epoch,
    tags: Vec<Tag>,
    fresh_until: Timestamp,
}

/// The rule for a computation whose caller has left: that for handlers.
#[derive(Clone)]
struct Abandoned(Arc<FetchSlot>);

impl OnDisconnect for Abandoned {
    const NEEDS_NO_TIMER: bool = false;

    fn on_disconnect(&self) -> Option<Instant> {
        self.0.on_disconnect()
    }

    fn on_limit(&self) {
        warn_of_limit(self.0.path());
    }
}

fn warn_of_limit(label: Option<&str>) {
    tracing::warn!(
        label,
        "the computation of a cached value for which no caller waits exceeded its time limit and was dropped: \
         `Cache::with_abandoned_fetch_limit` sets the limit"
    );
}

type Outcome<T, E> = Result<Result<T, E>, Box<dyn Any + Send>>;

impl<T: Clone + Send + Sync + 'static> ValueCall<T> {
    /// Computes while the cache is switched off.
    pub(super) async fn compute_without_cache<E: Send + 'static>(
        self: Arc<Self>,
        compute: impl Computation<T, E>,
    ) -> Result<T, E> {
        self.add_known_tags_to_run();
        let result = compute.run().await;
        match result {
            Ok(_) => {
                let status = CacheStatus::not_stored(Forward::Bypass, Reason::SwitchedOff);
                self.cache.inner.statistics.value_returned(self.label, &status);
            }
            Err(_) => self.cache.inner.statistics.value_failed(self.label),
        }
        result
    }

    /// Computes for this caller alone; without an `epoch`, the value is not stored.
    pub(super) async fn compute_alone<E: Send + 'static>(
        self: Arc<Self>,
        epoch: Result<Epoch, Reason>,
        why: Forward,
        compute: impl Computation<T, E>,
    ) -> Result<T, E> {
        self.compute_for_caller(Run { role: Role::Solo, epoch, why, trigger: Trigger::Request }, compute).await
    }

    /// Computes. If others wait for the value, the computation continues without its caller; one that is slower than the soft timeout
    /// continues after a stale value has been returned.
    pub(super) async fn compute_for_caller<E: Send + 'static>(
        self: Arc<Self>,
        run: Run,
        compute: impl Computation<T, E>,
    ) -> Result<T, E> {
        let soft_timeout = self.policy.soft_timeout.filter(|_| run.why == Forward::Stale && timer::is_on());
        let slot = match (&run.role, soft_timeout) {
            (Role::Leader { slot, .. }, _) => Arc::clone(slot),
            (Role::Solo | Role::Passthrough, Some(_)) => self.slot(),
            (Role::Solo | Role::Passthrough, None) => return self.compute(run, compute).await,
        };
        let computing = Box::pin(Arc::clone(&self).compute(run, compute));
        let mut computing = pin!(Detached::new(computing, Abandoned(slot)));
        if let Some(limit) = soft_timeout {
            if let Ok(result) = timer::timeout(limit, computing.as_mut()).await {
                return result;
            }
            if let Some(stale) = self.stale_while_slow().await {
                // Dropping `computing` here detaches it: it stores its value in the background.
                return Ok(stale);
            }
        }
        computing.await
    }

    /// Computes for no caller, unless the value is being computed, its label has no free slot, or the cache is being drained.
    pub(super) fn refresh_in_background<E: Send + 'static>(
        self: Arc<Self>,
        epoch: Result<Epoch, Reason>,
        trigger: Trigger,
        compute: impl Computation<T, E>,
    ) {
        let inner = &self.cache.inner;
        let Some(epoch) = epoch.ok().filter(|_| !inner.work.is_draining() && timer::is_on()) else { return };
        let Some(leader) = inner.flights.lead(self.key.as_bytes(), epoch) else { return };
        let slot = self.slot();
        let Some(deadline) = slot.take_in_background() else { return };
        let on_limit = {
            let slot = Arc::clone(&slot);
            move || warn_of_limit(slot.path())
        };
        let run = Run { role: Role::Leader { leader, slot, _lock: None }, epoch: Ok(epoch), why: Forward::Stale, trigger };
        let refreshing = async move {
            if self.compute(run, compute).await.is_err() {
                tracing::debug!("a cached value could not be computed in the background");
            }
        };
        tokio::spawn(until(deadline, on_limit, refreshing).in_current_span());
    }

    /// Computes the value, and stores it if that is possible.
    async fn compute<E: Send + 'static>(self: Arc<Self>, run: Run, compute: impl Computation<T, E>) -> Result<T, E> {
        let began = self.cache.now();
        let dependencies = Dependencies::of_computation(self.cache.store_address(), self.key.digest());
        let outcome: Outcome<T, E> = {
            // The function itself runs inside, too.
            let computing = pin!(async move { compute.run().await });
            catch_panic(pin!(dependencies.polled_in(computing))).await
        };
        let took = self.cache.now().since(began);
        match outcome {
            Ok(Ok(value)) => Ok(self.on_value(value, &dependencies.close(), run, took).await),
            failure => self.on_failure(failure, run).await,
        }
    }

    /// Returns a stale value if there is one that may be used, otherwise the failure.
    async fn on_failure<E>(&self, failure: Outcome<T, E>, run: Run) -> Result<T, E> {
        if run.why == Forward::Stale
            && self.has_caller(run.trigger)
            && let Ok(read) = self.read().await
            && let Some(found) = self.find(&read)
            && found.freshness.is_usable_on_error()
        {
            run.role.finish(FetchOutcome::ServerError);
            let status = CacheStatus::stale(Reason::StaleOnError, found.freshness.ttl());
            return Ok(found.answer(&self.cache, self.label, status));
        }
        // What the caller makes of the failure depends on the same data.
        self.add_known_tags_to_run();
        if self.has_caller(run.trigger) {
            self.cache.inner.statistics.value_failed(self.label);
        }
        match failure {
            Ok(result) => {
                run.role.finish(FetchOutcome::ServerError);
                result
            }
            // A follower computes instead.
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Stores the value if that is possible, and counts the computation.
    async fn on_value(&self, value: T, used: &Collected, run: Run, took: Duration) -> T {
        let now = self.cache.now();
        let tags = self.all_tags(used);
        self.add_to_run(
            tags.as_deref().map_err(|reason| *reason),
            run.epoch.and_then(|epoch| used.born(epoch)).ok(),
            now + self.policy.ttl,
        );
        let outcome = match tags.and_then(|tags| self.storage_plan(tags, used, &run, now)) {
            Ok(plan) => self.store(value.clone(), plan, now, took).await,
            Err(reason) => Err(reason),
        };
        let statistics = &self.cache.inner.statistics;
        let (result, status) = match outcome {
            Ok(ttl) => (FillResult::Stored, CacheStatus::stored(run.why, ttl)),
            Err(reason) => (FillResult::NotStored(reason), CacheStatus::not_stored(run.why, reason)),
        };
        statistics.value_computed(self.label, run.trigger, result, took);
        if self.has_caller(run.trigger) {
            statistics.value_returned(self.label, &status);
        }
        self.finish(run.role, outcome.map(drop));
        value
    }

    /// Returns every tag of the value; the error is the reason why it cannot be tagged.
    fn all_tags(&self, used: &Collected) -> Result<Vec<Tag>, Reason> {
        let space = self.cache.space();
        let names = self.policy.tags.iter().chain(&used.names);
        let mut tags = names.map(|tag| space.tag(tag).map_err(|_| Reason::InvalidTag)).collect::<Result<Vec<_>, _>>()?;
        tags.extend_from_slice(&used.tags);
        tags.extend(space.everything());
        deduplicate(&mut tags);
        if tags.len() > Limits::default().tags { Err(Reason::TooManyTags) } else { Ok(tags) }
    }

    fn storage_plan(&self, tags: Vec<Tag>, used: &Collected, run: &Run, now: Timestamp) -> Result<StoragePlan, Reason> {
        self.cache.may_store()?;
        if matches!(run.role, Role::Passthrough) {
            return Err(Reason::WaitLimit);
        }
        let born = used.born(run.epoch?)?;
        let lifetime = self.policy.lifetime(fastrand::f64());
        if (lifetime + self.policy.stale_windows().longest()).is_zero() {
            return Err(Reason::ZeroTtl);
        }
        Ok(StoragePlan { born, tags, fresh_until: used.fresh_until(now + lifetime, now)? })
    }

    /// Stores the value, and returns its freshness in whole seconds.
    async fn store(&self, value: T, plan: StoragePlan, now: Timestamp, took: Duration) -> Result<i64, Reason> {
        let _unfinished = self.cache.inner.work.begin(WorkKind::Store);
        let StoragePlan { born, tags, fresh_until } = plan;
        let content = Content::Value(StoredValue {
            data: ValueData::computed(value, self.form.encode, self.form.weigh),
            generated: now,
            fresh_until,
            stale: self.policy.stale_windows(),
            compute_millis: u32::try_from(took.as_millis()).unwrap_or(u32::MAX),
        });
        self.cache.put(&self.key, Arc::new(Stored::new(born, tags, content))).await?;
        Ok(i64::try_from(fresh_until.seconds_since(now)).unwrap_or(i64::MAX))
    }

    /// Reports to the callers that wait, and remembers a value that cannot be stored.
    fn finish(&self, role: Role, outcome: Result<(), Reason>) {
        let (uncacheable, digest) = (&self.cache.inner.uncacheable, self.key.digest());
        match outcome {
            // Stale as soon as it is stored: it is nothing to wait for.
            Ok(()) if self.policy.ttl.is_zero() => {
                uncacheable.remember(digest, self.cache.now());
                role.finish(FetchOutcome::Uncacheable);
            }
            Ok(()) => {
                if let Role::Solo = role {
                    uncacheable.forget(digest);
                }
                role.finish(FetchOutcome::Stored);
            }
            Err(Reason::Invalidated) => role.finish(FetchOutcome::Failed),
            Err(reason) => {
                if reason.concerns_response() {
                    uncacheable.remember(digest, self.cache.now());
                }
                role.finish(FetchOutcome::Uncacheable);
            }
        }
    }

    /// Lets the run in which this computation takes place depend on its value, or refuses it if the value cannot be tagged. `valid_at` is
    /// when it was born; `None` if nothing is known but that its computation began in this run.
    fn add_to_run(&self, tags: Result<&[Tag], Reason>, valid_at: Option<Epoch>, fresh_until: Timestamp) {
        let Some(run) = Dependencies::current() else { return };
        match tags {
            Ok(tags) => {
                run.add_value(UsedValue { store: self.cache.store_address(), tags, valid_at, fresh_until, is_stale: false });
            }
            Err(reason) => run.refuse(reason),
        }
    }

    /// Lets the run depend on the tags that the value would have had.
    fn add_known_tags_to_run(&self) {
        self.add_to_run(Ok(&self.known_tags()), None, Timestamp::from_millis(u64::MAX));
    }
}
