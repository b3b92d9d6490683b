//! HEAD, partial responses and conditional requests.

use std::time::Duration;

use axum::{Router, response::IntoResponse as _, routing};
use http::{Method, StatusCode};
use larder::Reason;
use tower::ServiceBuilder;

use crate::support::{MINUTE, Runs, answering, cache, field, get, get_with, minute, numbered, page, send_empty};

#[tokio::test]
async fn a_head_route_does_not_empty_the_page() {
    let (cache, _) = cache();
    let both = || routing::get(|| async { "page" }).head(|| async { [("x-head", "1")] });
    let on_route = Router::new().route("/page", both().layer(minute(&cache.with_namespace("route"))));
    let outside = Router::new().route("/page", both()).layer(minute(&cache.with_namespace("router")));
    for app in [on_route, outside] {
        let head = send_empty(&app, Method::HEAD, "/page").await;
        assert_eq!((head.header("x-head"), head.reason()), (Some("1"), Some(Reason::Head)));
        assert_eq!(get(&app, "/page").await.text(), "page");
        assert_eq!(get(&app, "/page").await.text(), "page");
    }
}

#[tokio::test]
async fn a_head_request_to_a_get_route_does_not_empty_the_page() {
    let (cache, _) = cache();
    let around =
        ServiceBuilder::new().layer(minute(&cache)).service(Router::new().route("/page", routing::get(|| async { "page" })));
    let app = Router::new().fallback_service(around);
    send_empty(&app, Method::HEAD, "/page").await;
    assert_eq!(get(&app, "/page").await.text(), "page");
    let head = send_empty(&app, Method::HEAD, "/page").await;
    assert_eq!((head.text(), head.is_hit(), head.header("content-length")), ("", true, Some("4")));
    assert_eq!(get(&app, "/page").await.text(), "page");
}

#[tokio::test]
async fn no_206_or_304_is_stored() {
    for status in [StatusCode::PARTIAL_CONTENT, StatusCode::NOT_MODIFIED] {
        let handler = answering(move |parts| match field(parts, "x-whole") {
            "" => (status, [("cache-control", "public, max-age=60")], "").into_response(),
            _ => "whole".into_response(),
        });
        let app = page(minute(&cache().0).ttl_for(status, MINUTE), handler);
        assert_eq!(get(&app, "/page").await.reason(), Some(Reason::Status));
        assert_eq!(get_with(&app, "/page", &[("x-whole", "1")]).await.text(), "whole");
    }
}

#[tokio::test]
async fn a_304_to_a_clients_condition_is_not_stored() {
    let handler = answering(|parts| match parts.headers.get("if-none-match") {
        Some(_) => StatusCode::NOT_MODIFIED.into_response(),
        None => ([("etag", "\"1\"")], "page").into_response(),
    });
    let app = page(minute(&cache().0), handler);
    assert_eq!(get_with(&app, "/page", &[("if-none-match", "\"1\"")]).await.status, StatusCode::NOT_MODIFIED);
    assert_eq!(get(&app, "/page").await.text(), "page");
}

#[tokio::test]
async fn head_is_answered_from_a_get_with_its_length_and_without_a_body() {
    let (cache, clock) = cache();
    let app = page(minute(&cache), numbered(&Runs::default()));
    get(&app, "/page").await;
    clock.advance(Duration::from_secs(3));
    let head = send_empty(&app, Method::HEAD, "/page").await;
    assert_eq!((head.is_hit(), head.text(), head.header("content-length"), head.header("age")), (true, "", Some("5"), Some("3")));
    assert_eq!(get(&app, "/page").await.text(), "run 1");
}
