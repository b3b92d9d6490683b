//! Values that are no longer fresh, or will soon be no more.

use std::convert::Infallible;

use larder::{FillResult, Outcome, Trigger, ValuePolicy};

use tokio::time::sleep;

use super::{SECOND, policy, stampede::gated, top};
use crate::support::{Gate, MINUTE, Runs, cache, paused::settled};

#[tokio::test(start_paused = true)]
async fn a_stale_value_is_returned_while_it_is_computed_again() {
    let ((cache, clock), runs) = (cache(), Runs::default());
    let policy = policy().stale_while_revalidate(10 * SECOND);
    top(&cache, &policy, &runs).await;
    clock.advance(MINUTE + 5 * SECOND);
    assert_eq!(top(&cache, &policy, &runs).await, 1);
    settled().await;
    assert_eq!((top(&cache, &policy, &runs).await, runs.count()), (2, 2));
    clock.advance(MINUTE + 10 * SECOND);
    assert_eq!(top(&cache, &policy, &runs).await, 3, "the window has ended");
    let stats = cache.stats();
    let label = stats.route("value").unwrap();
    assert_eq!((label.outcome(Outcome::Stale), label.fills(Trigger::Refresh, FillResult::Stored)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_expired_tag_makes_a_value_stale_and_an_invalidated_one_dead() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let policy = policy().stale_while_revalidate(10 * SECOND);
    top(&cache, &policy, &runs).await;
    cache.expire_tags("posts").await.unwrap();
    assert_eq!(top(&cache, &policy, &runs).await, 1);
    settled().await;
    assert_eq!(top(&cache, &policy, &runs).await, 2);
    cache.invalidate_tags("posts").await.unwrap();
    assert_eq!(top(&cache, &policy, &runs).await, 3);
}

/// Fails in the given way.
async fn failing(cache: &larder::Cache, policy: &ValuePolicy, panics: bool) -> Result<usize, &'static str> {
    let compute = move || async move {
        assert!(!panics, "as planned");
        Err("the database is down")
    };
    cache.get_or_compute("top", policy, compute).await
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_is_returned_if_its_computation_fails() {
    let ((cache, clock), runs) = (cache(), Runs::default());
    let policy = policy().stale_if_error(10 * SECOND);
    top(&cache, &policy, &runs).await;
    clock.advance(MINUTE);
    assert_eq!(failing(&cache, &policy, false).await, Ok(1));
    assert_eq!(failing(&cache, &policy, true).await, Ok(1));
    cache.invalidate_tags("posts").await.unwrap();
    assert_eq!(failing(&cache, &policy, false).await, Err("the database is down"));
    assert_eq!(top(&cache, &policy, &runs).await, 2);
    clock.advance(MINUTE + 10 * SECOND);
    assert_eq!(failing(&cache, &policy, false).await, Err("the database is down"));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_invalidated_while_its_computation_fails_is_not_returned() {
    let ((cache, clock), runs) = (cache(), Runs::default());
    let policy = policy().stale_if_error(10 * SECOND);
    top(&cache, &policy, &runs).await;
    clock.advance(MINUTE);
    let invalidated = cache.clone();
    let compute = || async move {
        invalidated.invalidate_tags("posts").await.unwrap();
        Err::<usize, _>("the database is down")
    };
    assert_eq!(cache.get_or_compute("top", &policy, compute).await, Err("the database is down"));
}

#[tokio::test(start_paused = true)]
async fn a_value_is_computed_again_before_its_end() {
    let ((cache, clock), runs) = (cache(), Runs::default());
    let policy = policy().refresh_ahead(1e9);
    let (slow, begun) = (clock.clone(), runs.clone());
    let compute = || async move {
        slow.advance(SECOND);
        Ok::<_, Infallible>(begun.begin())
    };
    assert_eq!(cache.get_or_compute("top", &policy, compute).await, Ok(1));
    assert_eq!(top(&cache, &policy, &runs).await, 1);
    settled().await;
    assert_eq!(runs.count(), 2);
    assert_eq!(cache.stats().route("value").unwrap().fills(Trigger::Ahead, FillResult::Stored), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_is_drained_begins_no_computation_in_the_background() {
    let ((cache, clock), runs) = (cache(), Runs::default());
    let policy = policy().stale_while_revalidate(10 * SECOND);
    top(&cache, &policy, &runs).await;
    clock.advance(MINUTE);
    cache.drain(SECOND).await;
    assert_eq!(top(&cache, &policy, &runs).await, 1);
    settled().await;
    assert_eq!(runs.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_is_returned_while_its_computation_is_slow() {
    let ((cache, clock), runs, gate) = (cache(), Runs::default(), Gate::closed());
    let policy = policy().stale_if_error(MINUTE).soft_timeout(SECOND).wait_limit(MINUTE);
    top(&cache, &policy, &runs).await;
    clock.advance(MINUTE);
    let (leader, follower) =
        (tokio::spawn(gated(&cache, &policy, &runs, &gate)), tokio::spawn(gated(&cache, &policy, &runs, &gate)));
    gate.arrival().await;
    sleep(SECOND / 2).await;
    assert!(!leader.is_finished() && !follower.is_finished());
    sleep(SECOND).await;
    assert!(leader.is_finished() && follower.is_finished());
    assert_eq!((leader.await.unwrap(), follower.await.unwrap(), runs.count()), (1, 1, 2));

    // The computation continues, and its value is stored.
    gate.open(1);
    settled().await;
    assert_eq!((top(&cache, &policy, &runs).await, runs.count()), (2, 2));
    let stats = cache.stats();
    let label = stats.route("value").unwrap();
    let outcomes = [Outcome::Miss, Outcome::Stale, Outcome::Hit].map(|outcome| label.outcome(outcome));
    assert_eq!((outcomes, label.requests()), ([1, 2, 1], 4), "each call is counted once");
    assert_eq!(label.fills(Trigger::Request, FillResult::Stored), 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_computation_is_waited_for_where_no_stale_value_may_be_used() {
    let ((cache, clock), runs, gate) = (cache(), Runs::default(), Gate::closed());
    let policy = policy().stale_if_error(MINUTE).soft_timeout(SECOND).wait_limit(MINUTE);
    // Nothing is there; then what is there was invalidated, or its window has ended.
    for what in ["absent", "invalidated", "too old"] {
        match what {
            "invalidated" => _ = cache.invalidate_tags("posts").await.unwrap(),
            "too old" => clock.advance(3 * MINUTE),
            _ => {}
        }
        let waits = tokio::spawn(gated(&cache, &policy, &runs, &gate));
        gate.arrival().await;
        sleep(2 * SECOND).await;
        assert!(!waits.is_finished(), "{what}");
        gate.open(1);
        assert_eq!(waits.await.unwrap(), runs.count(), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_computation_that_fails_in_the_end_leaves_the_stale_value() {
    let ((cache, clock), runs) = (cache(), Runs::default());
    let policy = policy().stale_if_error(MINUTE).soft_timeout(SECOND);
    top(&cache, &policy, &runs).await;
    clock.advance(MINUTE);
    for _ in 0..2 {
        let compute = || async {
            sleep(2 * SECOND).await;
            Err::<usize, _>("the database is down")
        };
        assert_eq!(cache.get_or_compute("top", &policy, compute).await, Ok(1));
        sleep(2 * SECOND).await;
    }
    assert_eq!(cache.stats().route("value").unwrap().outcome(Outcome::Error), 0, "no caller has seen the error");
}
