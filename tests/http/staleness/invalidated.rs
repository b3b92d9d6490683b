//! No window outlives a hard invalidation; a soft one makes stale, and no more.

use std::time::Duration;

use axum::Router;
use http::{Method, StatusCode};
use larder::{Cache, CacheLayer, CacheTags};
use tokio::time::sleep;

use super::{Act, SECOND, Script, at, status, with};
use crate::support::{
    Gate, MINUTE, cache, get, minute, page,
    paused::{settled, timed},
    request, send_empty, spawn_get,
};

/// Every hard way to invalidate the page.
const WAYS: [Way; 6] = [Way::Tag, Way::HandlersTag, Way::Uri, Way::Route, Way::Clear, Way::Write];

#[derive(Debug, Clone, Copy)]
enum Way {
    Tag,
    HandlersTag,
    Uri,
    Route,
    Clear,
    Write,
}

impl Way {
    async fn invalidate(self, cache: &Cache, app: &Router) {
        match self {
            Self::Tag => cache.invalidate_tags(["posts"]).await,
            Self::HandlersTag => cache.invalidate_tags(["author:1"]).await,
            Self::Uri => cache.invalidate_uri("/page").await,
            Self::Route => cache.invalidate_route("/page").await,
            Self::Clear => cache.clear().await,
            Self::Write => {
                assert!(send_empty(app, Method::POST, "/page").await.status.is_success());
                return;
            }
        }
        .unwrap();
    }
}

const SOFT: Duration = Duration::from_millis(100);

/// A page that may be served stale on every occasion, with tags of the route and of the handler.
fn lenient(cache: &Cache, script: &Script, adjust: fn(CacheLayer) -> CacheLayer) -> Router {
    let script = script.clone();
    let show = move || async move { (CacheTags::new(["author:1"]), script.run().await) };
    let layer = adjust(minute(cache).tags(["posts"]));
    Router::new().route("/page", axum::routing::get(show).post(|| async {}).layer(layer))
}

fn every_window(layer: CacheLayer) -> CacheLayer {
    layer.stale_while_revalidate(MINUTE).stale_if_error(MINUTE).soft_timeout(SOFT)
}

fn no_revalidation(layer: CacheLayer) -> CacheLayer {
    layer.stale_if_error(MINUTE).soft_timeout(SOFT)
}

