//! What the screens show of what has happened.

use std::time::Duration;

use super::{ROOT, api, app, submit};
use crate::support::{cache, get, get_with, minute};

async fn screen(app: &axum::Router, path: &str) -> String {
    get(app, &format!("{ROOT}{path}")).await.text().to_owned()
}

#[tokio::test]
async fn figures_are_those_that_were_counted() {
    let (cache, _) = cache();
    let app = app(&cache);
    for _ in 0..3 {
        get(&app, "/posts/7").await;
        get(&app, "/none").await;
    }
    let stats = api(&app, "stats").await;
    assert_eq!(
        (&stats["requests"], &stats["outcomes"]["hit"], &stats["outcomes"]["uncached"]),
        (&6.into(), &2.into(), &3.into())
    );
    let overview = screen(&app, "").await;
    assert!(overview.contains("33.3 %"), "{overview}");
    let routes = api(&app, "routes").await;
    assert_eq!(
        (&routes["routes"][0]["route"], &routes["routes"][0]["not_stored"][0]["reason"]),
        (&"/none".into(), &"no-freshness".into())
    );
    let page = screen(&app, "/routes").await;
    assert!(page.contains("no-freshness") && page.contains(".ttl(Duration::from_secs(60))"), "{page}");
    assert!(screen(&app, "/store").await.contains("The store answers"));
    assert_eq!(api(&app, "health").await["healthy"], true);
}

#[tokio::test(start_paused = true)]
async fn curves_and_rates_come_from_a_ring() {
    let (cache, _) = cache();
    let app = app(&cache);
    assert_eq!(api(&app, "stats").await["last_minute"], serde_json::Value::Null);
    // The task of the ring begins.
    tokio::task::yield_now().await;
    for _ in 0..10 {
        get(&app, "/posts/7").await;
    }
    tokio::time::advance(Duration::from_secs(5)).await;
    tokio::task::yield_now().await;
    let minute = api(&app, "stats").await["last_minute"].clone();
    assert_eq!((&minute["requests_per_second"], &minute["hit_ratio"]), (&2.0.into(), &0.9.into()));
    tokio::time::advance(Duration::from_secs(5)).await;
    tokio::task::yield_now().await;
    assert!(screen(&app, "").await.contains("<polyline"));
}

#[tokio::test]
async fn keys_are_digests_unless_they_are_revealed() {
    let (cache, _) = cache();
    for (cache, reveals) in [(cache.clone(), false), (cache.with_revealed_keys(true), true)] {
        let app = app(&cache);
        for _ in 0..500 {
            get(&app, "/posts/secret-page").await;
        }
        let digest = cache.hot_keys(1)[0].digest.clone();
        let page = screen(&app, "/keys").await;
        assert!(page.contains(&digest));
        assert_eq!(page.contains("secret-page"), reveals);
    }
}

#[tokio::test]
async fn memory_curve_is_shown_once_a_sampled_response_was_looked_up() {
    let (cache, _) = cache();
    let app = app(&cache);
    assert!(screen(&app, "/memory").await.contains("There is no estimate yet: no sampled response has been looked up."));
    let curve = api(&app, "memory").await["curve"].clone();
    assert_eq!((&curve["points"], &curve["sampled"]), (&serde_json::Value::Null, &0.into()));
    // One key of 64 is sampled.
    for id in 0..2_000 {
        get(&app, &format!("/posts/{id}")).await;
        get(&app, &format!("/posts/{id}")).await;
    }
    let expected = cache.memory_curve().unwrap();
    let curve = api(&app, "memory").await["curve"].clone();
    let sizes: Vec<_> = curve["points"].as_array().unwrap().iter().map(|point| point["size"].as_f64().unwrap()).collect();
    assert_eq!((sizes, &curve["sampled"]), (vec![0.5, 1.0, 2.0, 4.0], &expected.sampled().into()));
    // JSON is read with an error of one unit in the last place.
    let difference = curve["measured"].as_f64().unwrap() - expected.measured().unwrap();
    assert!(difference.abs() < 1e-9, "{difference}");
    let page = screen(&app, "/memory").await;
    let shown = |ratio: f64| format!("{:.1} %", ratio * 100.0);
    for point in expected.points().unwrap() {
        assert!(page.contains(&shown(point.hit_ratio)), "{page}");
    }
    assert!(page.contains(&format!("{}, of all lookups", shown(expected.measured().unwrap()))), "{page}");
    assert!(page.contains("the estimate says little") && page.contains("half of it would answer as many lookups"), "{page}");
}

#[tokio::test]
async fn small_memory_is_said_to_be_too_small() {
    // A lap of 2,000 pages of 1 KiB, over and over, in a store of half of them: the least recently used page is always the next.
    let cache = larder::Cache::new(larder::Memory::new(1 << 20));
    let layer = minute(&cache);
    let body = "x".repeat(1 << 10);
    let page = axum::routing::get(move || std::future::ready(body.clone())).layer(layer);
    let app = app(&cache).route("/pages/{id}", page);
    for visit in 0..12_000 {
        get(&app, &format!("/pages/{}", visit % 2_000)).await;
    }
    let page = screen(&app, "/memory").await;
    assert!(page.contains("More memory would help"), "{page}");
}

#[tokio::test]
async fn names_are_escaped() {
    let (cache, _) = cache();
    let app = app(&cache);
    cache.invalidate_tags(["<script>alert(1)</script>\u{1b}[31m"]).await.unwrap();
    let page = screen(&app, "/tags").await;
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;\\u{1b}[31m"), "{page}");
}

#[tokio::test]
async fn forms_work_without_a_script() {
    let (cache, _) = cache();
    let app = app(&cache);
    get(&app, "/posts/7").await;
    let explained = submit(&app, "/explain", "method=GET&url=http%3A%2F%2Fexample.com%2Fposts%2F7&headers=").await;
    assert!(explained.text().contains("A fresh stored response answers"), "{}", explained.text());
    let done = submit(&app, "/actions/invalidate", "tags=post%3A7%0D%0Aposts").await;
    assert!(done.text().contains("2 tags are invalidated"), "{}", done.text());
    assert!(!get(&app, "/posts/7").await.is_hit());
    assert!(screen(&app, "/tags").await.contains("tag post:7"));
}

#[tokio::test]
async fn route_without_a_hit_and_a_mode_are_warnings() {
    let (cache, _) = cache();
    let app = app(&cache);
    for _ in 0..100 {
        get_with(&app, "/posts/7", &[("cookie", "a=b")]).await;
        get(&app, "/none").await;
    }
    cache.set_mode(larder::CacheMode::ReadOnly);
    let page = screen(&app, "").await;
    assert!(page.contains("The route /none has had no hit") && page.contains("read-only: nothing new is stored"), "{page}");
}
