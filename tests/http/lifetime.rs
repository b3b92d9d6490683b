//! How long a response is fresh: its own fields, the settings of its route, the policy of its handler.

use std::time::{Duration, SystemTime};

use axum::{Router, routing};
use http::{Method, StatusCode};
use larder::{CacheDirective, CacheLayer, Forward, Reason};

use crate::support::{Runs, cache, fields, get, minute, numbered, numbered_with, page, request, send};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_responses_own_lifetime_is_obeyed() {
    const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    for (lines, seconds) in [
        (&[("cache-control", "max-age=5")][..], 5),
        (&[("cache-control", "max-age=5, s-maxage=9")], 9),
        (&[("cache-control", "s-maxage=5, max-age=9")], 5),
        (&[("cache-control", "max-age=9"), ("cache-control", "max-age=5")], 5),
        (&[DATE, ("expires", "Sun, 06 Nov 1994 08:49:42 GMT")], 5),
        (&[DATE, ("expires", "Sun, 06 Nov 1994 08:49:42 GMT"), ("cache-control", "max-age=9")], 9),
        (&[("cache-control", "max-age=9"), ("age", "4")], 5),
    ] {
        let (cache, clock) = cache();
        clock.set(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777));
        let app = page(minute(&cache), numbered_with(&Runs::default(), lines));
        get(&app, "/page").await;
        clock.advance(seconds * SECOND - Duration::from_millis(1));
        assert!(get(&app, "/page").await.is_hit(), "{lines:?}");
        clock.advance(Duration::from_millis(1));
        assert_eq!(get(&app, "/page").await.forward(), Some(Forward::Stale), "{lines:?}");
    }
}

#[tokio::test]
async fn response_stale_on_arrival_is_not_stored() {
    for lines in [
        &[("cache-control", "max-age=0")][..],
        &[("expires", "0")],
        &[("expires", "Sun, 06 Nov 1994 08:49:37 GMT")],
        &[("cache-control", "max-age=5"), ("age", "5")],
        &[("cache-control", "max-age=abc")],
    ] {
        let app = page(minute(&cache().0), numbered_with(&Runs::default(), lines));
        assert_eq!(get(&app, "/page").await.reason(), Some(Reason::Stale), "{lines:?}");
        assert_eq!(get(&app, "/page").await.text(), "run 2", "{lines:?}");
    }
}

#[tokio::test]
async fn route_with_a_lifetime_of_zero_stores_nothing_and_says_so() {
    let layer = |set: fn(CacheLayer) -> CacheLayer| set(minute(&cache().0));
    let of_404 = || async { StatusCode::NOT_FOUND };
    for app in [
        page(layer(|layer| layer.ttl(Duration::ZERO)), numbered(&Runs::default())),
        page(layer(|layer| layer.max_ttl(Duration::ZERO)), numbered(&Runs::default())),
        page(layer(|layer| layer.ttl_for(StatusCode::OK, Duration::ZERO)), numbered(&Runs::default())),
        page(layer(|layer| layer.negative_ttl(Duration::ZERO)), of_404),
        page(layer(|layer| layer.max_ttl(Duration::ZERO)), numbered_with(&Runs::default(), &[("cache-control", "max-age=9")])),
    ] {
        assert_eq!(get(&app, "/page").await.reason(), Some(Reason::ZeroTtl));
    }
}

#[tokio::test]
async fn an_age_from_upstream_counts_on() {
    let (cache, clock) = cache();
    let app = page(cache.layer(), numbered_with(&Runs::default(), &[("cache-control", "max-age=60"), ("age", "20")]));
    get(&app, "/page").await;
    clock.advance(7 * SECOND);
    let hit = get(&app, "/page").await;
    assert_eq!((hit.header("age"), hit.headers.get_all("age").iter().count()), (Some("27"), 1));
}