#[tokio::test(start_paused = true)]
async fn invalidated_entry_is_not_served_during_its_fetch() {
    for way in WAYS {
        for age in [Duration::ZERO, MINUTE] {
            let ((cache, clock), script) = (cache(), Script::default());
            let app = lenient(&cache, &script, every_window);
            get(&app, "/page").await;
            clock.advance(age);
            way.invalidate(&cache, &app).await;
            assert_eq!(get(&app, "/page").await.text(), "run 2", "{way:?} {age:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn invalidated_entry_is_not_served_for_a_failing_handler() {
    for way in WAYS {
        for age in [Duration::ZERO, MINUTE] {
            let ((cache, clock), script) = (cache(), Script::default());
            let app = lenient(&cache, &script, every_window);
            get(&app, "/page").await;
            clock.advance(age);
            way.invalidate(&cache, &app).await;
            script.set(status(StatusCode::BAD_GATEWAY));
            assert_eq!(get(&app, "/page").await.status, StatusCode::BAD_GATEWAY, "{way:?} {age:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn entry_invalidated_during_a_failing_fetch_is_not_served() {
    for way in WAYS {
        let ((cache, clock), script, gate) = (cache(), Script::default(), Gate::closed());
        let app = lenient(&cache, &script, |layer| layer.stale_if_error(MINUTE));
        get(&app, "/page").await;
        clock.advance(MINUTE);
        script.set(Act::Wait(gate.clone(), StatusCode::BAD_GATEWAY, &[]));
        let asked: Vec<_> = (0..5).map(|_| spawn_get(&app, "/page")).collect();
        settled().await;
        way.invalidate(&cache, &app).await;
        gate.open(10);
        for asked in asked {
            assert_eq!(asked.await.unwrap().status, StatusCode::BAD_GATEWAY, "{way:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn invalidated_entry_is_not_served_for_a_slow_handler() {
    for way in WAYS {
        let ((cache, clock), script, gate) = (cache(), Script::default(), Gate::closed());
        let app = lenient(&cache, &script, no_revalidation);
        get(&app, "/page").await;
        clock.advance(MINUTE);
        script.set(at(&gate));
        // Both before the handler begins and while it runs.
        let before = spawn_get(&app, "/page");
        settled().await;
        way.invalidate(&cache, &app).await;
        let after = spawn_get(&app, "/page");
        sleep(10 * SOFT).await;
        assert!(!before.is_finished() && !after.is_finished(), "{way:?}");
        gate.open(2);
        assert_eq!(before.await.unwrap().text(), "run 2", "{way:?}");
        assert_eq!(after.await.unwrap().text(), "run 3", "{way:?}");
        assert_eq!(get(&app, "/page").await.text(), "run 3", "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn refresh_begun_before_an_invalidation_is_rejected() {
    for way in WAYS {
        let ((cache, clock), script, gate) = (cache(), Script::default(), Gate::closed());
        let app = lenient(&cache, &script, every_window);
        get(&app, "/page").await;
        clock.advance(MINUTE);
        script.set(at(&gate));
        assert_eq!(get(&app, "/page").await.text(), "run 1");
        gate.arrival().await;
        way.invalidate(&cache, &app).await;
        gate.open(1);
        settled().await;
        script.set(status(StatusCode::OK));
        assert_eq!(get(&app, "/page").await.text(), "run 3", "{way:?}");
    }
}

/// Nor does anybody wait for it.
#[tokio::test(start_paused = true)]
async fn request_after_an_invalidation_does_not_join_an_older_refresh() {
    for way in WAYS {
        let ((cache, clock), script, gate) = (cache(), Script::default(), Gate::closed());
        let app = lenient(&cache, &script, every_window);
        get(&app, "/page").await;
        clock.advance(MINUTE);
        script.set(at(&gate));
        get(&app, "/page").await;
        gate.arrival().await;
        way.invalidate(&cache, &app).await;
        script.set(status(StatusCode::OK));
        let (took, answer) = timed(get(&app, "/page")).await;
        assert_eq!((answer.text(), took), ("run 3", Duration::ZERO), "{way:?}");
        gate.open(1);
        settled().await;
        assert_eq!(get(&app, "/page").await.text(), "run 3", "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn slow_response_begun_before_an_invalidation_is_rejected() {
    for way in WAYS {
        let ((cache, clock), script, gate) = (cache(), Script::default(), Gate::closed());
        let app = lenient(&cache, &script, no_revalidation);
        get(&app, "/page").await;
        clock.advance(MINUTE);
        script.set(at(&gate));
        assert_eq!(get(&app, "/page").await.text(), "run 1");
        // It goes on without its client.
        way.invalidate(&cache, &app).await;
        gate.open(1);
        settled().await;
        script.set(status(StatusCode::OK));
        assert_eq!(get(&app, "/page").await.text(), "run 3", "{way:?}");
    }
}

// Softly.

#[tokio::test(start_paused = true)]
async fn expired_entry_in_its_window_is_served_during_one_refresh() {
    let ((cache, clock), script, gate) = (cache(), Script::default(), Gate::closed());
    let app = lenient(&cache, &script, every_window);
    get(&app, "/page").await;
    clock.advance(10 * SECOND);
    cache.expire_tags(["posts"]).await.unwrap();
    script.set(at(&gate));
    for _ in 0..10 {
        let (took, answer) = timed(get(&app, "/page")).await;
        assert_eq!((answer.text(), took), ("run 1", Duration::ZERO));
    }
    settled().await;
    assert_eq!(script.runs(), 2);
    gate.open(1);
    settled().await;
    let answer = get(&app, "/page").await;
    assert_eq!((answer.text(), answer.is_hit()), ("run 2", true));
    settled().await;
    assert_eq!(script.runs(), 2);
}

#[tokio::test(start_paused = true)]
async fn expired_entry_without_a_window_is_fetched_at_once() {
    let ((cache, _), script) = (cache(), Script::default());
    let app = lenient(&cache, &script, |layer| layer);
    for tags in [["posts"], ["author:1"]] {
        let runs = script.runs();
        get(&app, "/page").await;
        cache.expire_tags(tags).await.unwrap();
        assert_eq!(get(&app, "/page").await.text(), format!("run {}", runs.max(1) + 1));
        assert!(get(&app, "/page").await.is_hit());
    }
}

#[tokio::test(start_paused = true)]
async fn expired_entry_answers_for_a_failing_or_slow_handler() {
    let ((cache, _), script, gate) = (cache(), Script::default(), Gate::closed());
    let app = lenient(&cache, &script, no_revalidation);
    get(&app, "/page").await;
    cache.expire_tags(["posts"]).await.unwrap();
    script.set(status(StatusCode::BAD_GATEWAY));
    assert_eq!(get(&app, "/page").await.text(), "run 1");
    script.set(at(&gate));
    let (took, answer) = timed(get(&app, "/page")).await;
    assert_eq!((answer.text(), took), ("run 1", SOFT));
    gate.open(1);
    settled().await;
    assert_eq!(get(&app, "/page").await.text(), "run 3");
}

#[tokio::test(start_paused = true)]
async fn entry_expired_during_its_refresh_is_refreshed_again() {
    let ((cache, clock), script, gate) = (cache(), Script::default(), Gate::closed());
    let app = lenient(&cache, &script, every_window);
    get(&app, "/page").await;
    clock.advance(MINUTE);
    script.set(at(&gate));
    get(&app, "/page").await;
    gate.arrival().await;
    cache.expire_tags(["posts"]).await.unwrap();
    gate.open(1);
    settled().await;
    script.set(status(StatusCode::OK));
    // The handler of what came had begun before.
    assert_eq!(get(&app, "/page").await.text(), "run 2");
    settled().await;
    assert_eq!(get(&app, "/page").await.text(), "run 3");
    settled().await;
    assert_eq!(script.runs(), 3);
}

#[tokio::test(start_paused = true)]
async fn directives_against_stale_use_apply_to_expired_entries() {
    let ((cache, _), script) = (cache(), Script::default());
    script.set(with(&[("cache-control", "max-age=60, must-revalidate")]));
    let app = lenient(&cache, &script, every_window);
    get(&app, "/page").await;
    cache.expire_tags(["posts"]).await.unwrap();
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

#[tokio::test(start_paused = true)]
async fn invalidation_after_an_expiry_removes_the_entry() {
    for way in WAYS {
        let ((cache, _), script) = (cache(), Script::default());
        let app = lenient(&cache, &script, every_window);
        get(&app, "/page").await;
        cache.expire_tags(["posts"]).await.unwrap();
        way.invalidate(&cache, &app).await;
        assert_eq!(get(&app, "/page").await.text(), "run 2", "{way:?}");
    }
}

// Writes.

/// The client of a write is gone when its handler has committed: those who read must hear of it all the same.
#[tokio::test(start_paused = true)]
async fn a_write_whose_client_leaves_after_the_commit_still_invalidates() {
    let ((cache, _), script, gate) = (cache(), Script::default(), Gate::closed());
    let commit = {
        let gate = gate.clone();
        move || async move {
            gate.pass().await;
            (StatusCode::NO_CONTENT, larder::Invalidate::tags(["posts"]))
        }
    };
    let layer = minute(&cache).tags(["posts"]);
    let app = page(layer.clone(), script.handler()).route("/posts", axum::routing::post(commit).layer(layer));
    get(&app, "/page").await;
    let writing = {
        let app = app.clone();
        tokio::spawn(async move { send_empty(&app, Method::POST, "/posts").await })
    };
    gate.arrival().await;
    writing.abort();
    assert!(writing.await.unwrap_err().is_cancelled());
    assert!(get(&app, "/page").await.is_hit());
    gate.open(1);
    settled().await;
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

/// Whatever its client waits for, the invalidation has been carried out before the first byte leaves.
#[tokio::test(start_paused = true)]
async fn a_write_whose_client_leaves_before_the_body_has_invalidated() {
    let ((cache, _), script) = (cache(), Script::default());
    let app = lenient(&cache, &script, every_window);
    get(&app, "/page").await;
    let response = tower::ServiceExt::oneshot(app.clone(), request(Method::POST, "/page", &[])).await.unwrap();
    drop(response);
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}
