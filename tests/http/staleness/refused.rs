//! A response that refuses one request says nothing about the resource, and changes nothing for others.

use std::time::Duration;

use axum::{Router, extract::Request};
use http::StatusCode;
use larder::CacheLayer;

use crate::support::{Gate, MINUTE, Runs, answering, cache, field, get, get_with, minute, page, spawn_get};

const REFUSALS: [StatusCode; 7] = [
    StatusCode::BAD_REQUEST,
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::NOT_ACCEPTABLE,
    StatusCode::RANGE_NOT_SATISFIABLE,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::MISDIRECTED_REQUEST,
];

/// A page whose handler answers with the status that the request asks for.
fn obedient(layer: CacheLayer, runs: &Runs) -> Router {
    let runs = runs.clone();
    page(
        layer,
        answering(move |parts| {
            let status = StatusCode::from_bytes(field(parts, "x-status").as_bytes()).unwrap_or(StatusCode::OK);
            (status, format!("run {}", runs.begin()))
        }),
    )
}

#[tokio::test]
async fn a_refusal_leaves_the_copy_that_answers_for_a_failing_handler() {
    for refusal in REFUSALS {
        let (cache, clock) = cache();
        let app = obedient(minute(&cache).stale_if_error(MINUTE), &Runs::default());
        get(&app, "/page").await;
        clock.advance(MINUTE + Duration::from_secs(1));
        assert_eq!(get_with(&app, "/page", &[("x-status", refusal.as_str())]).await.status, refusal);
        let failed = get_with(&app, "/page", &[("x-status", "503")]).await;
        assert_eq!((failed.status, failed.text()), (StatusCode::OK, "run 1"), "{refusal}");
    }
    // A page that is gone is gone for all.
    for gone in ["404", "410"] {
        let (cache, clock) = cache();
        let app = obedient(minute(&cache).stale_if_error(MINUTE), &Runs::default());
        get(&app, "/page").await;
        clock.advance(MINUTE + Duration::from_secs(1));
        get_with(&app, "/page", &[("x-status", gone)]).await;
        assert_eq!(get_with(&app, "/page", &[("x-status", "503")]).await.status, StatusCode::SERVICE_UNAVAILABLE, "{gone}");
    }
}

/// Otherwise one client without a password would make each of the others run the handler.
#[tokio::test]
async fn after_a_refusal_requests_still_share_a_handler_run() {
    for refusal in REFUSALS {
        let (runs, gate) = (Runs::default(), Gate::closed());
        let handler = {
            let (runs, gate) = (runs.clone(), gate.clone());
            move |request: Request| {
                let (runs, gate) = (runs.clone(), gate.clone());
                async move {
                    if request.headers().contains_key("x-refuse") {
                        return (refusal, String::new());
                    }
                    gate.pass().await;
                    (StatusCode::OK, format!("run {}", runs.begin()))
                }
            }
        };
        let app = page(minute(&cache().0), handler);
        assert_eq!(get_with(&app, "/page", &[("x-refuse", "1")]).await.status, refusal);
        let waiting: Vec<_> = (0..10).map(|_| spawn_get(&app, "/page")).collect();
        gate.arrival().await;
        gate.open(10);
        for answer in waiting {
            assert_eq!(answer.await.unwrap().text(), "run 1", "{refusal}");
        }
    }
}
