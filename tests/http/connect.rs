//! Stores by URL, and errors for clients.

use axum::{Router, routing};
use http::StatusCode;
use larder::Cache;

use crate::support::{Runs, cache, get, minute, numbered, page};

#[tokio::test]
async fn cache_error_in_a_handler_answers_503_without_details() {
    let cache = cache().0;
    let handler = move || async move { cache.invalidate_tags([""]).await.map(|_| StatusCode::NO_CONTENT) };
    let answer = get(&Router::new().route("/page", routing::get(handler)), "/page").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::SERVICE_UNAVAILABLE, ""));
}

#[tokio::test]
async fn url_selects_the_store() {
    for url in ["memory:64mb", "memory:1GB", "memory:65536", "memory:64kib", "memory:100000b"] {
        let cache = Cache::connect(url).await.unwrap();
        let app = page(minute(&cache), numbered(&Runs::default()));
        get(&app, "/page").await;
        assert!(get(&app, "/page").await.is_hit(), "{url}");
    }
}

#[tokio::test]
async fn invalid_store_url_names_a_valid_form() {
    for (url, hint) in [
        ("", "memory:64mb"),
        ("64mb", "memory:64mb"),
        ("memory:", "memory:64mb"),
        ("memory:lots", "memory:64mb"),
        ("memory:-1", "memory:64mb"),
        ("memory:64tb", "memory:64mb"),
        ("memory:99999999999999999999", "memory:64mb"),
        ("memory:99999999999gb", "memory:64mb"),
        ("nosuchstore://localhost", "unknown scheme"),
    ] {
        let error = Cache::connect(url).await.unwrap_err();
        assert!(error.is_invalid_input() && error.to_string().contains(hint), "{url}: {error}");
    }
}
