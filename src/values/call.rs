//! One call for a value: its lookup, and what the lookup means.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{computation::Computation, form::Form, key::value_key, policy::ValuePolicy};
use crate::{
    backend::{contract::ReadOutcome, validity::Validity},
    cache::{
        Cache,
        fetch_slots::FetchSlot,
        outage_log::{Effect, report},
    },
    clock::Timestamp,
    dependencies::{Dependencies, UsedValue},
    entry::{
        epoch::Epoch,
        stored::{Content, FreshnessState, Stored},
        value::{DecodeValue, StoredValue},
    },
    http::cache_status::{CacheStatus, Forward, Reason},
    key::Key,
    lookup::store::failure_of,
    policy::refresh_ahead::is_due,
    stats::{fill_result::Trigger, route_table::RouteId},
    tag::Tag,
};

/// A call that the first lookup did not answer at once; shared with the computation, which may outlive it.
pub(super) struct ValueCall<T> {
    pub(super) cache: Cache,
    pub(super) name: Box<str>,
    pub(super) key: Key,
    pub(super) policy: ValuePolicy,
    pub(super) form: Form<T>,
    /// Its place in the statistics.
    pub(super) label: RouteId,
    /// Whether the caller has its result, while the computation continues.
    is_answered: AtomicBool,
}

/// What a lookup has found.
pub(super) enum Found<'r, T> {
    Value(FoundValue<'r, T>),
    /// A value of another type, with the name of that type.
    OtherType(&'r str),
    Nothing,
}

/// A value that was found, and may be used as far as its tags are concerned.
pub(super) struct FoundValue<'r, T> {
    read: &'r ReadOutcome,
    stored: &'r Stored,
    held: &'r StoredValue,
    value: &'r T,
    pub(super) freshness: FreshnessState,
    now: Timestamp,
}

/// Returns the value that was read.
#[inline]
pub(super) fn find<'r, T: Send + Sync + 'static>(
    cache: &Cache,
    read: &'r ReadOutcome,
    decode: Option<DecodeValue<T>>,
) -> Found<'r, T> {
    let Some((stored, validity)) = &read.found else { return Found::Nothing };
    let Content::Value(held) = stored.content() else { return Found::Nothing };
    let Some(value) = held.data.get(decode) else { return Found::OtherType(held.data.type_name()) };
    let now = cache.now();
    let freshness = FreshnessState::of_value(held, now);
    let freshness = match validity {
        Validity::Valid => freshness,
        Validity::Stale { since } => freshness.expired(*since),
    };
    Found::Value(FoundValue { read, stored, held, value, freshness, now })
}

impl<T: Clone> FoundValue<'_, T> {
    /// Whether a fresh value is to be computed again before it becomes stale.
    #[inline]
    pub(super) fn is_due(&self, policy: &ValuePolicy) -> bool {
        policy
            .refresh_ahead
            .is_some_and(|eagerness| is_due(eagerness, self.held.compute_millis, self.held.fresh_until.since(self.now)))
    }

    /// Returns the value as a hit, and counts the call; `is_in_run` says whether it takes place in a run, which then depends on the value.
    #[inline]
    pub(super) fn hit(&self, cache: &Cache, policy: &ValuePolicy, is_in_run: bool) -> T {
        cache.inner.statistics.value_hit(&policy.label, self.held.compute_millis);
        if is_in_run {
            self.add_to_run(cache);
        }
        self.value.clone()
    }

    /// Returns the value, counts the call, and lets the run in which it takes place depend on the value.
    #[inline]
    pub(super) fn answer(&self, cache: &Cache, label: RouteId, status: CacheStatus) -> T {
        let status = status.answered_from(self.held.age(self.now), self.held.compute_millis);
        cache.inner.statistics.value_returned(label, &status);
        if Dependencies::is_collecting() {
            self.add_to_run(cache);
        }
        self.value.clone()
    }

    #[inline]
    fn add_to_run(&self, cache: &Cache) {
        add_to_run(cache, self.read, self.stored, self.freshness.until(), !self.freshness.is_fresh());
    }
}

