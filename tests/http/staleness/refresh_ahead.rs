//! Refresh ahead, before anything is stale, and jitter, so that not everything becomes so at once.

use std::{collections::HashSet, time::Duration};

use axum::Router;
use larder::{Cache, CacheLayer, ManualClock};
use tokio::time::sleep;

use super::{PLAIN, SECOND, Script, at, with};
use crate::support::{
    Gate, MINUTE, Runs, cache, get, minute, numbered, page,
    paused::{settled, timed},
    spawn_get,
};

/// What the handler of a page takes by the cache's clock.
const COST: Duration = Duration::from_millis(100);

/// So eager that a handler of [`COST`] is due at any time.
const AT_ONCE: f64 = 1e9;

/// A page whose handler takes [`COST`], and then does what its script says.
fn costly(layer: CacheLayer, clock: &ManualClock, script: &Script) -> Router {
    let (clock, script) = (clock.clone(), script.clone());
    page(layer, move || async move {
        clock.advance(COST);
        script.run().await
    })
}

#[tokio::test(start_paused = true)]
async fn a_hit_that_is_due_begins_one_refresh_and_does_not_wait_for_it() {
    let ((cache, clock), script, gate) = (cache(), Script::default(), Gate::closed());
    let app = costly(minute(&cache).refresh_ahead(AT_ONCE), &clock, &script);
    get(&app, "/page").await;
    clock.advance(MINUTE - SECOND);
    script.set(at(&gate));
    for _ in 0..50 {
        let (took, answer) = timed(get(&app, "/page")).await;
        assert_eq!((answer.text(), answer.is_hit(), took), ("run 1", true, Duration::ZERO));
    }
    settled().await;
    assert_eq!(script.runs(), 2);
    gate.open(1);
    settled().await;
    script.set(PLAIN);
    let answer = get(&app, "/page").await;
    assert_eq!((answer.text(), answer.is_hit()), ("run 2", true));
}

#[tokio::test(start_paused = true)]
async fn refreshed_ahead_entry_never_becomes_stale_for_clients() {
    let ((cache, clock), script) = (cache(), Script::default());
    let app = costly(minute(&cache).refresh_ahead(200.0), &clock, &script);
    get(&app, "/page").await;
    for _ in 0..1000 {
        clock.advance(SECOND);
        assert!(get(&app, "/page").await.is_hit());
        settled().await;
    }
    // At least once a lifetime, and by far not each time.
    assert!((1000 / 60..250).contains(&script.runs()), "{}", script.runs());
}

