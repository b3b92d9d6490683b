//! The soft timeout: a stale response in time is better than a fresh one too late.

use std::time::Duration;

use larder::{Cache, CacheLayer, Forward, Reason};
use tokio::time::sleep;

use super::{Script, at};
use crate::support::{
    Gate, MINUTE, cache, get, minute, page,
    paused::{settled, timed},
    spawn_get,
};

const SOFT: Duration = Duration::from_millis(100);

/// A layer that allows stale responses on errors alone: where they are always allowed, no request would wait.
fn impatient(cache: &Cache) -> CacheLayer {
    minute(cache).stale_if_error(MINUTE).soft_timeout(SOFT)
}

#[tokio::test(start_paused = true)]
async fn stale_response_answers_for_a_slow_handler_whose_result_is_stored() {
    let ((cache, clock), script, gate) = (cache(), Script::default(), Gate::closed());
    let app = page(impatient(&cache).status_header(true), script.handler());
    get(&app, "/page").await;
    clock.advance(MINUTE);
    script.set(at(&gate));

    let (took, answer) = timed(get(&app, "/page")).await;
    assert_eq!((answer.text(), took), ("run 1", SOFT));
    assert_eq!((answer.forward(), answer.reason()), (Some(Forward::Stale), Some(Reason::StaleWhileSlow)));
    assert_eq!(answer.header("cache-status"), Some("larder; fwd=stale; detail=stale-while-slow; ttl=0"));

    gate.open(1);
    settled().await;
    let answer = get(&app, "/page").await;
    assert_eq!((answer.text(), answer.is_hit(), script.runs()), ("run 2", true, 2));
}

#[tokio::test(start_paused = true)]
async fn a_handler_in_time_is_the_one_that_answers() {
    let ((cache, clock), script, gate) = (cache(), Script::default(), Gate::closed());
    let app = page(impatient(&cache), script.handler());
    get(&app, "/page").await;
    clock.advance(MINUTE);
    script.set(at(&gate));
    let asked = spawn_get(&app, "/page");
    sleep(SOFT - Duration::from_millis(1)).await;
    gate.open(1);
    assert_eq!(asked.await.unwrap().text(), "run 2");
}

#[tokio::test(start_paused = true)]
async fn where_nothing_stale_may_be_used_a_slow_handler_is_waited_for() {
    let only_soft = |cache: &Cache| minute(cache).soft_timeout(SOFT);
    type MakeLayer = fn(&Cache) -> CacheLayer;
    let cases: [(MakeLayer, _); 3] = [(only_soft, MINUTE), (impatient, 2 * MINUTE), (impatient, Duration::ZERO)];
    for (layer, age) in cases {
        let ((cache, clock), script, gate) = (cache(), Script::default(), Gate::closed());
        let app = page(layer(&cache), script.handler());
        if !age.is_zero() {
            get(&app, "/page").await;
            clock.advance(age);
        }
        script.set(at(&gate));
        let asked = spawn_get(&app, "/page");
        sleep(10 * SOFT).await;
        assert!(!asked.is_finished());
        gate.open(1);
        assert_eq!(asked.await.unwrap().text(), if age.is_zero() { "run 1" } else { "run 2" });
    }
}

/// The time limit is the request's, whether it runs the handler or waits for another that does.
#[tokio::test(start_paused = true)]
async fn all_followers_of_a_slow_handler_get_the_stale_response_in_time() {
    let ((cache, clock), script, gate) = (cache(), Script::default(), Gate::closed());
    let app = page(impatient(&cache), script.handler());
    get(&app, "/page").await;
    clock.advance(MINUTE);
    script.set(at(&gate));
    let asked: Vec<_> = (0..20).map(|_| spawn_get(&app, "/page")).collect();
    sleep(SOFT + Duration::from_millis(1)).await;
    let unanswered = asked.iter().filter(|asked| !asked.is_finished()).count();
    assert_eq!((unanswered, script.runs()), (0, 2));
    for asked in asked {
        assert_eq!(asked.await.unwrap().text(), "run 1");
    }
    // Those who come while the handler still runs, too.
    let (took, answer) = timed(get(&app, "/page")).await;
    assert_eq!((answer.text(), script.runs()), ("run 1", 2));
    assert!(took <= SOFT, "{took:?}");
    gate.open(1);
}

#[tokio::test(start_paused = true)]
async fn the_soft_timeout_needs_no_collapsing() {
    let ((cache, clock), script, gate) = (cache(), Script::default(), Gate::closed());
    let app = page(impatient(&cache).collapse(false), script.handler());
    get(&app, "/page").await;
    clock.advance(MINUTE);
    script.set(at(&gate));
    let asked = spawn_get(&app, "/page");
    sleep(SOFT + Duration::from_millis(1)).await;
    assert!(asked.is_finished());
    assert_eq!(asked.await.unwrap().text(), "run 1");
    gate.open(1);
    settled().await;
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

#[tokio::test(start_paused = true)]
async fn soft_timeout_may_use_the_revalidation_window() {
    let ((cache, clock), script, gate) = (cache(), Script::default(), Gate::closed());
    let app = page(minute(&cache).stale_while_revalidate(MINUTE).soft_timeout(SOFT), script.handler());
    get(&app, "/page").await;
    clock.advance(MINUTE);
    script.set(at(&gate));
    let (took, answer) = timed(get(&app, "/page")).await;
    assert_eq!((answer.text(), answer.is_hit(), took), ("run 1", true, Duration::ZERO));
    gate.open(1);
}
