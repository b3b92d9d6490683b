//! What other caches were seen to get wrong, each as a sentence about what must happen.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    mem,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, Request},
    response::{IntoResponse, Response},
    routing,
};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full};
use larder::{Cache, CacheDirective, CacheStatus, CacheTags, Forward, Memory, Reason};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tower::{Layer as _, Service, ServiceBuilder, ServiceExt as _, limit::ConcurrencyLimitLayer, service_fn};

use crate::support::{
    ChannelBody, Gate, MINUTE, Runs, answering, cache, field, fields, first_streams, get, get_with, minute, numbered,
    numbered_with, page, read, request, send, send_empty,
};

const SECOND: Duration = Duration::from_secs(1);

// Lost invalidations.

/// Every way to invalidate the page.
const WAYS: [Way; 6] = [Way::Tag, Way::HandlersTag, Way::Uri, Way::Path, Way::Clear, Way::Expire];

#[derive(Debug, Clone, Copy)]
enum Way {
    Tag,
    HandlersTag,
    Uri,
    Path,
    Clear,
    Expire,
}

impl Way {
    async fn invalidate(self, cache: &Cache) {
        match self {
            Self::Tag => cache.invalidate_tags(["posts"]).await,
            Self::HandlersTag => cache.invalidate_tags(["author:1"]).await,
            Self::Uri => cache.invalidate_uri("http://EXAMPLE.com/page?any=query").await,
            Self::Path => cache.invalidate_uri("/page").await,
            Self::Clear => cache.clear().await,
            Self::Expire => cache.expire_tags(["posts"]).await,
        }
        .unwrap();
    }
}

/// A page that carries the tags `posts` and `author:1`, and whose first handler waits at the gate.
fn gated(cache: &Cache, gate: &Gate) -> Router {
    let (runs, gate) = (Runs::default(), gate.clone());
    let handler = move || async move {
        let run = runs.begin();
        if run == 1 {
            gate.pass().await;
        }
        (CacheTags::new(["author:1"]), format!("run {run}"))
    };
    page(minute(cache).tags(["posts"]), handler)
}

fn spawn_get(app: &Router) -> tokio::task::JoinHandle<crate::support::Answer> {
    let app = app.clone();
    tokio::spawn(async move { get(&app, "/page").await })
}

#[tokio::test]
async fn what_a_handler_read_before_an_invalidation_is_not_served_after_it() {
    for way in WAYS {
        let ((cache, _), gate) = (cache(), Gate::closed());
        let app = gated(&cache, &gate);
        let slow = spawn_get(&app);
        gate.arrival().await;

        way.invalidate(&cache).await;
        gate.open(1);

        assert_eq!(slow.await.unwrap().text(), "run 1");
        assert_eq!(get(&app, "/page").await.text(), "run 2", "{way:?}");
        assert!(get(&app, "/page").await.is_hit(), "{way:?}");
    }
}

#[tokio::test]
async fn a_request_that_begins_after_an_invalidation_does_not_join_an_older_fetch() {
    for way in WAYS {
        let ((cache, _), gate) = (cache(), Gate::closed());
        let app = gated(&cache, &gate);
        let slow = spawn_get(&app);
        gate.arrival().await;

        way.invalidate(&cache).await;
        assert_eq!(get(&app, "/page").await.text(), "run 2", "{way:?}");

        gate.open(1);
        slow.await.unwrap();
        assert_ne!(get(&app, "/page").await.text(), "run 1", "{way:?}");
    }
}

#[tokio::test]
async fn an_older_fetch_that_ends_late_does_not_push_out_what_a_newer_one_stored() {
    for way in WAYS {
        let ((cache, _), gate) = (cache(), Gate::closed());
        let app = gated(&cache, &gate);
        let slow = spawn_get(&app);
        gate.arrival().await;
        way.invalidate(&cache).await;
        get(&app, "/page").await;

        gate.open(1);
        slow.await.unwrap();

        assert_eq!(get(&app, "/page").await.text(), "run 2", "{way:?}");
    }
}

#[tokio::test]
async fn what_streams_across_an_invalidation_is_not_served_after_it() {
    for way in WAYS {
        let (cache, _) = cache();
        let (frames, body) = ChannelBody::new();
        let stream = first_streams(body);
        let handler = move || async move { (CacheTags::new(["author:1"]), stream().into_inner()) };
        let app = page(minute(&cache).tags(["posts"]), handler);

        let response = app.clone().oneshot(request(Method::GET, "/page", &[])).await.unwrap();
        frames.send("old");
        way.invalidate(&cache).await;
        drop(frames);

        assert_eq!(read(response).await.text(), "old");
        assert_eq!(get(&app, "/page").await.text(), "later", "{way:?}");
    }
}

