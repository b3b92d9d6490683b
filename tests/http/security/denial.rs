//! What clients send must not exhaust memory, nor switch the cache off.

use std::sync::Arc;

use axum::{Router, response::IntoResponse as _, routing};
use http::{Method, StatusCode, header::RANGE};
use larder::{Cache, CacheTags, Forward, Memory, Reason};

use crate::support::{
    Gate, Runs, answering, cache, field, fields, get, get_with, minute, numbered, numbered_with, page, send_empty, spawn_get,
};

#[tokio::test]
async fn d1_unique_keys_do_not_grow_the_store_beyond_its_bytes() {
    const LIMIT: u64 = 256 << 10;
    let store = Arc::new(Memory::new(LIMIT));
    let app = page(minute(&Cache::from_arc(store.clone())), answering(|_| "x".repeat(500)));
    for number in 0..6_000 {
        get(&app, &format!("/page?x={number}")).await;
        if number % 1000 == 0 {
            assert!(store.bytes() <= LIMIT, "{} bytes after {number}", store.bytes());
        }
    }
    assert!((LIMIT / 2..=LIMIT).contains(&store.bytes()), "{} bytes", store.bytes());
    assert!(store.entries() <= LIMIT / 500);
}

#[tokio::test]
async fn d1_a_response_larger_than_the_store_is_served_and_not_stored() {
    let store = Arc::new(Memory::new(10_000));
    let app = page(minute(&Cache::from_arc(store.clone())), answering(|_| "x".repeat(20_000)));
    for _ in 0..2 {
        let answer = get(&app, "/page").await;
        assert_eq!((answer.body.len(), answer.reason()), (20_000, Some(Reason::TooLarge)));
    }
    assert_eq!(store.entries(), 0);
}

#[tokio::test]
async fn d2_a_thousand_languages_take_no_more_than_the_variants_of_one_url() {
    let store = Arc::new(Memory::new(64 << 20));
    let handler = answering(|parts| (fields(&[("vary", "accept-language")]), field(parts, "accept-language").to_owned()));
    let app = page(minute(&Cache::from_arc(store.clone())), handler);
    for number in 0..1000 {
        let language = format!("x-{number}");
        let answer = get_with(&app, "/page", &[("accept-language", &language)]).await;
        assert_eq!((answer.text(), answer.is_stored()), (&*language, true));
    }
    assert_eq!(store.entries(), 32 + 1);
    assert!(!get_with(&app, "/page", &[("accept-language", "x-0")]).await.is_hit());
    assert!(get_with(&app, "/page", &[("accept-language", "x-999")]).await.is_hit());
}

/// A client that invents values of a field does not push out what others use, and does not switch the page off.
#[tokio::test]
async fn d2_variants_with_hits_stay_when_a_client_invents_others() {
    let app = page(minute(&cache().0), numbered_with(&Runs::default(), &[("vary", "accept-language")]));
    for _ in 0..100 {
        assert_eq!(get_with(&app, "/page", &[("accept-language", "de")]).await.text(), "run 1");
    }
    for number in 0..200 {
        get_with(&app, "/page", &[("accept-language", &format!("x-{number}"))]).await;
    }
    assert_eq!(get_with(&app, "/page", &[("accept-language", "de")]).await.text(), "run 1");
    let french = [("accept-language", "fr")];
    assert!(get_with(&app, "/page", &french).await.is_stored() && get_with(&app, "/page", &french).await.is_hit());
}

#[tokio::test]
async fn d2_variants_that_have_expired_make_room() {
    let (cache, clock) = cache();
    let app = page(minute(&cache).max_variants(2), numbered_with(&Runs::default(), &[("vary", "accept-language")]));
    for language in ["a", "b", "c"] {
        get_with(&app, "/page", &[("accept-language", language)]).await;
    }
    assert!(!get_with(&app, "/page", &[("accept-language", "a")]).await.is_hit());
    clock.advance(crate::support::MINUTE);
    assert!(get_with(&app, "/page", &[("accept-language", "c")]).await.is_stored());
    assert!(get_with(&app, "/page", &[("accept-language", "c")]).await.is_hit());
}