impl<T: Clone + Send + Sync + 'static> ValueCall<T> {
    pub(super) fn new(cache: &Cache, name: &str, policy: &ValuePolicy, form: Form<T>) -> Self {
        let label = cache.inner.statistics.value_label(&policy.label);
        Self {
            cache: cache.clone(),
            name: name.into(),
            key: value_key(cache, name),
            policy: policy.clone(),
            form,
            label,
            is_answered: AtomicBool::new(false),
        }
    }

    /// Looks up in a store that has to wait for a reply, and computes after a miss.
    pub(super) async fn look_up<E: Send + 'static>(self: Arc<Self>, compute: impl Computation<T, E>) -> Result<T, E> {
        match self.read().await {
            Ok(read) => self.after_read(read, compute).await,
            Err(reason) => self.compute_alone(Err(reason), Forward::UriMiss, compute).await,
        }
    }

    /// Answers from what was read, or computes.
    pub(super) async fn after_read<E: Send + 'static>(
        self: Arc<Self>,
        read: ReadOutcome,
        compute: impl Computation<T, E>,
    ) -> Result<T, E> {
        let epoch = epoch_of(&read);
        let why = match self.find(&read) {
            Some(found) if found.freshness.is_fresh() => {
                let value = found.hit(&self.cache, &self.policy, Dependencies::is_collecting());
                if found.is_due(&self.policy) {
                    self.refresh_in_background(epoch, Trigger::Ahead, compute);
                }
                return Ok(value);
            }
            Some(found) if found.freshness.is_usable_while_revalidating() => {
                let value = found.answer(&self.cache, self.label, CacheStatus::stale_hit(found.freshness.ttl()));
                self.refresh_in_background(epoch, Trigger::Refresh, compute);
                return Ok(value);
            }
            Some(_) => Forward::Stale,
            None => Forward::UriMiss,
        };
        drop(read);
        self.fetch(epoch, why, compute).await
    }

    /// Reads the entry; the error says how the store failed.
    pub(super) async fn read(&self) -> Result<ReadOutcome, Reason> {
        if let Some(read) = self.cache.read_now(&self.key) {
            return Ok(read);
        }
        self.cache.read(&self.key, &self.known_tags()).await.map_err(|error| {
            report(&error, Effect::HandlerAnswers);
            failure_of(&error)
        })
    }

    /// Returns the value that was read, whether it is fresh or not.
    pub(super) fn find<'r>(&self, read: &'r ReadOutcome) -> Option<FoundValue<'r, T>> {
        match find(&self.cache, read, self.form.decode) {
            Found::Value(found) => Some(found),
            Found::OtherType(present) => {
                warn_of_other_type(&self.name, std::any::type_name::<T>(), present);
                None
            }
            Found::Nothing => None,
        }
    }

    /// Returns a stale value in place of one whose computation takes too long, if there is one that may be used.
    pub(super) async fn stale_while_slow(&self) -> Option<T> {
        let read = self.read().await.ok()?;
        let found = self.find(&read)?;
        let is_usable = found.freshness.is_usable_while_revalidating() || found.freshness.is_usable_on_error();
        is_usable.then(|| {
            self.is_answered.store(true, Ordering::Relaxed);
            found.answer(&self.cache, self.label, CacheStatus::stale(Reason::StaleWhileSlow, found.freshness.ttl()))
        })
    }

    /// Whether a caller waits for the computation that `trigger` has begun: its result is counted then.
    pub(super) fn has_caller(&self, trigger: Trigger) -> bool {
        trigger == Trigger::Request && !self.is_answered.load(Ordering::Relaxed)
    }

    /// Returns the tags that the value will have, without those that its computation adds.
    pub(super) fn known_tags(&self) -> Vec<Tag> {
        let space = self.cache.space();
        self.policy.tags.iter().filter_map(|tag| space.tag(tag).ok()).chain(space.everything()).collect()
    }

    pub(super) fn slot(&self) -> Arc<FetchSlot> {
        let inner = &self.cache.inner;
        Arc::new(inner.fetch_slots.on_route(&inner.prefix.built, 0, Some(self.policy.label.as_str())))
    }
}

/// Adds a value that was read to the run in which this takes place.
///
/// It takes the fields of a [`FoundValue`] one by one: a reference to one would keep that of every hit in memory, not in registers.
#[inline(never)]
fn add_to_run(cache: &Cache, read: &ReadOutcome, stored: &Stored, fresh_until: Timestamp, is_stale: bool) {
    let Some(run) = Dependencies::current() else { return };
    let read_at = read.epoch.filter(|_| cache.inner.backend.reads_are_exact());
    run.add_value(UsedValue {
        store: cache.store_address(),
        tags: stored.tags(),
        valid_at: Some(read_at.unwrap_or(stored.born())),
        fresh_until,
        is_stale,
    });
}

/// Returns the epoch of a read; the error is the reason why there is none.
pub(super) fn epoch_of(read: &ReadOutcome) -> Result<Epoch, Reason> {
    // A store that is suspended finds nothing, and does not fail.
    read.epoch.ok_or(Reason::StoreSuspended)
}

/// Logs once that an entry is no value of the expected type.
#[cold]
fn warn_of_other_type(name: &str, expected: &str, present: &str) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !WARNED.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            name,
            expected,
            present,
            "the cached value `{name}` of the type `{present}` cannot be used as `{expected}`, and is computed again: two calls use the same name \
             for different types, or the type has changed. Logged once."
        );
    }
}
