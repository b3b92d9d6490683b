//! What stores count, over real servers.

use axum::{Router, routing};
use larder::{
    Cache, Outcome,
    backend::{OperationStats, StoreStats},
};

use crate::{
    servers::{memcached::Memcached, process::eventually, redis::Redis},
    support::{get, minute},
};

fn operation<'s>(store: &'s StoreStats, name: &str) -> &'s OperationStats {
    store.operations.iter().find(|operation| operation.operation == name).unwrap()
}

fn app(cache: &Cache) -> Router {
    Router::new().route("/page", routing::get(|| async { "page" }).layer(minute(cache).tags(["pages"])))
}

/// Uses a healthy store: a miss, a hit, an invalidation.
async fn a_store_counts(cache: &Cache, name: &str) {
    let app = app(cache);
    eventually(name, async || cache.health().await.is_healthy()).await;
    get(&app, "/page").await;
    assert!(get(&app, "/page").await.is_hit());
    cache.invalidate_tags(["pages"]).await.unwrap();
    let stats = cache.stats();
    assert_eq!((stats.total().outcome(Outcome::Hit), stats.requests(), stats.total().in_flight()), (1, 2, 0), "{name}");
    let store = &stats.stores()[0];
    assert_eq!((store.store, store.suspended, store.outbox_tags, store.corrupt_values), (name, Some(false), Some(0), Some(0)));
    for (of, at_least) in [("get", 2), ("put", 1), ("invalidate", 1)] {
        let operation = operation(store, of);
        assert!(operation.durations.count() >= at_least && operation.errors == 0, "{name}: {store:?}");
    }
    let text = stats.prometheus();
    assert!(
        text.contains(&format!("larder_store_operations_total{{cache=\"larder\",store=\"{name}\",op=\"put\"}} 1\n")),
        "{text}"
    );
}

#[tokio::test]
async fn redis_counts_operations_and_failures() {
    let mut redis = Redis::start();
    let cache = Cache::connect(&redis.url()).await.unwrap();
    a_store_counts(&cache, "redis").await;
    redis.kill();
    assert!(cache.invalidate_tags(["a", "b"]).await.is_err());
    let stats = cache.stats();
    let store = &stats.stores()[0];
    assert_eq!((store.suspended, store.outbox_tags), (Some(true), Some(2)));
    assert_eq!((operation(store, "invalidate").errors, stats.invalidations().failed(larder::InvalidationKind::Tags)), (1, 1));
    assert!(stats.prometheus().contains("larder_store_suspended{cache=\"larder\",store=\"redis\"} 1\n"));
    redis.start_again();
    eventually("redis", async || cache.stats().stores()[0].outbox_tags == Some(0)).await;
}

#[tokio::test]
async fn memcached_counts_operations() {
    let memcached = Memcached::start();
    a_store_counts(&Cache::connect(&memcached.url()).await.unwrap(), "memcached").await;
}

#[tokio::test]
async fn tiers_count_one_by_one() {
    let redis = Redis::start();
    let cache = Cache::connect(&format!("tiered+{}?near=1mb", redis.url())).await.unwrap();
    let app = app(&cache);
    eventually("redis", async || cache.health().await.is_healthy()).await;
    for _ in 0..3 {
        get(&app, "/page").await;
    }
    let stats = cache.stats();
    let stores: Vec<_> = stats.stores().iter().map(|store| (store.store, store.entries)).collect();
    assert_eq!(stores, [("near", Some(1)), ("redis", None)]);
    assert_eq!(stats.total().outcome(Outcome::Hit), 2);
}
