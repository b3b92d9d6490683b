//! stale-while-revalidate (RFC 5861 §3).

use std::time::Duration;

use axum::{Router, routing};
use http::{Method, StatusCode};
use larder::{CacheLayer, Forward, Reason};

use super::{PLAIN, SECOND, Script, Way, at, status, with};
use crate::support::{
    Gate, MINUTE, Runs, answering, cache, field, get, get_with, minute, page,
    paused::{settled, timed},
    request, send, send_empty, spawn_get,
};

/// A stale page that may be served for ten seconds: the route says so, or the response.
fn ways() -> [Way; 5] {
    [
        ("the route", &[], |layer| layer.stale_while_revalidate(10 * SECOND)),
        ("the response", &[("cache-control", "max-age=60, stale-while-revalidate=10")], |layer| layer),
        ("its targeted field", &[("larder-cache-control", "max-age=60, stale-while-revalidate=10")], |layer| layer),
        ("the response, less", &[("cache-control", "max-age=60, stale-while-revalidate=10")], |layer| {
            layer.stale_while_revalidate(MINUTE)
        }),
        ("the response, more", &[("cache-control", "max-age=60, stale-while-revalidate=10")], |layer| {
            layer.stale_while_revalidate(SECOND)
        }),
    ]
}

#[tokio::test(start_paused = true)]
async fn the_first_stale_request_does_not_wait_and_one_refresh_runs() {
    for (way, lines, set) in ways() {
        let ((cache, clock), script, gate) = (cache(), Script::default(), Gate::closed());
        script.set(with(lines));
        let app = page(set(minute(&cache)), script.handler());
        get(&app, "/page").await;
        clock.advance(MINUTE);
        script.set(at(&gate));

        let (took, answer) = timed(get(&app, "/page")).await;
        assert_eq!((answer.text(), answer.is_hit(), took), ("run 1", true, Duration::ZERO), "{way}");
        for _ in 0..100 {
            assert_eq!(get(&app, "/page").await.text(), "run 1", "{way}");
        }
        settled().await;
        assert_eq!(script.runs(), 2, "{way}");

        gate.open(1);
        settled().await;
        let answer = get(&app, "/page").await;
        assert_eq!((answer.text(), answer.is_hit(), script.runs()), ("run 2", true, 2), "{way}");
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_the_window_a_request_waits() {
    for (way, lines, set) in ways() {
        let ((cache, clock), script, gate) = (cache(), Script::default(), Gate::closed());
        script.set(with(lines));
        let app = page(set(minute(&cache)), script.handler());
        get(&app, "/page").await;
        clock.advance(MINUTE + 10 * SECOND);
        script.set(at(&gate));
        let waiting = spawn_get(&app, "/page");
        settled().await;
        assert!(!waiting.is_finished(), "{way}");
        gate.open(1);
        let answer = waiting.await.unwrap();
        assert_eq!((answer.text(), answer.forward()), ("run 2", Some(Forward::Stale)), "{way}");
    }
}

#[tokio::test(start_paused = true)]
async fn within_the_window_until_its_last_millisecond() {
    for (way, lines, set) in ways() {
        let ((cache, clock), script) = (cache(), Script::default());
        script.set(with(lines));
        let app = page(set(minute(&cache)), script.handler());
        get(&app, "/page").await;
        clock.advance(MINUTE + 10 * SECOND - Duration::from_millis(1));
        assert_eq!(get(&app, "/page").await.text(), "run 1", "{way}");
    }
}

#[tokio::test(start_paused = true)]
async fn response_may_refuse_the_windows_of_its_route() {
    let ((cache, clock), script) = (cache(), Script::default());
    script.set(with(&[("cache-control", "max-age=60, stale-while-revalidate=0")]));
    let app = page(minute(&cache).stale_while_revalidate(MINUTE), script.handler());
    get(&app, "/page").await;
    clock.advance(MINUTE);
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

/// What has no lifetime is not stored, however long it might be used after its end.
#[tokio::test(start_paused = true)]
async fn a_window_is_no_lifetime() {
    let lenient = |layer: CacheLayer| layer.stale_while_revalidate(MINUTE).stale_if_error(MINUTE);
    for (ttl, code) in [
        (None, StatusCode::OK),
        (None, StatusCode::MOVED_PERMANENTLY),
        (Some(MINUTE), StatusCode::NOT_FOUND),
        (Some(MINUTE), StatusCode::GONE),
        (Some(MINUTE), StatusCode::NO_CONTENT),
    ] {
        let ((cache, _), script) = (cache(), Script::default());
        script.set(status(code));
        let layer = lenient(cache.layer());
        let app = page(ttl.map_or(layer.clone(), |ttl| layer.ttl(ttl)), script.handler());
        assert_eq!(get(&app, "/page").await.reason(), Some(Reason::NoFreshness), "{code}");
        assert!(!get(&app, "/page").await.is_hit(), "{code}");
        assert_eq!(script.runs(), 2, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_window_is_not_cut_to_whole_seconds() {
    for millis in [500, 1500] {
        let window = Duration::from_millis(millis);
        let ((cache, clock), script) = (cache(), Script::default());
        let app = page(minute(&cache).stale_while_revalidate(window), script.handler());
        get(&app, "/page").await;
        clock.advance(MINUTE + window - Duration::from_millis(1));
        assert_eq!(get(&app, "/page").await.text(), "run 1", "{window:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_shows_its_age_and_for_how_long_it_has_been_stale() {
    let ((cache, clock), script) = (cache(), Script::default());
    let app = page(minute(&cache).stale_while_revalidate(MINUTE).status_header(true), script.handler());
    get(&app, "/page").await;
    clock.advance(MINUTE + 7 * SECOND);
    let answer = get(&app, "/page").await;
    assert_eq!(answer.header("age"), Some("67"));
    assert_eq!(answer.cache.unwrap().ttl(), Some(-7));
    assert_eq!(answer.header("cache-status"), Some("larder; hit; ttl=-7"));
}

#[tokio::test(start_paused = true)]
async fn failed_refresh_leaves_the_stale_response_and_is_retried() {
    for act in [status(StatusCode::INTERNAL_SERVER_ERROR), status(StatusCode::NOT_IMPLEMENTED), super::Act::Panic] {
        let ((cache, clock), script) = (cache(), Script::default());
        let app = page(minute(&cache).stale_while_revalidate(MINUTE), script.handler());
        get(&app, "/page").await;
        clock.advance(MINUTE);
        script.set(act);
        for runs in 1..=3 {
            assert_eq!(script.runs(), runs);
            assert_eq!(get(&app, "/page").await.text(), "run 1");
            settled().await;
        }
        script.set(PLAIN);
        assert_eq!(get(&app, "/page").await.text(), "run 1");
        settled().await;
        assert_eq!(get(&app, "/page").await.text(), "run 5");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_goes_on_when_the_client_that_caused_it_is_gone() {
    let ((cache, clock), script, gate) = (cache(), Script::default(), Gate::closed());
    let app = page(minute(&cache).stale_while_revalidate(MINUTE), script.handler());
    get(&app, "/page").await;
    clock.advance(MINUTE);
    script.set(at(&gate));
    let leaves = spawn_get(&app, "/page");
    gate.arrival().await;
    leaves.abort();
    gate.open(1);
    settled().await;
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

#[tokio::test(start_paused = true)]
async fn stale_head_request_refreshes_the_get_response() {
    let ((cache, clock), runs) = (cache(), Runs::default());
    // One that tells the methods apart.
    let handler = answering(move |parts| match parts.method {
        Method::HEAD => String::new(),
        _ => format!("run {}", runs.begin()),
    });
    let app = Router::new().route("/page", routing::any(handler).layer(minute(&cache).stale_while_revalidate(MINUTE)));
    get(&app, "/page").await;
    clock.advance(MINUTE);
    let head = send_empty(&app, Method::HEAD, "/page").await;
    assert_eq!((head.is_hit(), head.text()), (true, ""));
    settled().await;
    let answer = get(&app, "/page").await;
    assert_eq!((answer.text(), answer.is_hit(), answer.cache.unwrap().ttl()), ("run 2", true, Some(60)));
}

/// Whatever the client asked for besides: a part, or only what has changed, is not what others need.
#[tokio::test(start_paused = true)]
async fn refresh_fetches_the_whole_response_for_any_request() {
    for lines in [[("range", "bytes=0-1")], [("if-none-match", "*")], [("if-modified-since", "Sat, 05 Nov 2033 08:49:37 GMT")]] {
        let (cache, clock) = cache();
        let handler = answering(|parts| {
            let part = ["range", "if-none-match", "if-modified-since"].iter().find(|name| parts.headers.contains_key(**name));
            match part {
                Some(&"range") => (StatusCode::PARTIAL_CONTENT, "pa"),
                Some(_) => (StatusCode::NOT_MODIFIED, ""),
                None => (StatusCode::OK, "page"),
            }
        });
        let app = page(minute(&cache).stale_while_revalidate(MINUTE), handler);
        get(&app, "/page").await;
        clock.advance(MINUTE);
        get_with(&app, "/page", &lines).await;
        settled().await;
        let answer = get(&app, "/page").await;
        assert_eq!((answer.text(), answer.cache.unwrap().ttl()), ("page", Some(60)), "{lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_has_the_fields_of_the_request_that_caused_it() {
    let (cache, clock) = cache();
    let handler = answering(|parts| ([("vary", "accept-language")], format!("in {}", field(parts, "accept-language"))));
    let app = page(minute(&cache).stale_while_revalidate(MINUTE), handler);
    let ask = async |language| get_with(&app, "/page", &[("accept-language", language)]).await;
    for language in ["de", "en"] {
        ask(language).await;
    }
    clock.advance(MINUTE);
    for language in ["de", "en"] {
        assert!(ask(language).await.cache.unwrap().ttl() <= Some(0));
        settled().await;
        let answer = ask(language).await;
        assert_eq!((answer.text(), answer.cache.unwrap().ttl()), (format!("in {language}").as_str(), Some(60)));
    }
}

#[tokio::test(start_paused = true)]
async fn request_that_may_not_use_the_entry_does_not_get_it_stale() {
    let ((cache, clock), script) = (cache(), Script::default());
    let app = page(minute(&cache).stale_while_revalidate(MINUTE).stale_if_error(MINUTE), script.handler());
    get(&app, "/page").await;
    clock.advance(MINUTE);
    script.set(status(StatusCode::INTERNAL_SERVER_ERROR));
    for lines in [[("authorization", "alice")], [("cookie", "sid=1")]] {
        let answer = send(&app, request(Method::GET, "/page", &lines)).await;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{lines:?}");
    }
    assert_eq!(get(&app, "/page").await.text(), "run 1");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_forbids_storing_does_not_spoil_the_refresh() {
    let ((cache, clock), script) = (cache(), Script::default());
    let app = page(minute(&cache).stale_while_revalidate(MINUTE), script.handler());
    get(&app, "/page").await;
    clock.advance(MINUTE);
    assert_eq!(get_with(&app, "/page", &[("cache-control", "no-store")]).await.text(), "run 1");
    settled().await;
    let answer = get(&app, "/page").await;
    assert_eq!((answer.text(), answer.is_hit()), ("run 2", true));
}
