//! stale-if-error (RFC 5861 §4), and what forbids every stale use (RFC 9111 §4.2.4).

use std::time::Duration;

use axum::{extract::Request, response::Response};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use larder::{CacheLayer, CacheStatus, Forward, Reason};
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::{Act, PLAIN, SECOND, Script, Way, at, status, with};
use crate::support::{
    Gate, MINUTE, Runs, cache, get, minute, page,
    paused::{settled, timed},
    request, spawn_get,
};

const FAILURES: [StatusCode; 4] =
    [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];

/// A page that may be served for ten seconds when its handler fails: the route says so, or the response.
fn ways() -> [Way; 3] {
    [
        ("the route", &[], |layer| layer.stale_if_error(10 * SECOND)),
        ("the response", &[("cache-control", "max-age=60, stale-if-error=10")], |layer| layer),
        ("the response, less", &[("cache-control", "max-age=60, stale-if-error=10")], |layer| layer.stale_if_error(MINUTE)),
    ]
}

#[tokio::test(start_paused = true)]
async fn s70_stale_response_answers_for_a_failing_handler() {
    for (way, lines, set) in ways() {
        for act in FAILURES.map(status).into_iter().chain([Act::Panic]) {
            let ((cache, clock), script) = (cache(), Script::default());
            script.set(with(lines));
            let app = page(set(minute(&cache)).status_header(true), script.handler());
            get(&app, "/page").await;
            clock.advance(MINUTE + 9 * SECOND);
            script.set(act);
            for runs in 2..=3 {
                let answer = get(&app, "/page").await;
                assert_eq!((answer.status, answer.text()), (StatusCode::OK, "run 1"), "{way}");
                assert_eq!((answer.forward(), answer.reason()), (Some(Forward::Stale), Some(Reason::StaleOnError)), "{way}");
                assert_eq!((answer.header("age"), answer.cache.unwrap().ttl()), (Some("69"), Some(-9)), "{way}");
                assert_eq!(answer.header("cache-status"), Some("larder; fwd=stale; detail=stale-on-error; ttl=-9"));
                assert_eq!(script.runs(), runs);
            }
            // It is the handler's again as soon as that works.
            script.set(PLAIN);
            assert_eq!(get(&app, "/page").await.text(), "run 4", "{way}");
            assert!(get(&app, "/page").await.is_hit(), "{way}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_its_window_a_failure_is_the_answer() {
    for (way, lines, set) in ways() {
        for failure in FAILURES {
            let ((cache, clock), script) = (cache(), Script::default());
            script.set(with(lines));
            let app = page(set(minute(&cache)), script.handler());
            get(&app, "/page").await;
            clock.advance(MINUTE + 10 * SECOND);
            script.set(status(failure));
            let answer = get(&app, "/page").await;
            assert_eq!((answer.status, answer.text()), (failure, "run 2"), "{way}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_window_for_errors_is_not_cut_to_whole_seconds() {
    for millis in [500, 1500] {
        let window = Duration::from_millis(millis);
        let ((cache, clock), script) = (cache(), Script::default());
        let app = page(minute(&cache).stale_if_error(window), script.handler());
        get(&app, "/page").await;
        clock.advance(MINUTE + window - Duration::from_millis(1));
        script.set(status(StatusCode::BAD_GATEWAY));
        assert_eq!(get(&app, "/page").await.text(), "run 1", "{window:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_no_failure_of_the_handler_is_the_answer() {
    let others = [StatusCode::NOT_IMPLEMENTED, StatusCode::NOT_FOUND, StatusCode::GONE, StatusCode::FORBIDDEN];
    for other in others.into_iter().chain([StatusCode::INSUFFICIENT_STORAGE, StatusCode::TOO_MANY_REQUESTS]) {
        let ((cache, clock), script) = (cache(), Script::default());
        let app = page(minute(&cache).stale_if_error(MINUTE), script.handler());
        get(&app, "/page").await;
        clock.advance(MINUTE);
        script.set(status(other));
        let answer = get(&app, "/page").await;
        assert_eq!((answer.status, answer.text()), (other, "run 2"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_inner_service_is_answered_for_too() {
    let ((cache, clock), runs) = (cache(), Runs::default());
    let service = minute(&cache).stale_if_error(10 * SECOND).layer(service_fn(move |_: Request| {
        std::future::ready(match runs.begin() {
            1 => Ok(Response::new(Full::<Bytes>::from("page"))),
            _ => Err("the handler's own error"),
        })
    }));
    let ask = || service.clone().oneshot(request(Method::GET, "/page", &[]));
    ask().await.unwrap();
    clock.advance(MINUTE);
    let response = ask().await.unwrap();
    assert_eq!(CacheStatus::of(&response).unwrap().reason(), Some(Reason::StaleOnError));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "page");
    clock.advance(10 * SECOND);
    assert_eq!(ask().await.unwrap_err(), "the handler's own error");
}

/// One run of a handler that fails is enough for all who wait for it.
#[tokio::test(start_paused = true)]
async fn all_followers_of_a_failing_handler_get_the_stale_response() {
    for failure in FAILURES {
        let ((cache, clock), script, gate) = (cache(), Script::default(), Gate::closed());
        let app = page(minute(&cache).stale_if_error(MINUTE), script.handler());
        get(&app, "/page").await;
        clock.advance(MINUTE);
        script.set(Act::Wait(gate.clone(), failure, &[]));
        let asked: Vec<_> = (0..50).map(|_| spawn_get(&app, "/page")).collect();
        settled().await;
        gate.open(1);
        for asked in asked {
            assert_eq!(asked.await.unwrap().text(), "run 1");
        }
        assert_eq!(script.runs(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_its_route_stores_is_still_a_failure() {
    let ((cache, clock), script) = (cache(), Script::default());
    let layer = minute(&cache).stale_if_error(MINUTE).ttl_for(StatusCode::SERVICE_UNAVAILABLE, SECOND);
    let app = page(layer, script.handler());
    get(&app, "/page").await;
    clock.advance(MINUTE);
    script.set(status(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(get(&app, "/page").await.text(), "run 1");
}

// What forbids it.

const FORBIDDING: [&[(&str, &str)]; 6] = [
    &[("cache-control", "max-age=60, must-revalidate")],
    &[("cache-control", "max-age=60, proxy-revalidate")],
    &[("cache-control", "s-maxage=60")],
    &[("cache-control", "max-age=60, must-revalidate, stale-while-revalidate=60, stale-if-error=60")],
    &[("cache-control", "s-maxage=60, stale-while-revalidate=60, stale-if-error=60")],
    &[("larder-cache-control", "max-age=60, must-revalidate")],
];

/// Everything that a route can say for stale responses.
fn everything_stale(layer: CacheLayer) -> CacheLayer {
    layer.stale_while_revalidate(MINUTE).stale_if_error(MINUTE).soft_timeout(Duration::from_millis(100))
}

#[tokio::test(start_paused = true)]
async fn s47_directives_against_stale_use_make_the_request_wait() {
    for lines in FORBIDDING {
        let ((cache, clock), script, gate) = (cache(), Script::default(), Gate::closed());
        script.set(with(lines));
        let app = page(everything_stale(minute(&cache)), script.handler());
        assert!(get(&app, "/page").await.is_stored(), "{lines:?}");
        assert!(get(&app, "/page").await.is_hit(), "{lines:?}");
        clock.advance(MINUTE);
        script.set(at(&gate));
        // Longer than the soft timeout.
        let waiting = spawn_get(&app, "/page");
        tokio::time::sleep(SECOND).await;
        assert!(!waiting.is_finished(), "{lines:?}");
        gate.open(1);
        assert_eq!(waiting.await.unwrap().text(), "run 2", "{lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn s48_directives_against_stale_use_let_a_failure_pass() {
    for lines in FORBIDDING {
        for failure in FAILURES {
            let ((cache, clock), script) = (cache(), Script::default());
            script.set(with(lines));
            let app = page(everything_stale(minute(&cache)), script.handler());
            get(&app, "/page").await;
            clock.advance(MINUTE);
            script.set(status(failure));
            let (took, answer) = timed(get(&app, "/page")).await;
            assert_eq!((answer.status, answer.text(), took), (failure, "run 2", Duration::ZERO), "{lines:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s48_directives_against_stale_use_let_a_panic_pass() {
    for lines in FORBIDDING {
        let ((cache, clock), script) = (cache(), Script::default());
        script.set(with(lines));
        let app = page(everything_stale(minute(&cache)), script.handler());
        get(&app, "/page").await;
        clock.advance(MINUTE);
        script.set(Act::Panic);
        assert!(spawn_get(&app, "/page").await.unwrap_err().is_panic(), "{lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn s47_no_cache_is_not_used_without_the_handler_fresh_or_stale() {
    let (cache, script) = (cache().0, Script::default());
    script.set(with(&[("cache-control", "max-age=60, no-cache")]));
    let app = page(everything_stale(minute(&cache)), script.handler());
    get(&app, "/page").await;
    assert_eq!(get(&app, "/page").await.text(), "run 2");
    script.set(status(StatusCode::INTERNAL_SERVER_ERROR));
    assert_eq!(get(&app, "/page").await.status, StatusCode::INTERNAL_SERVER_ERROR);
}
