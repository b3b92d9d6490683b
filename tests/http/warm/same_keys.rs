//! A warm-up fills the keys that clients have, or says why not.

use axum::{Router, routing};
use http::Request;
use larder::Cache;

use crate::support::{Runs, cache, get_with, logs::Logs, minute, numbered, send};

fn site(cache: &Cache) -> Router {
    Router::new().route("/{page}", routing::get(numbered(&Runs::default())).layer(minute(cache)))
}

fn pages() -> impl Iterator<Item = String> {
    (0..20).map(|number| format!("/{number}"))
}

/// What nginx or Traefik add for a browser that asked for `https://example.com`.
const PROXIED: [(&str, &str); 3] = [("host", "example.com"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "example.com")];

#[tokio::test]
async fn every_page_that_was_warmed_is_a_hit_behind_a_proxy() {
    let (cache, _) = cache();
    let app = site(&cache);
    let warm = cache.warm(app.clone()).host("example.com").paths(pages());
    let report = warm.header("x-forwarded-proto", "https").header("x-forwarded-host", "example.com").start().await;
    assert_eq!(report.stored(), 20);
    let (logs, _guard) = Logs::collect();
    for page in pages() {
        assert!(get_with(&app, &page, &PROXIED).await.is_hit(), "{page}");
    }
    assert_eq!(logs.take(), [""; 0]);
}

#[tokio::test]
async fn every_page_that_was_warmed_is_a_hit_over_http_2() {
    let (cache, _) = cache();
    let app = site(&cache);
    assert_eq!(cache.warm(app.clone()).host("example.com").scheme("https").paths(pages()).start().await.stored(), 20);
    for page in pages() {
        let request = Request::get(format!("https://example.com{page}")).body(axum::body::Body::empty()).unwrap();
        assert!(send(&app, request).await.is_hit(), "{page}");
    }
}

#[tokio::test]
async fn clients_that_miss_what_was_warmed_are_reported_once_with_the_difference() {
    let (cache, _) = cache();
    let app = site(&cache);
    cache.warm(app.clone()).host("www.example.com").paths(pages()).start().await;
    let (logs, _guard) = Logs::collect();
    // A page that was not warmed, and one that has expired, say nothing.
    get_with(&app, "/other", &PROXIED).await;
    cache.clear().await.unwrap();
    for page in pages() {
        get_with(&app, &page, &[("host", "www.example.com")]).await;
    }
    assert_eq!(logs.take(), [""; 0]);
    for page in pages() {
        get_with(&app, &page, &PROXIED).await;
    }
    let lines = logs.take();
    assert_eq!(lines.len(), 1, "{lines:?}");
    for difference in ["host `example.com` instead of `www.example.com`", "with `x-forwarded-proto: https`"] {
        assert!(lines[0].contains(difference), "{}", lines[0]);
    }
}