#[tokio::test]
async fn what_a_handler_read_before_a_post_is_not_served_after_it() {
    let ((cache, _), gate) = (cache(), Gate::closed());
    let (runs, door) = (Runs::default(), gate.clone());
    let show = move || async move {
        let run = runs.begin();
        if run == 1 {
            door.pass().await;
        }
        format!("run {run}")
    };
    let app = Router::new().route("/page", routing::get(show).post(|| async {}).layer(minute(&cache)));
    let slow = spawn_get(&app);
    gate.arrival().await;

    send_empty(&app, Method::POST, "/page").await;
    gate.open(1);

    slow.await.unwrap();
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

#[tokio::test]
async fn two_hundred_rounds_of_get_and_invalidate_lose_nothing() {
    for way in WAYS {
        let (cache, _) = cache();
        let handler = {
            let runs = Runs::default();
            answering(move |_| (CacheTags::new(["author:1"]), numbered(&runs)().into_inner()))
        };
        let app = page(minute(&cache).tags(["posts"]), handler);
        for round in 1..=200 {
            assert_eq!(get(&app, "/page").await.text(), format!("run {round}"), "{way:?}");
            assert!(get(&app, "/page").await.is_hit(), "{way:?}");
            way.invalidate(&cache).await;
        }
    }
}

#[tokio::test]
async fn a_successful_write_invalidates_its_own_url() {
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::from_bytes(b"PURCHASE").unwrap()] {
        let app = Router::new().route("/page", routing::any(numbered(&Runs::default())).layer(minute(&cache().0)));
        for uri in ["/page", "/page?x=1"] {
            get(&app, uri).await;
            assert!(get(&app, uri).await.is_hit());
        }
        send_empty(&app, method.clone(), "/page").await;
        for uri in ["/page", "/page?x=1"] {
            assert!(!get(&app, uri).await.is_hit(), "{method} {uri}");
        }
    }
}

#[tokio::test]
async fn every_write_reaches_the_handler() {
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let handler = numbered_with(&Runs::default(), &[("cache-control", "public, max-age=60")]);
        let app = Router::new().route("/page", routing::any(handler).layer(minute(&cache().0)));
        for run in ["run 1", "run 2", "run 3"] {
            assert_eq!(send_empty(&app, method.clone(), "/page").await.text(), run, "{method}");
        }
        assert_eq!(get(&app, "/page").await.text(), "run 4");
    }
}

#[tokio::test]
async fn a_safe_method_other_than_get_and_head_is_neither_answered_from_the_cache_nor_invalidates() {
    for method in [Method::OPTIONS, Method::TRACE, Method::from_bytes(b"QUERY").unwrap()] {
        let app = Router::new().route("/page", routing::any(numbered(&Runs::default())).layer(minute(&cache().0)));
        get(&app, "/page").await;
        let answer = send_empty(&app, method.clone(), "/page").await;
        assert_eq!((answer.text(), answer.reason()), ("run 2", Some(Reason::Method)), "{method}");
        assert_eq!(get(&app, "/page").await.text(), "run 1", "{method}");
    }
}

// Somebody else's answer.

#[tokio::test]
async fn alices_page_does_not_go_to_bob() {
    for name in ["authorization", "cookie"] {
        let app = page(minute(&cache().0), answering(move |parts| format!("for {}", field(parts, name))));
        for user in ["alice", "bob"] {
            assert_eq!(get_with(&app, "/page", &[(name, user)]).await.text(), format!("for {user}"));
        }
    }
}