#[tokio::test]
async fn max_ttl_limits_the_lifetime_of_a_response() {
    let (cache, clock) = cache();
    let handler = numbered_with(&Runs::default(), &[("cache-control", "max-age=60")]);
    let app = page(cache.layer().max_ttl(5 * SECOND), handler);
    get(&app, "/page").await;
    clock.advance(5 * SECOND);
    assert!(!get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn a_ttl_below_a_second_neither_rounds_to_nothing_nor_lasts() {
    let (cache, clock) = cache();
    let app = page(cache.layer().ttl(Duration::from_millis(300)), numbered(&Runs::default()));
    get(&app, "/page").await;
    clock.advance(Duration::from_millis(299));
    assert!(get(&app, "/page").await.is_hit());
    clock.advance(Duration::from_millis(1));
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

#[tokio::test]
async fn a_ttl_is_not_cut_to_whole_seconds() {
    let (cache, clock) = cache();
    let app = page(cache.layer(), || async { (CacheDirective::ttl(Duration::from_millis(1900)), "page") });
    get(&app, "/page").await;
    clock.advance(Duration::from_millis(1899));
    assert!(get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn handler_policy_overrides_header_and_route_but_no_veto() {
    let second = Duration::from_secs(1);
    let policies = [
        (CacheDirective::ttl(5 * second), &[][..], Ok(5 * second)),
        (CacheDirective::ttl(5 * second), &[("cache-control", "max-age=9")], Ok(5 * second)),
        (CacheDirective::ttl(5 * second), &[("cache-control", "no-store")], Err(Reason::NoStore)),
        (CacheDirective::ttl(5 * second), &[("cache-control", "private")], Err(Reason::Private)),
        (CacheDirective::ttl(5 * second), &[("set-cookie", "a=1")], Err(Reason::SetCookie)),
        (CacheDirective::no_store(), &[("cache-control", "max-age=9")], Err(Reason::NoStore)),
        (CacheDirective::private(), &[("cache-control", "public")], Err(Reason::Private)),
    ];
    for (policy, lines, expected) in policies {
        let (cache, clock) = cache();
        let headers = fields(lines);
        let app = page(minute(&cache), move || async move { (headers, policy, "page") });
        let first = get(&app, "/page").await;
        match expected {
            Err(reason) => assert_eq!(first.reason(), Some(reason), "{policy:?} {lines:?}"),
            Ok(ttl) => {
                clock.advance(ttl - Duration::from_millis(1));
                assert!(get(&app, "/page").await.is_hit(), "{policy:?} {lines:?}");
                clock.advance(Duration::from_millis(1));
                assert!(!get(&app, "/page").await.is_hit(), "{policy:?} {lines:?}");
            }
        }
    }
}

#[tokio::test]
async fn larder_cache_control_overrides_cache_control() {
    for (targeted, plain, stored) in [
        ("max-age=60", "no-store", true),
        ("max-age=60", "private", true),
        ("no-store", "max-age=60", false),
        ("private", "public, max-age=60", false),
        ("", "max-age=60", true),
        ("", "no-store", false),
        (" ", "no-store", false),
    ] {
        let lines = [("larder-cache-control", targeted), ("cache-control", plain)];
        let app = page(cache().0.layer(), numbered_with(&Runs::default(), &lines));
        get(&app, "/page").await;
        let second = get(&app, "/page").await;
        assert_eq!(second.is_hit(), stored, "{lines:?}");
        assert_eq!(second.header("cache-control"), Some(plain));
    }
}

#[tokio::test]
async fn invalid_larder_cache_control_is_ignored() {
    let mut stored = Vec::new();
    for targeted in ["\"", ";;;", "max-age=60,", "max-age=60, NO", "=", "max-age==60", "max-age=60 public", "()"] {
        let lines = [("larder-cache-control", targeted), ("cache-control", "no-store")];
        let app = page(minute(&cache().0), numbered_with(&Runs::default(), &lines));
        get(&app, "/page").await;
        if get(&app, "/page").await.is_hit() {
            stored.push(targeted);
        }
    }
    assert_eq!(stored, [""; 0], "although `Cache-Control` said `no-store` (RFC 9213 §2.1)");
}

#[tokio::test]
async fn larder_cache_control_never_leaves() {
    let handler = numbered_with(&Runs::default(), &[("larder-cache-control", "max-age=60")]);
    let app = Router::new().route("/page", routing::any(handler).layer(minute(&cache().0)));
    for (method, lines) in [
        (Method::GET, &[][..]),
        (Method::GET, &[]),
        (Method::GET, &[("cookie", "bypass=1")]),
        (Method::GET, &[("authorization", "x")]),
        (Method::HEAD, &[]),
        (Method::POST, &[]),
        (Method::OPTIONS, &[]),
    ] {
        let answer = send(&app, request(method.clone(), "/page", lines)).await;
        assert_eq!(answer.header("larder-cache-control"), None, "{method} {lines:?}");
    }
}

/// With its age, a browser would find it stale on arrival.
#[tokio::test]
async fn a_response_that_is_kept_longer_than_it_says_has_no_age() {
    for (own, kept) in [("max-age=3600", true), ("max-age=100000", false), ("public", false)] {
        let (cache, clock) = cache();
        let app =
            page(
                cache.layer(),
                move || async move { (CacheDirective::ttl(24 * 3600 * SECOND), [("cache-control", own)], "page") },
            );
        get(&app, "/page").await;
        clock.advance(7200 * SECOND);
        let hit = get(&app, "/page").await;
        assert_eq!((hit.is_hit(), hit.header("age")), (true, Some(if kept { "0" } else { "7200" })), "{own}");
    }
}