#[tokio::test(start_paused = true)]
async fn a_response_with_much_of_its_life_left_is_not_refreshed() {
    let ((cache, clock), script) = (cache(), Script::default());
    let app = costly(minute(&cache).refresh_ahead(1.0), &clock, &script);
    get(&app, "/page").await;
    // A head start of half a minute from a cost of 100 ms has a chance of e^-300.
    for _ in 0..1000 {
        clock.advance(Duration::from_millis(30));
        get(&app, "/page").await;
        settled().await;
    }
    assert_eq!(script.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_refreshed_ahead_unless_the_route_says_so() {
    for adjust in [
        |layer: CacheLayer| layer,
        |layer: CacheLayer| layer.refresh_ahead(0.0),
        |layer: CacheLayer| layer.refresh_ahead(f64::NAN),
    ] {
        let ((cache, clock), script) = (cache(), Script::default());
        let app = costly(adjust(minute(&cache)), &clock, &script);
        get(&app, "/page").await;
        for _ in 0..599 {
            clock.advance(Duration::from_millis(100));
            assert_eq!(get(&app, "/page").await.text(), "run 1");
        }
        settled().await;
        assert_eq!(script.runs(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn refreshes_are_among_the_fetches_that_are_bounded() {
    let ((cache, clock), script, gate) = (cache(), Script::default(), Gate::closed());
    let app = costly(minute(&cache.with_max_fetches(3)).refresh_ahead(AT_ONCE), &clock, &script);
    for number in 0..20 {
        get(&app, &format!("/page?x={number}")).await;
        settled().await;
    }
    assert_eq!(script.runs(), 20);
    script.set(at(&gate));
    for number in 0..20 {
        assert!(get(&app, &format!("/page?x={number}")).await.is_hit());
    }
    settled().await;
    assert_eq!(script.runs(), 20 + 3);
    // No refresh is queued: the next request starts one if it is still due.
    gate.open(3);
    settled().await;
    assert_eq!(script.runs(), 20 + 3);
    gate.open(20);
    assert!(get(&app, "/page?x=19").await.is_hit());
    settled().await;
    assert_eq!(script.runs(), 20 + 4);
}

#[tokio::test(start_paused = true)]
async fn refresh_ahead_with_a_veto_ends_the_entry() {
    let ((cache, clock), script) = (cache(), Script::default());
    let app = costly(minute(&cache).refresh_ahead(AT_ONCE).stale_while_revalidate(MINUTE), &clock, &script);
    get(&app, "/page").await;
    script.set(with(&[("cache-control", "no-store")]));
    assert_eq!(get(&app, "/page").await.text(), "run 1");
    settled().await;
    assert_eq!(get(&app, "/page").await.text(), "run 3");
}

#[tokio::test(start_paused = true)]
async fn refresh_ahead_begun_before_an_invalidation_is_rejected() {
    let ((cache, clock), script, gate) = (cache(), Script::default(), Gate::closed());
    let app = costly(minute(&cache).refresh_ahead(AT_ONCE).tags(["posts"]), &clock, &script);
    get(&app, "/page").await;
    script.set(at(&gate));
    get(&app, "/page").await;
    gate.arrival().await;
    cache.invalidate_tags(["posts"]).await.unwrap();
    gate.open(1);
    settled().await;
    script.set(PLAIN);
    assert_eq!(get(&app, "/page").await.text(), "run 3");
}

/// A refresh and a request that waits for the same are one run.
#[tokio::test(start_paused = true)]
async fn request_at_the_end_of_the_lifetime_waits_for_the_refresh() {
    let ((cache, clock), script, gate) = (cache(), Script::default(), Gate::closed());
    let app = costly(minute(&cache).refresh_ahead(AT_ONCE), &clock, &script);
    get(&app, "/page").await;
    script.set(at(&gate));
    get(&app, "/page").await;
    gate.arrival().await;
    clock.advance(MINUTE);
    let waiting: Vec<_> = (0..10).map(|_| spawn_get(&app, "/page")).collect();
    sleep(SECOND).await;
    gate.open(1);
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap().text(), "run 2");
    }
    assert_eq!(script.runs(), 2);
}

// Jitter.

/// For how many whole milliseconds what was stored just now is fresh.
async fn lifetime(cache: &Cache, clock: &ManualClock, layer: CacheLayer) -> u64 {
    const STEP: u64 = 250;
    cache.clear().await.unwrap();
    let app = page(layer, numbered(&Runs::default()));
    get(&app, "/page").await;
    let mut lived = 0;
    while get(&app, "/page").await.text() == "run 1" {
        clock.advance(Duration::from_millis(STEP));
        lived += STEP;
    }
    lived
}

#[tokio::test]
async fn jitter_only_shortens_a_life_and_by_no_more_than_its_share() {
    let (cache, clock) = cache();
    let layer = minute(&cache).jitter(0.2);
    let mut lives = HashSet::new();
    for _ in 0..100 {
        let life = lifetime(&cache, &clock, layer.clone()).await;
        assert!((48_000..=60_000).contains(&life), "{life}");
        lives.insert(life);
    }
    // 48 steps to choose from.
    assert!(lives.len() > 20, "{lives:?}");
    assert!(lives.iter().any(|life| *life < 51_000) && lives.iter().any(|life| *life > 57_000), "{lives:?}");
}

#[tokio::test]
async fn without_jitter_a_life_is_as_long_as_was_said() {
    let (cache, clock) = cache();
    for share in [None, Some(0.0), Some(-1.0)] {
        let layer = share.map_or(minute(&cache), |share| minute(&cache).jitter(share));
        for _ in 0..20 {
            assert_eq!(lifetime(&cache, &clock, layer.clone()).await, 60_000, "{share:?}");
        }
    }
}

#[tokio::test]
async fn jitter_shortens_the_handlers_lifetime_too() {
    let ((cache, clock), script) = (cache(), Script::default());
    script.set(with(&[("cache-control", "max-age=100")]));
    let app = page(cache.layer().jitter(0.5), script.handler());
    for number in 0..100 {
        let ttl = get(&app, &format!("/page?x={number}")).await.cache.unwrap().ttl().unwrap();
        assert!((50..=100).contains(&ttl), "{ttl}");
    }
    clock.advance(75 * SECOND);
    let mut fresh = 0;
    for number in 0..100 {
        fresh += usize::from(get(&app, &format!("/page?x={number}")).await.is_hit());
    }
    assert!((10..=90).contains(&fresh), "{fresh}");
}
