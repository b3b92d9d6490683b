//! Concurrent callers of one value.

use std::{convert::Infallible, sync::Arc};

use larder::{Cache, Outcome, ValuePolicy};
use tokio::task::JoinSet;

use super::{SECOND, policy, top};
use crate::support::{Gate, MINUTE, Runs, cache, paused::settled};

/// Calls for the value `top`, whose computation waits at the gate.
pub(super) fn gated(
    cache: &Cache,
    policy: &ValuePolicy,
    runs: &Runs,
    gate: &Gate,
) -> impl Future<Output = usize> + Send + 'static {
    let (cache, policy, runs, gate) = (cache.clone(), policy.clone(), runs.clone(), gate.clone());
    async move {
        let compute = || async move {
            let run = runs.begin();
            gate.pass().await;
            Ok::<_, Infallible>(run)
        };
        cache.get_or_compute("top", &policy, compute).await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_callers_share_one_computation() {
    let ((cache, _), runs, gate) = (cache(), Runs::default(), Gate::closed());
    let mut callers = JoinSet::new();
    for _ in 0..50 {
        callers.spawn(gated(&cache, &policy(), &runs, &gate));
    }
    gate.arrival().await;
    settled().await;
    gate.open(1);
    assert_eq!(callers.join_all().await, [1; 50]);
    let stats = cache.stats();
    let outcomes = [Outcome::Miss, Outcome::Collapsed].map(|outcome| stats.route("value").unwrap().outcome(outcome));
    assert_eq!(outcomes, [1, 49]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_after_an_invalidation_joins_no_computation_that_began_before_it() {
    let ((cache, _), runs, gate) = (cache(), Runs::default(), Gate::closed());
    let before = tokio::spawn(gated(&cache, &policy(), &runs, &gate));
    gate.arrival().await;
    // One of another tag makes no difference.
    cache.invalidate_tags("elsewhere").await.unwrap();
    let beside = tokio::spawn(gated(&cache, &policy(), &runs, &gate));
    settled().await;
    cache.invalidate_tags("posts").await.unwrap();
    let after = tokio::spawn(gated(&cache, &policy(), &runs, &gate));
    gate.arrival().await;
    gate.open(3);
    assert_eq!((before.await.unwrap(), after.await.unwrap()), (1, 2));
    assert_eq!(beside.await.unwrap(), 2);
    assert_eq!(top(&cache, &policy(), &runs).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_computation_continues_without_its_caller() {
    let ((cache, _), runs, gate) = (cache(), Runs::default(), Gate::closed());
    let leaves = tokio::spawn(gated(&cache, &policy(), &runs, &gate));
    gate.arrival().await;
    let waits = tokio::spawn(gated(&cache, &policy(), &runs, &gate));
    settled().await;
    leaves.abort();
    gate.open(1);
    assert_eq!(waits.await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_of_those_who_wait_too_long_computes_as_well() {
    let ((cache, _), runs, gate) = (cache(), Runs::default(), Gate::closed());
    let policy = policy().wait_limit(SECOND);
    let mut callers = JoinSet::new();
    for _ in 0..10 {
        callers.spawn(gated(&cache, &policy, &runs, &gate));
    }
    gate.arrival().await;
    tokio::time::sleep(SECOND * 3 / 2).await;
    assert_eq!(runs.count(), 2);
    gate.open(2);
    callers.join_all().await;
    assert_eq!(runs.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_computation_that_panics_is_taken_over() {
    let ((cache, _), runs, gate) = (cache(), Runs::default(), Gate::closed());
    let panics = {
        let (cache, gate) = (cache.clone(), gate.clone());
        let compute = || async move {
            gate.pass().await;
            if true {
                panic!("as planned");
            }
            Ok::<_, Infallible>(0_usize)
        };
        tokio::spawn(async move { cache.get_or_compute("top", &policy(), compute).await })
    };
    gate.arrival().await;
    let waits = tokio::spawn({
        let (cache, runs) = (cache.clone(), runs.clone());
        async move { top(&cache, &policy(), &runs).await }
    });
    settled().await;
    gate.open(1);
    assert!(panics.await.unwrap_err().is_panic());
    assert_eq!(waits.await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_needs_itself_is_computed_and_waits_for_nobody() {
    let (cache, _) = cache();
    let (inner, policy) = (cache.clone(), Arc::new(policy()));
    let inner_policy = Arc::clone(&policy);
    let compute = || async move {
        let nested = inner.get_or_compute("x", inner_policy.as_ref(), || async { Ok::<_, Infallible>(1) }).await.unwrap();
        Ok::<_, Infallible>(nested + 1)
    };
    let within = tokio::time::timeout(SECOND, cache.get_or_compute("x", policy.as_ref(), compute)).await;
    assert_eq!(within.unwrap(), Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_label_has_no_more_computations_than_the_cache_allows() {
    let ((cache, _), runs, gate) = (cache(), Runs::default(), Gate::closed());
    let cache = cache.with_max_fetches(1);
    let policy = ValuePolicy::ttl(MINUTE).wait_limit(MINUTE);
    let mut callers = JoinSet::new();
    for name in 0..3 {
        let (cache, policy, runs, gate) = (cache.clone(), policy.clone(), runs.clone(), gate.clone());
        callers.spawn(async move {
            let compute = || async move {
                runs.begin();
                gate.pass().await;
                Ok::<_, Infallible>(())
            };
            cache.get_or_compute(format!("value {name}"), &policy, compute).await
        });
    }
    for run in 1..=3 {
        gate.arrival().await;
        settled().await;
        assert_eq!(runs.count(), run);
        gate.open(1);
    }
    callers.join_all().await;
}

#[tokio::test(start_paused = true)]
async fn a_lock_across_nodes_changes_nothing_in_memory() {
    let ((cache, _), runs, gate) = (cache(), Runs::default(), Gate::closed());
    let policy = policy().collapse_across_nodes(MINUTE);
    let mut callers = JoinSet::new();
    for _ in 0..10 {
        callers.spawn(gated(&cache, &policy, &runs, &gate));
    }
    gate.arrival().await;
    settled().await;
    gate.open(1);
    assert_eq!(callers.join_all().await, [1; 10]);
    assert_eq!(top(&cache, &policy, &runs).await, 1);
}
