//! Hot keys, misses and tags.

use std::time::Duration;

use axum::{Router, routing};
use larder::Cache;

use crate::support::{cache, get, minute};

fn app(cache: &Cache) -> Router {
    let layer = minute(cache).tags(["page:{id}"]);
    let uncached = cache.layer();
    Router::new()
        .route("/pages/{id}", routing::get(|| async { "page" }).layer(layer))
        .route("/uncached/{id}", routing::get(|| async { "page" }).layer(uncached))
}

#[tokio::test]
async fn hottest_come_first() {
    let (cache, clock) = cache();
    let cache = cache.with_revealed_keys(true);
    let app = app(&cache);
    for number in 0..6_000 {
        get(&app, "/pages/hot").await;
        if number % 4 == 0 {
            get(&app, "/pages/warm").await;
            get(&app, "/uncached/1").await;
        }
        if number % 16 == 0 {
            get(&app, &format!("/pages/cold{number}")).await;
        }
    }
    let keys = cache.hot_keys(2);
    assert!(keys[0].key.as_ref().unwrap().contains("/pages/hot"), "{keys:?}");
    assert!(keys[1].key.as_ref().unwrap().contains("/pages/warm"), "{keys:?}");
    // An estimate: a sample of about 94 hits.
    assert!((3_000..12_000).contains(&keys[0].requests), "{keys:?}");
    let misses = cache.hot_misses(1);
    assert!(misses[0].key.as_ref().unwrap().contains("/uncached/1"), "{misses:?}");
    let tags = cache.hot_tags(1);
    assert_eq!(tags[0].tag, "page:hot");
    assert!(cache.stats().prometheus().contains("larder_hottest_key_ratio{cache=\"larder\"} 0."));

    clock.advance(Duration::from_secs(180));
    assert_eq!((cache.hot_keys(9), cache.hot_misses(9), cache.hot_tags(9)), (vec![], vec![], vec![]));
}

#[tokio::test]
async fn keys_are_digests_unless_they_are_revealed() {
    let (cache, _) = cache();
    let app = app(&cache);
    let long = "x".repeat(5_000);
    for _ in 0..1_000 {
        get(&app, "/pages/canary").await;
        get(&app, &format!("/pages/1?{long}")).await;
    }
    let keys = cache.hot_keys(9);
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert!(keys.iter().all(|key| key.key.is_none() && key.digest.len() == 8), "{keys:?}");
    assert!(!format!("{keys:?} {:?}", cache.stats()).contains("canary"));
}
