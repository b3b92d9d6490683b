//! What a refresh puts in the place of what is stored, and `Cache::refresh`.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, response::Response, routing};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::Full;
use larder::{CacheLayer, CacheStatus, Reason};
use tower::{Layer as _, service_fn};

use super::{Act, PLAIN, SECOND, Script, at, status, with};
use crate::support::{
    ChannelBody, Frames, Gate, MINUTE, Runs, cache, get, get_with, minute, numbered, page,
    paused::{settled, timed},
    request, spawn_get,
};

/// Answers that cannot be stored, and that say that what was stored is not the answer any more.
fn replacements() -> [Act; 6] {
    [
        with(&[("cache-control", "no-store")]),
        with(&[("cache-control", "private")]),
        with(&[("cache-control", "no-cache")]),
        with(&[("set-cookie", "sid=1")]),
        status(StatusCode::NOT_FOUND),
        status(StatusCode::GONE),
    ]
}

fn every_window(layer: CacheLayer) -> CacheLayer {
    layer.stale_while_revalidate(MINUTE).stale_if_error(MINUTE)
}

fn named(act: &Act) -> String {
    match act {
        Act::Answer(status, lines) | Act::Wait(_, status, lines) => format!("{status} {lines:?}"),
        Act::Panic => "panic".to_owned(),
    }
}

// The cause of the refresh does not matter.