#[tokio::test]
async fn d2_a_flood_of_different_vary_fields_is_bounded_too() {
    let store = Arc::new(Memory::new(64 << 20));
    let handler = answering(|parts| ([("vary", field(parts, "x-vary").to_owned())], field(parts, "x-vary").to_owned()));
    let app = page(minute(&Cache::from_arc(store.clone())), handler);
    for number in 0..200 {
        let name = format!("x-vary, x-{number}");
        assert_eq!(get_with(&app, "/page", &[("x-vary", &name)]).await.text(), name);
    }
    assert!(store.entries() <= 33);
}

#[tokio::test]
async fn d3_a_response_with_too_many_or_unusable_tags_is_served_and_not_stored() {
    let tags: [(CacheTags, Option<Reason>); 5] = [
        ((0..128).map(|number| format!("tag {number}")).collect(), None),
        ((0..129).map(|number| format!("tag {number}")).collect(), Some(Reason::TooManyTags)),
        (CacheTags::new(["x".repeat(256)]), None),
        (CacheTags::new(["x".repeat(257)]), Some(Reason::InvalidTag)),
        (CacheTags::new(["posts", ""]), Some(Reason::InvalidTag)),
    ];
    for (tags, refused) in tags {
        let app = page(minute(&cache().0), answering(move |_| (tags.clone(), "page")));
        let answer = get(&app, "/page").await;
        assert_eq!((answer.text(), answer.reason()), ("page", refused));
        assert_eq!(get(&app, "/page").await.is_hit(), refused.is_none());
    }
}

#[tokio::test]
async fn d3_a_flood_of_invalidated_tags_is_bounded_and_stays_correct() {
    let store = Arc::new(Memory::new(64 << 20).tag_capacity(1000));
    let cache = Cache::from_arc(store.clone());
    let app = page(minute(&cache).tags(["posts"]), numbered(&Runs::default()));
    get(&app, "/page").await;
    cache.invalidate_tags(["posts"]).await.unwrap();
    for number in 0..200_000 {
        cache.invalidate_tags([format!("tag {number}")]).await.unwrap();
    }
    // That of the stored page, and a thousand that concern nothing that is stored.
    assert_eq!(store.invalidated_tags(), 1 + 1000);
    assert_eq!(get(&app, "/page").await.text(), "run 2");
    assert!(get(&app, "/page").await.is_hit());
    cache.invalidate_tags(["posts"]).await.unwrap();
    assert_eq!(get(&app, "/page").await.text(), "run 3");
}

#[tokio::test]
async fn d3_an_unusable_tag_does_not_protect_others_from_invalidation() {
    let (cache, _) = cache();
    let app = page(minute(&cache).tags(["posts"]), numbered(&Runs::default()));
    for unusable in [String::new(), "x".repeat(257)] {
        for tags in [["posts", &unusable], [&unusable, "posts"]] {
            get(&app, "/page").await;
            assert!(cache.invalidate_tags(tags).await.unwrap_err().is_invalid_input());
            assert_eq!(get(&app, "/page").await.forward(), Some(Forward::UriMiss));
            assert!(cache.expire_tags(tags).await.unwrap_err().is_invalid_input());
            assert_eq!(get(&app, "/page").await.forward(), Some(Forward::Stale));
        }
        assert!(cache.invalidate_tags(&unusable).await.unwrap_err().is_invalid_input());
        assert!(get(&app, "/page").await.is_hit());
    }
}

#[tokio::test]
async fn d7_a_clients_reload_does_not_switch_the_cache_off() {
    let app = page(minute(&cache().0), numbered(&Runs::default()));
    get(&app, "/page").await;
    for lines in [
        [("cache-control", "no-cache"), ("pragma", "no-cache")],
        [("cache-control", "max-age=0"), ("accept", "*/*")],
        [("cache-control", "no-store"), ("accept", "*/*")],
        [("cache-control", "only-if-cached, min-fresh=999999"), ("accept", "*/*")],
        [("if-none-match", "\"x\""), ("if-modified-since", "Fri, 31 Dec 1999 23:59:59 GMT")],
    ] {
        assert!(get_with(&app, "/page", &lines).await.is_hit(), "{lines:?}");
    }
}