#[tokio::test]
async fn a_cookie_is_not_set_twice() {
    let app = page(minute(&cache().0), numbered_with(&Runs::default(), &[("set-cookie", "sid=1")]));
    assert_eq!(get(&app, "/page").await.reason(), Some(Reason::SetCookie));
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

#[tokio::test]
async fn an_anonymous_refusal_does_not_go_to_the_signed_in_user() {
    let handler = answering(|parts| match parts.headers.get("authorization") {
        Some(_) => (StatusCode::OK, "welcome"),
        None => (StatusCode::UNAUTHORIZED, "who are you?"),
    });
    let app = page(minute(&cache().0).ignore_authorization(true), handler);
    assert_eq!(get(&app, "/page").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(get_with(&app, "/page", &[("authorization", "alice")]).await.text(), "welcome");
}

#[tokio::test]
async fn two_nested_routers_do_not_share_their_inner_paths() {
    let (cache, _) = cache();
    let items = |version: &'static str| Router::new().route("/items", routing::get(move || async move { version }));
    let inside = |version| items(version).layer(minute(&cache));
    let on_route =
        |version: &'static str| Router::new().route("/items", routing::get(move || async move { version }).layer(minute(&cache)));
    let apps = [
        Router::new().nest("/v1", inside("one")).nest("/v2", inside("two")),
        Router::new().nest("/r/v1", on_route("one")).nest("/r/v2", on_route("two")),
        Router::new().nest_service("/s/v1", inside("one")).nest_service("/s/v2", inside("two")),
        Router::new().nest("/o/v1", items("one")).nest("/o/v2", items("two")).layer(minute(&cache)),
        Router::new().nest("/d", Router::new().nest("/v1", inside("one")).nest("/v2", inside("two"))),
    ];
    for (app, prefix) in apps.iter().zip(["", "/r", "/s", "/o", "/d"]) {
        for _ in 0..2 {
            assert_eq!(get(app, &format!("{prefix}/v1/items")).await.text(), "one", "{prefix}");
            assert_eq!(get(app, &format!("{prefix}/v2/items")).await.text(), "two", "{prefix}");
        }
        assert!(get(app, &format!("{prefix}/v2/items")).await.is_hit());
    }
}

#[tokio::test]
async fn two_routes_with_the_same_captures_do_not_share() {
    let (cache, _) = cache();
    let show =
        |kind: &'static str| routing::get(move |Path(id): Path<u64>| async move { format!("{kind} {id}") }).layer(minute(&cache));
    let app = Router::new().route("/users/{id}", show("user")).route("/orders/{id}", show("order"));
    assert_eq!(get(&app, "/users/42").await.text(), "user 42");
    assert_eq!(get(&app, "/orders/42").await.text(), "order 42");
}

#[tokio::test]
async fn two_tenants_of_one_application_do_not_share() {
    let app = page(minute(&cache().0), answering(|parts| format!("tenant {}", field(parts, "host"))));
    for host in ["a.example", "b.example"] {
        assert_eq!(get_with(&app, "/page", &[("host", host)]).await.text(), format!("tenant {host}"));
    }
}

#[tokio::test]
async fn two_languages_of_a_page_do_not_evict_each_other() {
    let handler = answering(|parts| (fields(&[("vary", "Accept-Language")]), format!("in {}", field(parts, "accept-language"))));
    let app = page(minute(&cache().0), handler);
    let ask = async |language| get_with(&app, "/page", &[("accept-language", language)]).await;
    for language in ["de", "en"] {
        assert_eq!(ask(language).await.text(), format!("in {language}"));
    }
    for language in ["de", "en", "de"] {
        let answer = ask(language).await;
        assert_eq!((answer.text(), answer.is_hit()), (format!("in {language}").as_str(), true));
    }
    assert_eq!(get(&app, "/page").await.forward(), Some(Forward::VaryMiss));
}

#[tokio::test]
async fn an_invalidation_reaches_every_variant() {
    for way in WAYS {
        let (cache, _) = cache();
        let handler = answering(|_| (fields(&[("vary", "accept-language")]), CacheTags::new(["author:1"]), "page"));
        let app = page(minute(&cache).tags(["posts"]), handler);
        let ask = async |language| get_with(&app, "/page", &[("accept-language", language)]).await;
        for language in ["de", "en"] {
            ask(language).await;
            assert!(ask(language).await.is_hit());
        }
        way.invalidate(&cache).await;
        for language in ["de", "en"] {
            assert!(!ask(language).await.is_hit(), "{way:?}");
        }
    }
}

#[tokio::test]
async fn a_page_that_begins_or_ceases_to_vary_is_never_given_to_the_wrong_request() {
    let (cache, clock) = cache();
    let handler = answering(|parts| match field(parts, "accept-language") {
        "" => ([("vary", "accept-encoding")], "default".to_owned()),
        language => ([("vary", "accept-language")], language.to_owned()),
    });
    let app = page(minute(&cache), handler);
    for language in ["de", "en", "de", "fr", "en"] {
        assert_eq!(get_with(&app, "/page", &[("accept-language", language)]).await.text(), language);
    }
    clock.advance(MINUTE);
    assert_eq!(get_with(&app, "/page", &[("accept-language", "de")]).await.text(), "de");
}

#[tokio::test]
async fn vary_star_is_never_served_again() {
    let app = page(minute(&cache().0), numbered_with(&Runs::default(), &[("vary", "*")]));
    get(&app, "/page").await;
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

#[tokio::test]
async fn a_veto_counts_in_capitals_on_a_second_line_and_with_field_names() {
    for lines in [
        &[("cache-control", "Private")][..],
        &[("cache-control", "max-age=60"), ("cache-control", "no-store")],
        &[("cache-control", r#"private="set-cookie", max-age=60"#)],
    ] {
        let app = page(minute(&cache().0), numbered_with(&Runs::default(), lines));
        get(&app, "/page").await;
        assert_eq!(get(&app, "/page").await.text(), "run 2", "{lines:?}");
    }
}

// Half an answer.

#[tokio::test]
async fn a_head_route_does_not_empty_the_page() {
    let (cache, _) = cache();
    let both = || routing::get(|| async { "page" }).head(|| async { [("x-head", "1")] });
    let on_route = Router::new().route("/page", both().layer(minute(&cache.with_namespace("route"))));
    let outside = Router::new().route("/page", both()).layer(minute(&cache.with_namespace("router")));
    for app in [on_route, outside] {
        let head = send_empty(&app, Method::HEAD, "/page").await;
        assert_eq!((head.header("x-head"), head.reason()), (Some("1"), Some(Reason::Head)));
        assert_eq!(get(&app, "/page").await.text(), "page");
        assert_eq!(get(&app, "/page").await.text(), "page");
    }
}

#[tokio::test]
async fn a_head_request_to_a_get_route_does_not_empty_the_page() {
    let (cache, _) = cache();
    let around =
        ServiceBuilder::new().layer(minute(&cache)).service(Router::new().route("/page", routing::get(|| async { "page" })));
    let app = Router::new().fallback_service(around);
    send_empty(&app, Method::HEAD, "/page").await;
    assert_eq!(get(&app, "/page").await.text(), "page");
    let head = send_empty(&app, Method::HEAD, "/page").await;
    assert_eq!((head.text(), head.is_hit(), head.header("content-length")), ("", true, Some("4")));
    assert_eq!(get(&app, "/page").await.text(), "page");
}

#[tokio::test]
async fn neither_a_part_nor_an_unchanged_is_ever_stored() {
    for status in [StatusCode::PARTIAL_CONTENT, StatusCode::NOT_MODIFIED] {
        let handler = answering(move |parts| match field(parts, "x-whole") {
            "" => (status, [("cache-control", "public, max-age=60")], "").into_response(),
            _ => "whole".into_response(),
        });
        let app = page(minute(&cache().0).ttl_for(status, MINUTE), handler);
        assert_eq!(get(&app, "/page").await.reason(), Some(Reason::Status));
        assert_eq!(get_with(&app, "/page", &[("x-whole", "1")]).await.text(), "whole");
    }
}

#[tokio::test]
async fn a_clients_condition_does_not_store_an_unchanged() {
    let handler = answering(|parts| match parts.headers.get("if-none-match") {
        Some(_) => StatusCode::NOT_MODIFIED.into_response(),
        None => ([("etag", "\"1\"")], "page").into_response(),
    });
    let app = page(minute(&cache().0), handler);
    assert_eq!(get_with(&app, "/page", &[("if-none-match", "\"1\"")]).await.status, StatusCode::NOT_MODIFIED);
    assert_eq!(get(&app, "/page").await.text(), "page");
}

#[tokio::test]
async fn a_query_that_cannot_be_parsed_is_still_part_of_the_key() {
    let app = page(minute(&cache().0), answering(|parts| parts.uri.to_string()));
    for uri in ["/page", "/page?%zz", "/page?%", "/page?a=%ff", "/page?&&", "/page?=", "/page?[]", "/page"] {
        assert_eq!(get(&app, uri).await.text(), uri);
    }
}

#[tokio::test]
async fn an_error_that_a_bad_header_provokes_is_not_for_all() {
    let handler = answering(|parts| match parts.headers.get("x-bad") {
        Some(_) => (StatusCode::BAD_REQUEST, [("cache-control", "max-age=60")], "bad"),
        None => (StatusCode::OK, [("cache-control", "max-age=60")], "page"),
    });
    let app = page(minute(&cache().0), handler);
    get_with(&app, "/page", &[("x-bad", "1")]).await;
    assert_eq!(get(&app, "/page").await.text(), "page");
}

#[tokio::test]
async fn a_compressed_body_keeps_its_content_encoding() {
    const GZIP: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0];
    let app = page(minute(&cache().0), || async { (fields(&[("content-encoding", "gzip"), ("vary", "accept-encoding")]), GZIP) });
    for _ in 0..2 {
        let answer = get_with(&app, "/page", &[("accept-encoding", "gzip")]).await;
        assert_eq!((answer.header("content-encoding"), &answer.body[..]), (Some("gzip"), GZIP));
    }
    assert!(get_with(&app, "/page", &[("accept-encoding", "gzip")]).await.is_hit());
}

#[tokio::test]
async fn wishes_for_a_coding_share_a_response_only_if_they_mean_the_same() {
    let handler = answering(|parts| (fields(&[("vary", "accept-encoding")]), field(parts, "accept-encoding").to_owned()));
    let mut mixed = Vec::new();
    for (first, second) in [
        ("*;q=0.5", "*;q=0.5, gzip;q=0"),
        ("gzip, compress", "gzip"),
        ("gzip;q=nan", ""),
        ("gzip;q=0.0001", "br;q=0"),
        ("gzip", "gzip, br"),
        ("gzip, br;q=0.5", "gzip;q=0.5, br"),
        ("gzip", "identity"),
        ("gzip, identity;q=0", "gzip"),
        ("*", ""),
    ] {
        let app = page(minute(&cache().0), handler.clone());
        get_with(&app, "/page", &[("accept-encoding", first)]).await;
        if get_with(&app, "/page", &[("accept-encoding", second)]).await.text() != second {
            mixed.push((first, second));
        }
    }
    assert_eq!(mixed, [("", ""); 0], "the second was answered as the first");
}

// How long.

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
async fn what_is_stale_already_is_not_stored() {
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
async fn an_age_from_upstream_counts_on() {
    let (cache, clock) = cache();
    let app = page(cache.layer(), numbered_with(&Runs::default(), &[("cache-control", "max-age=60"), ("age", "20")]));
    get(&app, "/page").await;
    clock.advance(7 * SECOND);
    let hit = get(&app, "/page").await;
    assert_eq!((hit.header("age"), hit.headers.get_all("age").iter().count()), (Some("27"), 1));
}

#[tokio::test]
async fn the_routes_limit_is_above_what_responses_say() {
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

// Headers, lengths and trailers.

#[tokio::test]
async fn a_header_value_beyond_ascii_survives() {
    let value = HeaderValue::from_bytes(b"caf\xe9 \xff\x80").unwrap();
    let sent = value.clone();
    let app = page(minute(&cache().0), answering(move |_| ([("x-name", sent.clone())], "page")));
    get(&app, "/page").await;
    let hit = get(&app, "/page").await;
    assert!(hit.is_hit());
    assert_eq!(hit.headers["x-name"], value);
}

#[tokio::test]
async fn every_line_of_a_header_survives_in_its_order() {
    let lines = [("link", "<a>"), ("link", "<b>"), ("x-empty", ""), ("link", "<a>")];
    let app = page(minute(&cache().0), numbered_with(&Runs::default(), &lines));
    get(&app, "/page").await;
    let hit = get(&app, "/page").await;
    assert_eq!(hit.headers.get_all("link").iter().collect::<Vec<_>>(), ["<a>", "<b>", "<a>"]);
    assert_eq!(hit.header("x-empty"), Some(""));
}

/// Serves the application to real connections.
async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// Sends a GET and reads until what came ends with `end`.
async fn wire(connection: &TcpStream, end: &str) -> String {
    const GET: &[u8] = b"GET /page HTTP/1.1\r\nhost: example.com\r\n\r\n";
    connection.writable().await.unwrap();
    assert_eq!(connection.try_write(GET).unwrap(), GET.len());
    read_until(connection, end).await
}

async fn read_until(connection: &TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        connection.readable().await.unwrap();
        let mut part = [0; 1024];
        match connection.try_read(&mut part) {
            Ok(0) => panic!("the connection was closed after {}", text.escape_ascii()),
            Ok(length) => text.extend_from_slice(&part[..length]),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_hit_has_its_length_on_the_wire_and_is_not_chunked() {
    let (frames, body) = ChannelBody::new();
    frames.send("stre");
    frames.send("amed");
    drop(frames);
    let address = serve(page(minute(&cache().0), first_streams(body))).await;
    let connection = TcpStream::connect(address).await.unwrap();
    let miss = wire(&connection, "0\r\n\r\n").await;
    assert!(miss.contains("transfer-encoding: chunked"), "{miss}");
    let hit = wire(&connection, "\r\n\r\nstreamed").await;
    assert!(hit.contains("content-length: 8") && !hit.contains("transfer-encoding"), "{hit}");
}

/// Answers with a body and trailers after it, and reads all of it.
async fn with_trailers(head: http::response::Builder, body: Body) -> (crate::support::Answer, bool) {
    let responses = std::sync::Mutex::new(Some(head.body(body).unwrap()));
    let app = page(
        minute(&cache().0),
        answering({
            let responses = Arc::new(responses);
            move |_| responses.lock().unwrap().take().unwrap_or_else(|| "later".into_response())
        }),
    );
    let response = app.clone().oneshot(request(Method::GET, "/page", &[])).await.unwrap();
    let collected = response.into_body().collect().await.unwrap();
    let arrived = collected.trailers().is_some_and(|trailers| trailers["x-checksum"] == "1");
    (get(&app, "/page").await, arrived)
}

/// A body of four bytes and trailers, once as it comes and once whole at once.
fn bodies_with_trailers() -> [(&'static str, Body); 2] {
    let (frames, streamed) = ChannelBody::new();
    frames.send("page");
    frames.send_trailers(&[("x-checksum", "1")]);
    let whole = Full::<Bytes>::from("page").with_trailers(ready(Some(Ok(fields(&[("x-checksum", "1")])))));
    [("streamed", Body::new(streamed)), ("whole", Body::new(whole))]
}

#[tokio::test]
async fn trailers_arrive_and_a_response_with_trailers_is_not_stored_without_them() {
    for (name, body) in bodies_with_trailers() {
        let (second, arrived) = with_trailers(Response::builder(), body).await;
        assert_eq!((arrived, second.text()), (true, "later"), "{name}");
    }
}

// HTTP/2 allows both a length and trailers.
#[tokio::test]
async fn trailers_after_a_body_of_stated_length_arrive_too() {
    for (name, body) in bodies_with_trailers() {
        let (_, arrived) = with_trailers(Response::builder().header("content-length", 4), body).await;
        assert!(arrived, "{name}");
    }
}

#[tokio::test]
async fn a_response_that_announces_trailers_is_not_stored_without_them() {
    for (name, body) in bodies_with_trailers() {
        let head = Response::builder().header("content-length", 4).header("trailer", "x-checksum");
        let (second, _) = with_trailers(head, body).await;
        assert_eq!(second.text(), "later", "{name}");
    }
}

#[tokio::test]
async fn extensions_and_captures_survive_the_layer() {
    #[derive(Clone)]
    struct User(&'static str);
    let handler = |Path(id): Path<u64>, Extension(user): Extension<User>| async move {
        (Extension(user.clone()), format!("{id} {}", user.0))
    };
    let app = Router::new().route("/users/{id}", routing::any(handler).layer(minute(&cache().0))).layer(Extension(User("alice")));
    for (method, lines) in [(Method::GET, &[][..]), (Method::POST, &[]), (Method::GET, &[("cookie", "bypass=1")])] {
        let response = app.clone().oneshot(request(method, "/users/7", lines)).await.unwrap();
        assert_eq!(response.extensions().get::<User>().unwrap().0, "alice");
        assert_eq!(read(response).await.text(), "7 alice");
    }
}

// Streams.

#[tokio::test]
async fn an_event_stream_delivers_its_first_event_before_there_is_a_second() {
    for method in [Method::GET, Method::POST] {
        let (frames, body) = ChannelBody::new();
        let stream = first_streams(body);
        let handler = move || async move { ([(CONTENT_TYPE, "Text/Event-Stream; charset=utf-8")], stream().into_inner()) };
        let app = Router::new().route("/page", routing::any(handler).layer(minute(&cache().0)));

        let response = app.clone().oneshot(request(method.clone(), "/page", &[])).await.unwrap();
        assert!(!CacheStatus::of(&response).unwrap().is_stored());
        let mut body = response.into_body();
        for event in ["data: 1\n\n", "data: 2\n\n"] {
            frames.send(event);
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), event, "{method}");
        }
        drop(frames);
        assert!(body.frame().await.is_none());
        assert_eq!(send_empty(&app, method, "/page").await.text(), "later");
    }
}

#[tokio::test]
async fn an_event_reaches_a_real_client_before_the_next_one_exists() {
    let (frames, body) = ChannelBody::new();
    let stream = first_streams(body);
    let handler = move || async move { ([(CONTENT_TYPE, "text/event-stream")], stream().into_inner()) };
    let address = serve(page(minute(&cache().0), handler)).await;
    let connection = TcpStream::connect(address).await.unwrap();
    frames.send("data: 1\n\n");
    assert!(wire(&connection, "data: 1\n\n\r\n").await.contains("text/event-stream"));
    frames.send("data: 2\n\n");
    read_until(&connection, "data: 2\n\n\r\n").await;
}

#[tokio::test]
async fn the_first_byte_of_a_miss_leaves_before_the_last_exists() {
    let (frames, body) = ChannelBody::new();
    let app = page(minute(&cache().0), first_streams(body));
    let response = app.clone().oneshot(request(Method::GET, "/page", &[])).await.unwrap();
    assert!(CacheStatus::of(&response).unwrap().is_stored());
    let mut body = response.into_body();
    for part in ["first, ", "last"] {
        frames.send(part);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), part);
    }
    assert_eq!(get(&app, "/page").await.text(), "later", "what has not ended is not stored");
}

#[tokio::test]
async fn a_streamed_response_is_stored_before_its_client_sees_the_end() {
    let (frames, body) = ChannelBody::new();
    let app = page(minute(&cache().0), first_streams(body));
    let mut body = app.clone().oneshot(request(Method::GET, "/page", &[])).await.unwrap().into_body();
    frames.send("streamed");
    drop(frames);
    while body.frame().await.is_some() {}
    let second = get(&app, "/page").await;
    assert_eq!((second.text(), second.is_hit(), second.header("content-length")), ("streamed", true, Some("8")));
}

#[tokio::test]
async fn a_streamed_response_of_known_length_is_stored_before_its_last_byte_has_left() {
    let (frames, body) = ChannelBody::new();
    let stream = first_streams(body);
    let app = page(minute(&cache().0), move || async move { ([("content-length", "8")], stream().into_inner()) });
    let mut body = app.clone().oneshot(request(Method::GET, "/page", &[])).await.unwrap().into_body();
    for part in ["stre", "amed"] {
        frames.send(part);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), part);
    }
    assert_eq!(get(&app, "/page").await.text(), "streamed");
}

#[tokio::test]
async fn a_body_whose_client_left_half_way_is_not_stored_as_a_whole() {
    let (frames, body) = ChannelBody::new();
    let app = page(minute(&cache().0), first_streams(body));
    let mut body = app.clone().oneshot(request(Method::GET, "/page", &[])).await.unwrap().into_body();
    frames.send("half");
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(get(&app, "/page").await.text(), "later");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_stored_as_a_whole() {
    let first = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let handler = answering(move |_| {
        if !first.swap(false, std::sync::atomic::Ordering::SeqCst) {
            return Body::from("later");
        }
        Body::new(
            Full::<Bytes>::from("half").map_err(axum::Error::new).with_trailers(ready(Some(Err(axum::Error::new("broken"))))),
        )
    });
    let app = page(minute(&cache().0), handler);
    let response = app.clone().oneshot(request(Method::GET, "/page", &[])).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(get(&app, "/page").await.text(), "later");
}

#[tokio::test]
async fn a_body_over_the_limit_is_forwarded_whole_and_not_stored() {
    let app = page(minute(&cache().0).max_body(1000), || async { vec![b'x'; 1001] });
    for _ in 0..2 {
        let answer = get(&app, "/page").await;
        assert_eq!((answer.status, answer.body.len(), answer.reason()), (StatusCode::OK, 1001, Some(Reason::TooLarge)));
    }
}

#[tokio::test]
async fn a_body_of_just_the_limit_is_stored() {
    let app = page(minute(&cache().0).max_body(1000), || async { vec![b'x'; 1000] });
    get(&app, "/page").await;
    assert!(get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn a_stream_over_the_limit_is_neither_held_back_nor_cut_nor_stored() {
    let (frames, body) = ChannelBody::new();
    let app = page(minute(&cache().0).max_body(6), first_streams(body));
    let mut body = app.clone().oneshot(request(Method::GET, "/page", &[])).await.unwrap().into_body();
    for part in ["1234", "5678", "9"] {
        frames.send(part);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), part);
    }
    drop(frames);
    assert!(body.frame().await.is_none());
    assert_eq!(get(&app, "/page").await.text(), "later");
}

// Clients that leave and handlers that panic.

#[tokio::test]
async fn a_client_that_leaves_while_its_handler_runs_hangs_nobody() {
    let ((cache, _), gate) = (cache(), Gate::closed());
    let app = gated(&cache, &gate);
    let first = spawn_get(&app);
    gate.arrival().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    gate.open(1);
    let waiting: JoinSet<_> = (0..50).map(|_| spawn_get(&app)).collect::<Vec<_>>().into_iter().collect();
    for answer in waiting.join_all().await {
        assert_eq!(answer.unwrap().status, StatusCode::OK);
    }
    assert!(get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn a_handler_that_panics_hangs_nobody_and_leaves_nothing() {
    let runs = Runs::default();
    let handler = answering(move |_| match runs.begin() {
        1 => panic!("the first one does"),
        run => format!("run {run}"),
    });
    let app = page(minute(&cache().0), handler);
    assert!(spawn_get(&app).await.unwrap_err().is_panic());
    assert_eq!(get(&app, "/page").await.text(), "run 2");
    assert!(get(&app, "/page").await.is_hit());
}

// Towers.

/// A service that is ready only where it was asked: a clone is not.
#[derive(Debug, Default)]
struct Particular {
    ready: bool,
}

impl Clone for Particular {
    fn clone(&self) -> Self {
        Self { ready: false }
    }
}

impl Service<Request> for Particular {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        assert!(mem::take(&mut self.ready), "poll_ready must be called first, on this very clone");
        ready(Ok(Response::new(Full::from(request.uri().to_string()))))
    }
}

#[tokio::test]
async fn only_the_clone_that_was_found_ready_is_called() {
    let (cache, _) = cache();
    let mut service = minute(&cache).layer(Particular::default());
    let requests = [
        (Method::GET, "/miss", &[][..]),
        (Method::GET, "/miss", &[]),
        (Method::GET, "/other", &[]),
        (Method::HEAD, "/head", &[]),
        (Method::POST, "/miss", &[]),
        (Method::GET, "/miss", &[("cookie", "bypass=1")]),
        (Method::OPTIONS, "/miss", &[]),
    ];
    for (method, uri, lines) in requests {
        let response = service.ready().await.unwrap().call(request(method, uri, lines)).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(body.is_empty() || body == uri);
    }
}

#[tokio::test]
async fn a_limit_on_concurrency_inside_the_cache_neither_panics_nor_hangs() {
    let slow = service_fn(|request: Request| async move {
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(request.uri().to_string())))
    });
    let service = ServiceBuilder::new().layer(minute(&cache().0)).layer(ConcurrencyLimitLayer::new(2)).service(slow);
    let asked = (0..200).map(|number| {
        let (service, uri) = (service.clone(), format!("/{}", number % 20));
        let lines: &[(&str, &str)] = if number % 7 == 0 { &[("cookie", "bypass=1")] } else { &[] };
        let request = request(if number % 11 == 0 { Method::POST } else { Method::GET }, &uri, lines);
        async move { (service.oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes(), uri) }
    });
    for (body, uri) in asked.collect::<JoinSet<_>>().join_all().await {
        assert_eq!(body, uri);
    }
}

#[tokio::test]
async fn a_plain_tower_service_may_have_any_body() {
    let (cache, _) = cache();
    let full = minute(&cache).layer(service_fn(async |_: http::Request<Full<Bytes>>| {
        Ok::<_, Infallible>(http::Response::new(Full::<Bytes>::from("full")))
    }));
    let streamed = minute(&cache).layer(service_fn(async |_: http::Request<String>| {
        let (frames, body) = ChannelBody::new();
        frames.send("streamed");
        Ok::<_, Infallible>(http::Response::new(body))
    }));
    for hit in [false, true] {
        let request = http::Request::get("http://example.com/full").body(Full::default()).unwrap();
        let response = full.clone().oneshot(request).await.unwrap();
        assert_eq!(CacheStatus::of(&response).unwrap().is_hit(), hit);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "full");

        let request = http::Request::get("http://example.com/streamed").body(String::new()).unwrap();
        let response = streamed.clone().oneshot(request).await.unwrap();
        assert_eq!(CacheStatus::of(&response).unwrap().is_hit(), hit);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "streamed");
    }
}

#[tokio::test]
async fn an_error_of_the_inner_service_passes_and_leaves_nothing() {
    let runs = Runs::default();
    let service = minute(&cache().0).layer(service_fn(move |_: http::Request<String>| {
        ready(match runs.begin() {
            1 => Err("the handler's own error"),
            _ => Ok(http::Response::new(Full::<Bytes>::from("page"))),
        })
    }));
    let ask = || service.clone().oneshot(http::Request::get("http://example.com/").body(String::new()).unwrap());
    assert_eq!(ask().await.unwrap_err(), "the handler's own error");
    assert!(CacheStatus::of(&ask().await.unwrap()).unwrap().is_stored());
    assert!(CacheStatus::of(&ask().await.unwrap()).unwrap().is_hit());
}

#[tokio::test]
async fn the_layer_wraps_a_whole_router_whose_body_is_not_sync() {
    fn is_a_router(_: &Router) {}
    let app = Router::new().route("/page", routing::get(|| async { "page" })).layer(minute(&cache().0));
    is_a_router(&app);
    get(&app, "/page").await;
    assert!(get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn one_store_stands_behind_every_layer_of_a_cache() {
    let (cache, _) = cache();
    let runs = Runs::default();
    let first = page(cache.layer().ttl(MINUTE), numbered(&runs));
    let second = page(cache.layer().ttl(2 * MINUTE), numbered(&runs));
    get(&first, "/page").await;
    assert!(get(&second, "/page").await.is_hit());
    cache.clone().invalidate_uri("/page").await.unwrap();
    assert_eq!(get(&second, "/page").await.text(), "run 2");
    assert_eq!(get(&first, "/page").await.text(), "run 2");
}

#[tokio::test]
async fn a_layer_keeps_working_when_its_cache_and_its_clones_are_dropped() {
    let layer = {
        let (cache, _) = cache();
        let layer = minute(&cache);
        drop(layer.clone());
        layer
    };
    let app = page(layer, numbered(&Runs::default()));
    get(&app, "/page").await;
    assert!(get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn a_hundred_thousand_queries_leave_memory_where_it_was() {
    const LIMIT: u64 = 1 << 20;
    let store = Arc::new(Memory::new(LIMIT));
    let clock = larder::ManualClock::new();
    let app = page(minute(&Cache::from_arc(store.clone()).with_clock(&clock)), || async { "page" });
    for number in 0..100_000 {
        send(&app, request(Method::GET, &format!("/page?q={number}"), &[])).await;
        clock.advance(Duration::from_millis(10));
        if number % 10_000 == 0 {
            assert!(store.bytes() <= LIMIT);
        }
    }
    assert!(store.bytes() <= LIMIT);
}