#[tokio::test(start_paused = true)]
async fn refresh_with_an_unstorable_response_ends_the_entry() {
    for act in replacements() {
        let name = named(&act);
        let ((cache, clock), script) = (cache(), Script::default());
        let app = page(every_window(minute(&cache)), script.handler());
        get(&app, "/page").await;
        clock.advance(MINUTE);
        script.set(act);
        assert_eq!(get(&app, "/page").await.text(), "run 1", "{name}");
        settled().await;
        assert_eq!(get(&app, "/page").await.text(), "run 3", "{name}");
        // Not even if the handler fails.
        script.set(status(StatusCode::BAD_GATEWAY));
        assert_eq!(get(&app, "/page").await.status, StatusCode::BAD_GATEWAY, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn unstorable_response_ends_the_stale_entry() {
    for act in replacements() {
        let name = named(&act);
        let ((cache, clock), script) = (cache(), Script::default());
        let app = page(minute(&cache).stale_if_error(MINUTE), script.handler());
        get(&app, "/page").await;
        clock.advance(MINUTE);
        script.set(act);
        assert_eq!(get(&app, "/page").await.text(), "run 2", "{name}");
        script.set(status(StatusCode::BAD_GATEWAY));
        assert_eq!(get(&app, "/page").await.status, StatusCode::BAD_GATEWAY, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_variant_that_cannot_be_stored_any_more_ends_alone() {
    let ((cache, clock), script) = (cache(), Script::default());
    script.set(with(&[("vary", "accept-language")]));
    let app = page(every_window(minute(&cache)), script.handler());
    let ask = async |language| get_with(&app, "/page", &[("accept-language", language)]).await;
    for language in ["de", "en"] {
        ask(language).await;
    }
    clock.advance(MINUTE);
    script.set(with(&[("vary", "accept-language"), ("cache-control", "no-store")]));
    assert_eq!(ask("de").await.text(), "run 1");
    settled().await;
    assert_eq!(ask("de").await.text(), "run 4");
    assert_eq!(ask("en").await.text(), "run 2");
}

/// A 404 that the route gives a lifetime is stored like anything else.
#[tokio::test(start_paused = true)]
async fn a_refresh_that_brings_a_404_with_a_lifetime_stores_it() {
    let ((cache, clock), script) = (cache(), Script::default());
    let app = page(every_window(minute(&cache)).negative_ttl(10 * SECOND), script.handler());
    get(&app, "/page").await;
    clock.advance(MINUTE);
    script.set(status(StatusCode::NOT_FOUND));
    get(&app, "/page").await;
    settled().await;
    let answer = get(&app, "/page").await;
    assert_eq!((answer.status, answer.text(), answer.is_hit()), (StatusCode::NOT_FOUND, "run 2", true));
}

// At once.

/// Runs a GET of `uri` through the application, past what is stored.
async fn refresh(cache: &larder::Cache, app: &Router, uri: &str) -> Option<CacheStatus> {
    cache.refresh(app.clone(), request(Method::GET, uri, &[])).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn refresh_replaces_a_fresh_entry() {
    let ((cache, clock), script) = (cache(), Script::default());
    let app = page(minute(&cache), script.handler());
    get(&app, "/page").await;
    clock.advance(30 * SECOND);
    assert!(refresh(&cache, &app, "/page").await.unwrap().is_stored());
    let answer = get(&app, "/page").await;
    assert_eq!((answer.text(), answer.is_hit(), answer.header("age")), ("run 2", true, Some("0")));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_warms_a_cold_cache_for_several_urls() {
    let ((cache, _), script) = (cache(), Script::default());
    let app = page(minute(&cache), script.handler());
    for number in 1..=10 {
        assert!(refresh(&cache, &app, &format!("/page?x={number}")).await.unwrap().is_stored());
    }
    for number in 1..=10 {
        let answer = get(&app, &format!("/page?x={number}")).await;
        assert_eq!((answer.text(), answer.is_hit()), (format!("run {number}").as_str(), true));
    }
}

#[tokio::test(start_paused = true)]
async fn hits_are_unchanged_until_a_refresh_is_done() {
    let ((cache, _), script, gate) = (cache(), Script::default(), Gate::closed());
    let app = page(minute(&cache), script.handler());
    get(&app, "/page").await;
    script.set(at(&gate));
    let refreshing = {
        let (cache, app) = (cache.clone(), app.clone());
        tokio::spawn(async move { refresh(&cache, &app, "/page").await })
    };
    gate.arrival().await;
    let (took, answer) = timed(get(&app, "/page")).await;
    assert_eq!((answer.text(), took), ("run 1", Duration::ZERO));
    gate.open(1);
    assert!(refreshing.await.unwrap().unwrap().is_stored());
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

#[tokio::test(start_paused = true)]
async fn request_for_a_key_under_refresh_waits_for_it() {
    let ((cache, _), script, gate) = (cache(), Script::default(), Gate::closed());
    script.set(at(&gate));
    let app = page(minute(&cache), script.handler());
    let refreshing = {
        let (cache, app) = (cache.clone(), app.clone());
        tokio::spawn(async move { refresh(&cache, &app, "/page").await })
    };
    gate.arrival().await;
    let waiting: Vec<_> = (0..10).map(|_| spawn_get(&app, "/page")).collect();
    settled().await;
    gate.open(1);
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap().text(), "run 1");
    }
    assert!(refreshing.await.unwrap().unwrap().is_stored());
    assert_eq!(script.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_runs_even_if_the_same_is_being_fetched() {
    let ((cache, _), script, gate) = (cache(), Script::default(), Gate::closed());
    script.set(at(&gate));
    let app = page(minute(&cache), script.handler());
    let first = spawn_get(&app, "/page");
    gate.arrival().await;
    script.set(PLAIN);
    assert!(refresh(&cache, &app, "/page").await.unwrap().is_stored());
    assert_eq!(get(&app, "/page").await.text(), "run 2");
    gate.open(1);
    assert_eq!(first.await.unwrap().text(), "run 1");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_of_a_streamed_body_returns_when_it_is_stored() {
    let (cache, _) = cache();
    let begun = Arc::new(Mutex::new(None::<Frames>));
    let handler = {
        let begun = begun.clone();
        move || async move {
            let (frames, body) = ChannelBody::new();
            *begun.lock().unwrap() = Some(frames);
            Body::new(body)
        }
    };
    let app = page(minute(&cache), handler);
    let refreshing = {
        let (cache, app) = (cache.clone(), app.clone());
        tokio::spawn(async move { refresh(&cache, &app, "/page").await })
    };
    settled().await;
    let frames = begun.lock().unwrap().take().unwrap();
    frames.send("whole ");
    settled().await;
    assert!(!refreshing.is_finished());
    frames.send("page");
    drop(frames);
    assert!(refreshing.await.unwrap().unwrap().is_stored());
    let answer = get(&app, "/page").await;
    assert_eq!((answer.text(), answer.is_hit()), ("whole page", true));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_says_why_nothing_was_stored() {
    let ((cache, _), script) = (cache(), Script::default());
    script.set(with(&[("cache-control", "private")]));
    let app = page(minute(&cache), script.handler());
    assert_eq!(refresh(&cache, &app, "/page").await.unwrap().reason(), Some(Reason::Private));
    let bare = Router::new().route("/page", routing::get(|| async { "page" }));
    assert_eq!(refresh(&cache, &bare, "/page").await, None);
}

/// As one that a stale request began would.
#[tokio::test(start_paused = true)]
async fn manual_refresh_with_an_unstorable_response_ends_the_entry() {
    for act in replacements() {
        let name = named(&act);
        for age in [SECOND, MINUTE] {
            let ((cache, clock), script) = (cache(), Script::default());
            let app = page(every_window(minute(&cache)), script.handler());
            get(&app, "/page").await;
            clock.advance(age);
            script.set(act.clone());
            assert!(!refresh(&cache, &app, "/page").await.unwrap().is_stored(), "{name}");
            assert_eq!(get(&app, "/page").await.text(), "run 3", "{name}, after {age:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn failed_refresh_leaves_the_entry() {
    for age in [SECOND, MINUTE] {
        let ((cache, clock), script) = (cache(), Script::default());
        let app = page(every_window(minute(&cache)), script.handler());
        get(&app, "/page").await;
        clock.advance(age);
        script.set(status(StatusCode::INTERNAL_SERVER_ERROR));
        assert_eq!(refresh(&cache, &app, "/page").await.unwrap().reason(), Some(Reason::Status));
        assert_eq!(get(&app, "/page").await.text(), "run 1", "{age:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_service_is_the_refreshs() {
    let (cache, runs) = (cache().0, Runs::default());
    let service = minute(&cache).layer(service_fn(move |_: Request| {
        std::future::ready(match runs.begin() {
            1 => Err("the handler's own error"),
            _ => Ok(Response::new(Full::<Bytes>::from("page"))),
        })
    }));
    let again = || cache.refresh(service.clone(), request(Method::GET, "/page", &[]));
    assert_eq!(again().await.unwrap_err(), "the handler's own error");
    assert!(again().await.unwrap().unwrap().is_stored());
}

#[tokio::test(start_paused = true)]
async fn refresh_begun_before_an_invalidation_is_rejected() {
    let ((cache, _), script, gate) = (cache(), Script::default(), Gate::closed());
    script.set(at(&gate));
    let app = page(minute(&cache).tags(["posts"]), script.handler());
    let refreshing = {
        let (cache, app) = (cache.clone(), app.clone());
        tokio::spawn(async move { refresh(&cache, &app, "/page").await })
    };
    gate.arrival().await;
    cache.invalidate_tags(["posts"]).await.unwrap();
    gate.open(1);
    assert_eq!(refreshing.await.unwrap().unwrap().reason(), Some(Reason::Invalidated));
    script.set(PLAIN);
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_is_given_up_is_still_stored() {
    let ((cache, _), script, gate) = (cache(), Script::default(), Gate::closed());
    script.set(at(&gate));
    let app = page(minute(&cache), script.handler());
    let refreshing = {
        let (cache, app) = (cache.clone(), app.clone());
        tokio::spawn(async move { refresh(&cache, &app, "/page").await })
    };
    gate.arrival().await;
    refreshing.abort();
    gate.open(1);
    settled().await;
    let answer = get(&app, "/page").await;
    assert_eq!((answer.text(), answer.is_hit()), ("run 1", true));
}

// Layers within layers.

/// A page behind two layers of two caches, the inner of which stores.
fn nested(outer: &larder::Cache, inner: &larder::Cache, runs: &Runs) -> Router {
    page(minute(inner), numbered(runs)).layer(minute(outer))
}

#[tokio::test(start_paused = true)]
async fn a_refresh_reaches_its_own_cache_through_the_layer_of_another() {
    let ((outer, _), (inner, _), runs) = (cache(), cache(), Runs::default());
    let app = nested(&outer, &inner, &runs);
    for run in 1..=3 {
        refresh(&inner, &app, "/page").await;
        let answer = get(&app, "/page").await;
        assert_eq!(answer.text(), format!("run {run}"));
        assert_eq!(runs.count(), run);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_of_another_cache_is_not_ones_own() {
    let ((outer, _), (inner, _), runs) = (cache(), cache(), Runs::default());
    let app = nested(&outer, &inner, &runs);
    get(&app, "/page").await;
    refresh(&outer, &app, "/page").await;
    assert_eq!((runs.count(), get(&app, "/page").await.text()), (1, "run 1"));
}

#[tokio::test(start_paused = true)]
async fn refresh_through_another_cache_reports_its_own_outcome() {
    let ((outer, _), (inner, _), runs) = (cache(), cache(), Runs::default());
    let app = nested(&outer, &inner, &runs);
    let status = refresh(&inner, &app, "/page").await.unwrap();
    assert!(status.is_stored(), "{status}");
}

#[tokio::test(start_paused = true)]
async fn refresh_of_a_stream_through_another_cache_returns_when_stored() {
    let ((outer, _), (inner, _), runs) = (cache(), cache(), Runs::default());
    let handler = {
        let runs = runs.clone();
        move || async move {
            let run = runs.begin();
            let (frames, body) = ChannelBody::new();
            tokio::spawn(async move {
                tokio::time::sleep(SECOND).await;
                frames.send(format!("run {run}"));
            });
            Body::new(body)
        }
    };
    let app = page(minute(&inner), handler).layer(minute(&outer));
    refresh(&inner, &app, "/page").await;
    let (took, answer) = timed(get(&app, "/page")).await;
    assert_eq!((answer.text(), runs.count()), ("run 1", 1));
    assert_eq!(took, Duration::ZERO, "it was not stored yet");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_passes_through_both_of_two_layers_of_its_cache() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let app = nested(&cache, &cache, &runs);
    for run in 1..=3 {
        let (took, _) = timed(refresh(&cache, &app, "/page")).await;
        let answer = get(&app, "/page").await;
        assert_eq!((answer.text(), took), (format!("run {run}").as_str(), Duration::ZERO));
    }
}

#[tokio::test(start_paused = true)]
async fn no_client_can_request_a_refresh() {
    let (cache, runs) = (cache().0, Runs::default());
    let service = minute(&cache).layer(service_fn(move |_: Request| {
        let run = runs.begin();
        async move { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(format!("run {run}")))) }
    }));
    let app = Router::new().fallback_service(service);
    get(&app, "/page").await;
    for line in [("cache-control", "no-cache"), ("cache-control", "max-age=0"), ("pragma", "no-cache"), ("larder-refresh", "1")] {
        assert_eq!(get_with(&app, "/page", &[line]).await.text(), "run 1", "{line:?}");
    }
}
