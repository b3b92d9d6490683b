//! Limits: each can be set, and is logged once a route when it is met.

use std::time::Duration;

use axum::{Router, response::IntoResponse, routing};
use http::Method;
use larder::{Cache, CacheDirective, CacheLayer, CacheTags, ManualClock, Memory, Reason};
use tokio::time::sleep;

use crate::support::{
    Answer, ChannelBody, MINUTE, Runs, cache, first_streams, get, get_with, logs::Logs, minute, numbered, numbered_with, page,
    paused::settled, send_empty, spawn_get,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A handler whose response has 200 tags.
async fn tagged() -> impl IntoResponse {
    let tags: Vec<String> = (0..200).map(|number| format!("tag {number}")).collect();
    (CacheTags::new(tags), "page")
}

/// A route that meets a limit with each request, and meets none with a changed setting.
struct Case {
    reason: Reason,
    layer: fn(CacheLayer) -> CacheLayer,
    raised: fn(CacheLayer) -> CacheLayer,
    app: fn(CacheLayer) -> Router,
    uri: fn(usize) -> String,
    field: (&'static str, usize),
}

impl Case {
    async fn send(&self, app: &Router, number: usize) -> Answer {
        let (name, length) = self.field;
        get_with(app, &(self.uri)(number), &[(name, &"x".repeat(length)), ("x-number", &number.to_string())]).await
    }
}

const PAGE: Case = Case {
    reason: Reason::TooManyTags,
    layer: |layer| layer,
    raised: |layer| layer,
    app: |layer| page(layer, numbered(&Runs::default())),
    uri: |number| format!("/page?n={number}"),
    field: ("x-plain", 1),
};

fn cases() -> [Case; 6] {
    [
        Case { raised: |layer| layer.max_tags(200), app: |layer| page(layer, tagged), ..PAGE },
        Case {
            reason: Reason::RequestFieldsTooLarge,
            raised: |layer| layer.max_request_fields(40 << 10),
            field: ("x-large", 33 << 10),
            ..PAGE
        },
        Case {
            reason: Reason::QueryTooLong,
            layer: |layer| layer.sort_query(true),
            raised: |layer| layer.max_query(10_000),
            uri: |number| format!("/page?{number}{}", "q".repeat(9000)),
            ..PAGE
        },
        Case {
            reason: Reason::TooLarge,
            raised: |layer| layer.max_body(2 << 20),
            app: |layer| page(layer, || async { "x".repeat((1 << 20) + 1) }),
            ..PAGE
        },
        // There is no setting: a tag has to be valid in every store.
        Case { reason: Reason::InvalidTag, app: |layer| page(layer, async || (CacheTags::new("x".repeat(257)), "page")), ..PAGE },
        Case {
            reason: Reason::VariantLimit,
            layer: |layer| layer.max_variants(0),
            raised: |layer| layer.max_variants(usize::MAX),
            app: |layer| page(layer, numbered_with(&Runs::default(), &[("vary", "x-number")])),
            uri: |_| "/page".to_owned(),
            ..PAGE
        },
    ]
}

#[tokio::test]
async fn five_hundred_requests_over_a_limit_log_one_warning() {
    let (logs, _guard) = Logs::collect();
    for case in cases() {
        let reason = case.reason;
        let app = (case.app)((case.layer)(minute(&cache().0)));
        for number in 0..500 {
            assert_eq!(case.send(&app, number).await.reason(), Some(reason), "{reason:?}");
        }
        let lines = logs.take();
        assert_eq!(lines.len(), 1, "{reason:?}: {lines:?}");
        assert!(lines[0].contains(reason.as_str()) && lines[0].contains("/page"), "{lines:?}");
        let app = (case.app)((case.raised)((case.layer)(minute(&cache().0))));
        let is_fixed = reason == Reason::InvalidTag;
        assert_eq!(case.send(&app, 0).await.is_stored(), !is_fixed, "{reason:?}");
        assert_eq!(logs.take().len(), usize::from(is_fixed), "{reason:?}");
    }
}

#[tokio::test]
async fn a_limit_is_logged_for_each_route() {
    let (logs, _guard) = Logs::collect();
    let app = Router::new()
        .route("/a/{id}", routing::get(tagged))
        .route("/b/{id}", routing::get(tagged))
        .route_layer(minute(&cache().0));
    for uri in ["/a/1", "/b/1", "/a/2", "/b/2"] {
        get(&app, uri).await;
    }
    let lines = logs.take();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("/a/{id}") && lines[1].contains("/b/{id}"), "{lines:?}");
}

/// Whether the page is fresh until this time, and no longer.
async fn lives(cache: &Cache, clock: &ManualClock, app: &Router, time: Duration) -> bool {
    cache.clear().await.unwrap();
    get(app, "/page").await;
    clock.advance(time - Duration::from_secs(1));
    let still_fresh = get(app, "/page").await.is_hit();
    clock.advance(Duration::from_secs(1));
    still_fresh && !get(app, "/page").await.is_hit()
}

#[tokio::test]
async fn a_lifetime_that_the_application_sets_is_not_shortened() {
    let (logs, _guard) = Logs::collect();
    let (cache, clock) = cache();
    // Services of their own.
    let week = |scope: &str| cache.layer().ttl(7 * DAY).scope(scope);
    let directed = page(cache.layer(), async || (CacheDirective::ttl(7 * DAY), "page"));
    assert!(lives(&cache, &clock, &page(week("ttl"), numbered(&Runs::default())), 7 * DAY).await);
    assert!(lives(&cache, &clock, &directed, 7 * DAY).await);
    assert_eq!(logs.take(), [""; 0]);

    let stating = |layer| page(layer, numbered_with(&Runs::default(), &[("cache-control", "max-age=604800")]));
    let app = stating(week("stated"));
    for _ in 0..5 {
        assert!(lives(&cache, &clock, &app, DAY).await);
    }
    assert_eq!(logs.take().len(), 1, "meant for browsers");
    assert!(lives(&cache, &clock, &stating(week("long").max_ttl(7 * DAY)), 7 * DAY).await);
    for app in [stating(week("short").max_ttl(MINUTE)), page(week("short ttl").max_ttl(MINUTE), numbered(&Runs::default()))] {
        assert!(lives(&cache, &clock, &app, MINUTE).await);
    }
    assert_eq!(logs.take(), [""; 0], "the application has set it");
}

#[tokio::test]
async fn a_full_table_of_tags_is_logged_once() {
    let (logs, _guard) = Logs::collect();
    let cache = Cache::new(Memory::new(1 << 20).tag_capacity(10));
    for number in 0..500 {
        cache.invalidate_tags(number.to_string()).await.unwrap();
    }
    assert_eq!(logs.take().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn requests_wait_for_the_end_of_a_stream_as_long_as_is_set() {
    for (layer, waited) in [
        (minute(&cache().0), Duration::from_millis(500)),
        (minute(&cache().0).stream_wait_limit(Duration::from_millis(50)), Duration::from_millis(50)),
    ] {
        let (frames, body) = ChannelBody::new();
        let app = page(layer, first_streams(body));
        let first = spawn_get(&app, "/page");
        settled().await;
        let second = spawn_get(&app, "/page");
        sleep(waited - Duration::from_millis(3)).await;
        assert!(!second.is_finished(), "{waited:?}");
        sleep(Duration::from_millis(10)).await;
        assert!(second.is_finished(), "{waited:?}");
        drop(frames);
        first.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_client_has_left_ends_at_its_limit() {
    let (logs, _guard) = Logs::collect();
    let cache = cache().0.with_abandoned_write_limit(MINUTE * 3);
    let put = async || sleep(MINUTE * 4).await;
    let app = Router::new().route("/page", routing::put(put).layer(minute(&cache)));
    let write = tokio::spawn(async move { send_empty(&app, Method::PUT, "/page").await });
    settled().await;
    write.abort();
    sleep(MINUTE * 2).await;
    assert_eq!(cache.unfinished_work().writes, 1);
    sleep(MINUTE + Duration::from_secs(1)).await;
    assert_eq!((cache.unfinished_work().writes, logs.take().len()), (0, 1));
}