#[tokio::test]
async fn d7_a_route_that_never_looks_at_credentials_can_say_so() {
    let app = page(minute(&cache().0).ignore_authorization(true).ignore_cookies(true), numbered(&Runs::default()));
    get(&app, "/page").await;
    assert!(get_with(&app, "/page", &[("authorization", "x"), ("cookie", "x=1")]).await.is_hit());
}

#[tokio::test]
async fn d7_bypassing_request_leaves_the_entry() {
    let app = page(minute(&cache().0), numbered(&Runs::default()));
    get(&app, "/page").await;
    for line in [("authorization", "x"), ("cookie", "x=1"), ("x-original-url", "/"), ("content-length", "1"), ("upgrade", "h2c")]
    {
        assert!(!get_with(&app, "/page", &[line]).await.is_hit());
    }
    assert_eq!(get(&app, "/page").await.text(), "run 1");
}

#[tokio::test]
async fn d11_abusive_ranges_get_the_whole_body_or_416() {
    let app = page(minute(&cache().0), || async { "0123456789" });
    get(&app, "/page").await;
    let many = format!("bytes={}", vec!["0-"; 1000].join(","));
    for (range, status, body) in [
        ("bytes=0-1", StatusCode::PARTIAL_CONTENT, "01"),
        ("bytes=-9223372036854775808,9223372036854775807-", StatusCode::OK, "0123456789"),
        ("bytes=99999999999999999999-", StatusCode::RANGE_NOT_SATISFIABLE, ""),
        ("lines=1", StatusCode::OK, "0123456789"),
        (&many, StatusCode::OK, "0123456789"),
    ] {
        let answer = get_with(&app, "/page", &[("range", range)]).await;
        assert_eq!((answer.status, answer.text(), answer.is_hit()), (status, body, true), "{range}");
    }
}

#[tokio::test]
async fn d11_a_part_is_never_stored_as_the_whole() {
    let handler = answering(|parts| match parts.headers.get(RANGE) {
        Some(_) => (StatusCode::PARTIAL_CONTENT, [("content-range", "bytes 0-1/10"), ("cache-control", "max-age=60")], "01")
            .into_response(),
        None => "0123456789".into_response(),
    });
    let app = page(minute(&cache().0).ttl_for(StatusCode::PARTIAL_CONTENT, crate::support::MINUTE), handler);
    assert_eq!(get_with(&app, "/page", &[("range", "bytes=0-1")]).await.reason(), Some(Reason::Status));
    assert_eq!(get(&app, "/page").await.text(), "0123456789");
}

/// Each of them implies the invalidation of its URI, where nothing is stored.
#[tokio::test]
async fn d4_writes_where_nothing_is_stored_leave_the_store_alone() {
    let cache = Cache::new(Memory::new(64 << 20).tag_capacity(100));
    let routes = Router::new().route("/{*path}", routing::get(numbered(&Runs::default())).post(|| async {}));
    let app = routes.layer(minute(&cache));
    get(&app, "/page").await;
    for number in 0..1000 {
        send_empty(&app, Method::POST, &format!("/nothing/{number}")).await;
    }
    assert_eq!(get(&app, "/page").await.text(), "run 1");
    send_empty(&app, Method::POST, "/page").await;
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

/// A response that is fetched during so many invalidations may be one of those that they concern.
#[tokio::test]
async fn d4_a_fetch_during_many_such_writes_is_not_stored() {
    let cache = Cache::new(Memory::new(64 << 20).tag_capacity(100));
    let gate = Gate::closed();
    let handler = {
        let gate = gate.clone();
        move || {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                "page"
            }
        }
    };
    let app = page(minute(&cache), handler);
    let waiting = spawn_get(&app, "/page");
    gate.arrival().await;
    for number in 0..200 {
        cache.invalidate_uri(format!("/nothing/{number}")).await.unwrap();
    }
    gate.open(2);
    assert_eq!(waiting.await.unwrap().reason(), Some(Reason::Invalidated));
    assert!(get(&app, "/page").await.is_stored());
}
