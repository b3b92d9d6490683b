//! Every setting of a remote store at its extremes: no value panics, wraps, or keeps a request waiting.

use std::time::Duration;

use axum::{Router, routing};
use http::StatusCode;
use larder::{Cache, Memcached, MemcachedBuilder, Memory, Redis, RedisBuilder, Tiered};
use tokio::time::timeout;

use crate::{
    servers::{memcached::Memcached as MemcachedServer, redis::Redis as RedisServer},
    support::{Runs, get, minute, numbered, spawn_get},
};

const DURATIONS: [Duration; 4] = [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(u64::MAX), Duration::MAX];
const COUNTS: [usize; 2] = [0, usize::MAX];

/// Longer than the default limits, and shorter than a test may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reads and invalidates: the store may be useless with such a setting, but requests are answered.
async fn exercise(what: &str, cache: &Cache) {
    let layer = minute(cache).tags(["page"]);
    let app = Router::new().route("/page", routing::get(numbered(&Runs::default())).layer(layer));
    let work = async {
        for _ in 0..3 {
            assert_eq!(get(&app, "/page").await.status, StatusCode::OK, "{what}");
        }
        for request in [spawn_get(&app, "/page?x"), spawn_get(&app, "/page?x")] {
            assert_eq!(request.await.unwrap().status, StatusCode::OK, "{what}");
        }
        let old = get(&app, "/page").await;
        if cache.invalidate_tags("page").await.is_ok() {
            assert_ne!(get(&app, "/page").await.text(), old.text(), "{what}");
        }
        _ = cache.expire_tags("page").await;
        assert_eq!(get(&app, "/page").await.status, StatusCode::OK, "{what}");
        cache.drain(Duration::from_millis(50)).await;
    };
    timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("{what} hangs"));
}

macro_rules! builders {
    ($builder:ty) => {{
        let mut builders: Vec<(String, $builder)> = Vec::new();
        for value in DURATIONS {
            let quick = || builder().invalidate_timeout(Duration::from_millis(200));
            builders.push((format!("read_timeout({value:?})"), quick().read_timeout(value)));
            builders.push((format!("store_timeout({value:?})"), quick().store_timeout(value)));
            builders.push((format!("invalidate_timeout({value:?})"), builder().invalidate_timeout(value)));
            builders.push((format!("connect_timeout({value:?})"), quick().connect_timeout(value)));
        }
        for value in COUNTS {
            builders.push((format!("max_owed_tags({value})"), builder().max_owed_tags(value)));
            builders.push((format!("compress_from({value})"), builder().compress_from(Some(value))));
        }
        for value in [0, u32::MAX] {
            builders.push((format!("failures({value})"), builder().failures(value)));
        }
        builders
    }};
}

#[tokio::test]
async fn redis_takes_any_value() {
    fn builder() -> RedisBuilder {
        Redis::builder()
    }
    let server = RedisServer::start();
    let mut builders = builders!(RedisBuilder);
    for replicas in [0, u32::MAX] {
        builders.push((format!("durability({replicas})"), builder().durability(replicas)));
        for limit in [Duration::ZERO, Duration::from_millis(1)] {
            let durable = builder().durability(replicas).invalidate_timeout(limit);
            builders.push((format!("durability({replicas}) with {limit:?}"), durable));
        }
    }
    for (number, (what, builder)) in builders.into_iter().enumerate() {
        let redis =
            timeout(PATIENCE, builder.key_prefix(&number.to_string()).connect(&server.url())).await.expect(&what).unwrap();
        exercise(&what, &Cache::new(redis)).await;
    }
    for value in DURATIONS {
        let far = async || Redis::builder().key_prefix(&format!("{value:?}")).connect(&server.url()).await.unwrap();
        exercise(&format!("lease({value:?})"), &Cache::new(Tiered::new(Memory::new(1 << 20), far().await).lease(value))).await;
        let cache = Cache::new(far().await);
        let layer = minute(&cache).collapse_across_nodes(value);
        let app = Router::new().route("/lock", routing::get(numbered(&Runs::default())).layer(layer));
        let answer = timeout(PATIENCE, get(&app, "/lock")).await.expect("a fetch lock");
        assert_eq!(answer.status, StatusCode::OK, "collapse_across_nodes({value:?})");
    }
}

#[tokio::test]
async fn memcached_takes_any_value() {
    fn builder() -> MemcachedBuilder {
        Memcached::builder()
    }
    let server = MemcachedServer::start();
    let mut builders = builders!(MemcachedBuilder);
    for bytes in COUNTS {
        builders.push((format!("max_value({bytes})"), builder().max_value(bytes)));
    }
    let url = server.url();
    for (number, (what, builder)) in builders.into_iter().enumerate() {
        let memcached = timeout(PATIENCE, builder.key_prefix(&number.to_string()).connect(&url)).await.expect(&what).unwrap();
        exercise(&what, &Cache::new(memcached)).await;
    }
}
