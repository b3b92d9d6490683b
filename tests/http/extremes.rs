//! Every setting at its extremes: no value panics, wraps, or keeps a request waiting forever.

use std::time::{Duration, UNIX_EPOCH};

use axum::{Router, routing};
use http::{Method, StatusCode};
use larder::{Cache, CacheDirective, CacheLayer, ManualClock, Memory};
use tokio::time::timeout;

use crate::support::{MINUTE, Runs, get, numbered, page, request, send_empty, spawn_get};

const DURATIONS: [Duration; 4] = [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(u64::MAX), Duration::MAX];
const NUMBERS: [f64; 9] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, -0.0, 0.0, f64::MIN_POSITIVE, 1.0, f64::MAX];
const COUNTS: [usize; 3] = [0, 1, usize::MAX];
const BYTES: [u64; 3] = [0, 1, u64::MAX];

/// Longer than every limit: a paused clock reaches it only if nothing else will ever happen.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// Reads, concurrently as well, writes, invalidates, expires, refreshes, and shuts down.
async fn exercise(what: &str, cache: &Cache, layer: CacheLayer) {
    let layer = layer.tags(["page"]);
    let app = Router::new().route("/page", routing::get(numbered(&Runs::default())).put(async || "done").layer(layer));
    let work = async {
        for _ in 0..2 {
            assert_eq!(get(&app, "/page").await.status, StatusCode::OK, "{what}");
        }
        for request in [spawn_get(&app, "/page?x"), spawn_get(&app, "/page?x"), spawn_get(&app, "/page?x")] {
            assert_eq!(request.await.unwrap().status, StatusCode::OK, "{what}");
        }
        cache.expire_tags("page").await.unwrap();
        assert_eq!(get(&app, "/page").await.status, StatusCode::OK, "{what}");
        cache.invalidate_tags("page").await.unwrap();
        assert!(!get(&app, "/page").await.is_hit(), "{what}");
        assert_eq!(send_empty(&app, Method::PUT, "/page").await.text(), "done", "{what}");
        assert!(!get(&app, "/page").await.is_hit(), "{what}");
        cache.refresh(app.clone(), request(Method::GET, "/page", &[])).await.unwrap();
        cache.clear().await.unwrap();
        cache.drain(Duration::MAX).await
    };
    assert!(timeout(FOREVER, work).await.unwrap_or_else(|_| panic!("{what} hangs")).is_complete(), "{what}");
}

fn memory() -> Cache {
    Cache::in_memory(1 << 20)
}

type OfLayer<T> = (&'static str, fn(CacheLayer, T) -> CacheLayer);

async fn exercise_layers<T: Copy + std::fmt::Debug>(setters: &[OfLayer<T>], values: &[T]) {
    for (name, set) in setters {
        for value in values {
            let cache = memory();
            let base = cache.layer().ttl(MINUTE).stale_while_revalidate(MINUTE).stale_if_error(MINUTE);
            exercise(&format!("{name}({value:?})"), &cache, set(base, *value)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_takes_any_value() {
    let durations: &[OfLayer<Duration>] = &[
        ("ttl", CacheLayer::ttl),
        ("ttl and max_ttl", |layer, value| layer.ttl(value).max_ttl(value).jitter(0.5)),
        ("negative_ttl", CacheLayer::negative_ttl),
        ("ttl_for", |layer, value| layer.ttl_for(StatusCode::OK, value)),
        ("max_ttl", CacheLayer::max_ttl),
        ("stale_while_revalidate", CacheLayer::stale_while_revalidate),
        ("stale_if_error", CacheLayer::stale_if_error),
        ("soft_timeout", CacheLayer::soft_timeout),
        ("wait_limit", CacheLayer::wait_limit),
        ("stream_wait_limit", CacheLayer::stream_wait_limit),
        ("collapse_across_nodes", CacheLayer::collapse_across_nodes),
    ];
    exercise_layers(durations, &DURATIONS).await;
    exercise_layers(&[("jitter", CacheLayer::jitter as fn(_, _) -> _), ("refresh_ahead", CacheLayer::refresh_ahead)], &NUMBERS)
        .await;
    let counts: &[OfLayer<usize>] = &[
        ("max_tags", CacheLayer::max_tags),
        ("max_variants", |layer, value| layer.max_variants(value).vary_on(["accept-language"])),
        ("max_request_fields", CacheLayer::max_request_fields),
        ("max_query", |layer, value| layer.max_query(value).sort_query(true)),
    ];
    exercise_layers(counts, &COUNTS).await;
    exercise_layers(&[("max_body", CacheLayer::max_body as fn(_, _) -> _)], &BYTES).await;
    for value in DURATIONS {
        let app = page(memory().layer(), move || async move { (CacheDirective::ttl(value), "page") });
        assert_eq!(get(&app, "/page").await.text(), "page", "{value:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_takes_any_value() {
    let mut caches = Vec::new();
    for duration in DURATIONS {
        caches.push(("with_abandoned_fetch_limit", memory().with_abandoned_fetch_limit(duration)));
        caches.push(("with_abandoned_write_limit", memory().with_abandoned_write_limit(duration)));
        caches.push(("with_uncacheable_keys", memory().with_uncacheable_keys(usize::MAX, duration)));
    }
    for count in COUNTS {
        caches.push(("with_max_fetches", memory().with_max_fetches(count)));
        caches.push(("with_max_waiters", memory().with_max_waiters(count, count)));
        caches.push(("with_uncacheable_keys", memory().with_uncacheable_keys(count, MINUTE)));
        caches.push(("tag_capacity", Cache::new(Memory::new(1 << 20).tag_capacity(count))));
        for bytes in BYTES {
            caches.push(("with_max_abandoned_fetches", memory().with_max_abandoned_fetches(count, bytes)));
        }
    }
    for bytes in BYTES {
        caches.push(("with_max_buffered_bytes", memory().with_max_buffered_bytes(bytes)));
        caches.push(("Memory::new", Cache::in_memory(bytes)));
        #[cfg(feature = "memory-quick")]
        caches.push(("Memory::quick", Cache::new(Memory::quick(bytes))));
    }
    for time in [UNIX_EPOCH, UNIX_EPOCH + MINUTE, UNIX_EPOCH + Duration::from_millis(u64::MAX / 2)] {
        for step in DURATIONS {
            let clock = ManualClock::new();
            clock.set(time);
            clock.advance(step);
            assert!(clock.now() >= time, "{time:?} {step:?}");
            caches.push(("with_clock", memory().with_clock(&clock)));
        }
    }
    for (number, (name, cache)) in caches.into_iter().enumerate() {
        let layer = cache.layer().ttl(MINUTE).stale_while_revalidate(MINUTE);
        exercise(&format!("{name}, case {number}"), &cache, layer).await;
    }
}
