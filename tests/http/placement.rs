//! Where a layer may stand, what each of its settings does, and what writes invalidate.

use std::time::Duration;

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::Response,
    routing::{self, MethodRouter},
};
use http::{Method, StatusCode};
use larder::{Cache, CacheDirective, CacheLayer, CacheStatus, CacheTags, Forward, Invalidate, LanguageMatcher, Reason};
use tower::{ServiceBuilder, ServiceExt as _};

use crate::support::{
    ChannelBody, MINUTE, Runs, answering, cache, field, fields, first_streams, get, get_with, minute, numbered, numbered_with,
    page, request, send, send_empty,
};

// Where a layer may stand.

/// Answers GET with the number of its run, and everything else with 204.
fn post() -> MethodRouter {
    routing::get(numbered(&Runs::default())).put(|| async { StatusCode::NO_CONTENT }).delete(|| async { StatusCode::CONFLICT })
}

fn posts(post: MethodRouter) -> Router {
    Router::new().route("/posts/{id}", post)
}

/// The same route with a layer in every place that it may have; all of them at `/posts/{id}`.
fn placements(layer: impl Fn() -> CacheLayer) -> [(&'static str, Router); 9] {
    let inner = |post: MethodRouter| Router::new().route("/{id}", post);
    let whole = ServiceBuilder::new().layer(layer()).service(posts(post()));
    [
        ("on the route", posts(post().layer(layer()))),
        ("with route_layer on the route", posts(post().route_layer(layer()))),
        ("with route_layer on the router", posts(post()).route_layer(layer())),
        ("around the router", posts(post()).layer(layer())),
        ("inside a nest", Router::new().nest("/posts", inner(post().layer(layer())))),
        ("around a nested router", Router::new().nest("/posts", inner(post()).layer(layer()))),
        ("around a nest", Router::new().nest("/posts", inner(post())).layer(layer())),
        ("around the fallback", Router::new().fallback_service(posts(post())).layer(layer())),
        ("in a ServiceBuilder", Router::new().fallback_service(whole)),
    ]
}

#[tokio::test]
async fn a_layer_works_in_every_place() {
    for (place, app) in placements(|| minute(&cache().0)) {
        assert_eq!(get(&app, "/posts/1").await.text(), "run 1", "{place}");
        assert!(get(&app, "/posts/1").await.is_hit(), "{place}");
        assert_eq!(get(&app, "/posts/2").await.text(), "run 2", "{place}");
        send_empty(&app, Method::PUT, "/posts/1").await;
        assert_eq!(get(&app, "/posts/1").await.text(), "run 3", "{place}");
        assert!(get(&app, "/posts/2").await.is_hit(), "{place}");
    }
}

#[tokio::test]
async fn a_failed_write_invalidates_nothing_in_every_place() {
    for (place, app) in placements(|| minute(&cache().0)) {
        get(&app, "/posts/1").await;
        assert_eq!(send_empty(&app, Method::DELETE, "/posts/1").await.status, StatusCode::CONFLICT, "{place}");
        assert!(get(&app, "/posts/1").await.is_hit(), "{place}");
    }
}

#[tokio::test]
async fn captures_name_tags_wherever_the_route_is_known() {
    let (cache, _) = cache();
    for (place, app) in placements(|| minute(&cache).tags(["post:{id}"])).into_iter().take(7) {
        for uri in ["/posts/1", "/posts/2"] {
            get(&app, uri).await;
            assert!(get(&app, uri).await.is_hit(), "{place}");
        }
        cache.invalidate_tags(["post:1"]).await.unwrap();
        assert!(!get(&app, "/posts/1").await.is_hit(), "{place}");
        assert!(get(&app, "/posts/2").await.is_hit(), "{place}");
        cache.clear().await.unwrap();
    }
}

#[tokio::test]
async fn where_no_route_is_known_what_needs_a_capture_is_served_and_not_stored() {
    let placements = placements(|| minute(&cache().0).tags(["post:{id}"]));
    for (place, app) in placements.into_iter().skip(7) {
        let answer = get(&app, "/posts/1").await;
        assert_eq!((answer.text(), answer.reason()), ("run 1", Some(Reason::MissingCapture)), "{place}");
    }
}

#[tokio::test]
async fn captures_of_every_nested_router_name_tags_decoded() {
    let (cache, _) = cache();
    let post = post().layer(minute(&cache).tags(["{user}/{id}/{*rest}"]));
    let app = Router::new().nest("/users/{user}", Router::new().nest("/posts/{id}", Router::new().route("/{*rest}", post)));
    get(&app, "/users/al%20ice/posts/7/a/b%2fc").await;
    cache.invalidate_tags(["al ice/7/a/b"]).await.unwrap();
    assert!(get(&app, "/users/al%20ice/posts/7/a/b%2fc").await.is_hit());
    cache.invalidate_tags(["al ice/7/a/b/c"]).await.unwrap();
    assert!(!get(&app, "/users/al%20ice/posts/7/a/b%2fc").await.is_hit());
}

#[tokio::test]
async fn a_fallback_is_cached_only_by_a_layer_that_stands_around_it() {
    let (cache, _) = cache();
    let fallback = || numbered(&Runs::default());
    let inside = posts(post()).layer(minute(&cache)).fallback(fallback());
    let around = posts(post()).fallback(fallback()).layer(minute(&cache));
    for (app, hit) in [(inside, false), (around, true)] {
        get(&app, "/elsewhere").await;
        assert_eq!(get(&app, "/elsewhere").await.is_hit(), hit);
    }
}

#[tokio::test]
async fn a_write_in_a_nested_router_invalidates_the_url_that_its_clients_know() {
    let (cache, _) = cache();
    let app = Router::new().nest("/a", posts(post().layer(minute(&cache)))).nest("/b", posts(post().layer(minute(&cache))));
    for uri in ["/a/posts/1", "/b/posts/1"] {
        get(&app, uri).await;
    }
    send_empty(&app, Method::PUT, "/a/posts/1").await;
    assert!(!get(&app, "/a/posts/1").await.is_hit());
    assert!(get(&app, "/b/posts/1").await.is_hit());
}

// A layer around another.

#[tokio::test]
async fn a_layer_around_a_tagged_one_keeps_what_its_tags_promise() {
    let (cache, _) = cache();
    let app = page(minute(&cache).tags(["posts"]), numbered(&Runs::default())).layer(minute(&cache));
    get(&app, "/page").await;
    cache.invalidate_tags(["posts"]).await.unwrap();
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

#[tokio::test]
async fn a_layer_with_other_keys_around_a_tagged_one_keeps_what_its_tags_promise() {
    let (cache, _) = cache();
    let app = page(minute(&cache).tags(["posts"]), numbered(&Runs::default())).layer(minute(&cache).sort_query(true));
    get(&app, "/page").await;
    cache.invalidate_tags(["posts"]).await.unwrap();
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

#[tokio::test]
async fn what_a_handler_keeps_from_larder_is_kept_from_an_outer_layer_too() {
    let (cache, _) = cache();
    let handler = numbered_with(&Runs::default(), &[("larder-cache-control", "no-store"), ("cache-control", "max-age=60")]);
    let app = page(minute(&cache), handler).layer(minute(&cache));
    get(&app, "/page").await;
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

#[tokio::test]
async fn what_an_inner_layer_cannot_tag_an_outer_one_does_not_store_untagged() {
    let (cache, _) = cache();
    let app = page(minute(&cache).tags(["post:{slug}"]), numbered(&Runs::default())).layer(minute(&cache));
    get(&app, "/page").await;
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

#[tokio::test]
async fn an_invalidation_inside_two_layers_is_carried_out() {
    let (cache, _) = cache();
    let write = routing::post(|| async { Invalidate::tags(["posts"]) }).layer(minute(&cache));
    let app = page(minute(&cache).tags(["posts"]), numbered(&Runs::default()))
        .merge(Router::new().route("/write", write).layer(minute(&cache)));
    get(&app, "/page").await;
    send_empty(&app, Method::POST, "/write").await;
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

// What writes invalidate.

/// Pages at every path, and a POST at `/posts/new` that answers with these header lines.
fn writing(cache: &Cache, status: StatusCode, lines: &[(&'static str, &'static str)]) -> Router {
    let headers = fields(lines);
    let write = routing::post(move || async move { (status, headers) });
    Router::new().route("/posts/new", write).fallback(numbered(&Runs::default())).layer(minute(cache))
}

#[tokio::test]
async fn a_location_of_the_same_origin_is_invalidated_too() {
    let references = [
        ("/posts/7", "/posts/7"),
        ("7", "/posts/7"),
        ("../x", "/x"),
        ("./7?x=1", "/posts/7"),
        (".", "/posts/"),
        ("http://example.com/posts/7#top", "/posts/7"),
        ("http://EXAMPLE.com:80/posts/7", "/posts/7"),
        ("HTTP://example.com/posts/7", "/posts/7"),
        ("https://example.com/posts/7", "/posts/7"),
        ("http://example.com", "/"),
        ("//example.com/posts/7", "/posts/7"),
        ("//example.com", "/"),
        ("/posts/7?from=https://elsewhere.example/", "/posts/7"),
        ("7?from=https://elsewhere.example/", "/posts/7"),
    ];
    let mut kept = Vec::new();
    for (reference, path) in references {
        for name in ["location", "content-location"] {
            let app = writing(&cache().0, StatusCode::CREATED, &[(name, reference)]);
            get(&app, path).await;
            send_empty(&app, Method::POST, "/posts/new").await;
            if get(&app, path).await.is_hit() {
                kept.push((name, reference));
            }
        }
    }
    assert_eq!(kept, [("", ""); 0]);
}

#[tokio::test]
async fn a_location_of_another_origin_is_not() {
    for reference in
        ["http://other.example/posts/7", "//other.example/posts/7", "http://example.com:81/posts/7", "ftp://example.com/posts/7"]
    {
        let app = writing(&cache().0, StatusCode::CREATED, &[("location", reference)]);
        let elsewhere = async || get_with(&app, "/posts/7", &[("host", "other.example")]).await;
        get(&app, "/posts/7").await;
        elsewhere().await;
        send_empty(&app, Method::POST, "/posts/new").await;
        assert!(get(&app, "/posts/7").await.is_hit(), "{reference}");
        assert!(elsewhere().await.is_hit(), "{reference}");
    }
}

#[tokio::test]
async fn a_failed_write_does_not_invalidate_its_location() {
    for status in [StatusCode::BAD_REQUEST, StatusCode::INTERNAL_SERVER_ERROR] {
        let app = writing(&cache().0, status, &[("location", "/posts/7"), ("cache-group-invalidation", r#""g""#)]);
        get(&app, "/posts/7").await;
        send_empty(&app, Method::POST, "/posts/new").await;
        assert!(get(&app, "/posts/7").await.is_hit(), "{status}");
    }
}

#[tokio::test]
async fn a_write_invalidates_its_url_on_its_own_host_alone() {
    let app = Router::new().route("/page", post().layer(minute(&cache().0)));
    let other = async || get_with(&app, "/page", &[("host", "other.example")]).await;
    get(&app, "/page").await;
    other().await;
    send_empty(&app, Method::PUT, "/page").await;
    assert!(!get(&app, "/page").await.is_hit());
    assert!(other().await.is_hit());
}

/// A page of the groups `a` and `b`, and a route that names groups to invalidate.
fn grouped(cache: &Cache) -> Router {
    let shown = numbered_with(&Runs::default(), &[("cache-groups", r#""a", "b";x=1"#)]);
    let named = answering(|parts| ([("cache-group-invalidation", field(parts, "x-groups").to_owned())], "done"));
    Router::new().route("/page", routing::get(shown)).route("/write", routing::any(named)).layer(minute(cache))
}

#[tokio::test]
async fn a_write_invalidates_the_groups_that_it_names() {
    for (groups, invalidated) in [
        (r#""a""#, true),
        (r#""x", "b""#, true),
        (r#""A""#, false),
        ("a", false),
        (r#""a", ?"#, false),
        (r#"("a")"#, false),
        ("", false),
    ] {
        let app = grouped(&cache().0);
        get(&app, "/page").await;
        send(&app, request(Method::POST, "/write", &[("x-groups", groups)])).await;
        assert_eq!(get(&app, "/page").await.is_hit(), !invalidated, "{groups}");
    }
}

#[tokio::test]
async fn groups_belong_to_one_origin() {
    let app = grouped(&cache().0);
    get(&app, "/page").await;
    for host in ["other.example", "example.com:8080"] {
        send(&app, request(Method::POST, "/write", &[("host", host), ("x-groups", r#""a""#)])).await;
        assert!(get(&app, "/page").await.is_hit(), "{host}");
    }
}

#[tokio::test]
async fn a_safe_method_invalidates_no_group() {
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        let app = grouped(&cache().0);
        get(&app, "/page").await;
        send(&app, request(method.clone(), "/write", &[("x-groups", r#""a""#)])).await;
        assert!(get(&app, "/page").await.is_hit(), "{method}");
    }
}

#[tokio::test]
async fn a_group_is_the_same_whether_or_not_the_request_says_its_scheme() {
    // Over TLS, HTTP/2 says `https` and HTTP/1.1 does not say anything.
    for (reads, writes) in [("/page", "https://example.com/write"), ("https://example.com/page", "/write")] {
        let app = grouped(&cache().0);
        get(&app, reads).await;
        send(&app, request(Method::POST, writes, &[("x-groups", r#""a""#)])).await;
        assert!(!get(&app, reads).await.is_hit(), "{writes}");
    }
}

// What responses ask for.

/// A page tagged `posts`, another that is not tagged, and a route that answers with `asked`.
fn asking(cache: &Cache, status: StatusCode, asked: impl Fn() -> Invalidate + Clone + Send + Sync + 'static) -> Router {
    let asking = routing::any(answering(move |_| (status, asked(), "done"))).layer(minute(cache));
    page(minute(cache).tags(["posts"]), numbered(&Runs::default()))
        .route("/untagged", routing::get(|| async { "untagged" }).layer(minute(cache)))
        .route("/ask", asking)
}

#[tokio::test]
async fn what_a_response_asks_for_is_invalidated_before_it_leaves_whatever_the_method() {
    type Ask = fn() -> Invalidate;
    let ways: [(&str, Ask); 7] = [
        ("tags", || Invalidate::tags(["posts"])),
        ("uri", || Invalidate::uri("/page")),
        ("uri of a host", || Invalidate::uri("http://example.com/page")),
        ("everything", Invalidate::clear),
        ("route", || Invalidate::route("/page")),
        ("expired", || Invalidate::expire_tags(["posts"])),
        ("and", || Invalidate::tags(["other"]).and(Invalidate::uri("/x")).and(Invalidate::tags(["posts"]))),
    ];
    for (way, asked) in ways {
        for (method, lines) in [
            (Method::POST, &[][..]),
            (Method::GET, &[]),
            (Method::HEAD, &[]),
            (Method::OPTIONS, &[]),
            (Method::GET, &[("cookie", "bypass=1")]),
        ] {
            let app = asking(&cache().0, StatusCode::OK, asked);
            for uri in ["/page", "/untagged"] {
                get(&app, uri).await;
            }
            let response = app.clone().oneshot(request(method.clone(), "/ask", lines)).await.unwrap();
            assert_eq!(get(&app, "/page").await.text(), "run 2", "{way} {method} {lines:?}");
            assert_eq!(get(&app, "/untagged").await.is_hit(), way != "everything", "{way} {method}");
            drop(response);
        }
    }
}

#[tokio::test]
async fn a_response_that_failed_asks_in_vain() {
    for method in [Method::POST, Method::GET] {
        let app = asking(&cache().0, StatusCode::NOT_FOUND, || Invalidate::clear().and(Invalidate::tags(["posts"])));
        get(&app, "/page").await;
        send_empty(&app, method, "/ask").await;
        assert!(get(&app, "/page").await.is_hit());
    }
}

#[tokio::test]
async fn a_response_that_invalidates_itself_is_not_served_again() {
    let runs = Runs::default();
    let handler = answering(move |_| (Invalidate::tags(["posts"]), numbered(&runs)().into_inner()));
    let app = page(minute(&cache().0).tags(["posts"]), handler);
    assert_eq!(get(&app, "/page").await.reason(), Some(Reason::Invalidated));
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

#[tokio::test]
async fn a_hit_does_not_invalidate_again() {
    let (cache, _) = cache();
    let ask = routing::get(|| async { Invalidate::tags(["posts"]) }).layer(minute(&cache));
    let app = page(minute(&cache).tags(["posts"]), numbered(&Runs::default())).route("/ask", ask);
    get(&app, "/ask").await;
    get(&app, "/page").await;
    assert!(get(&app, "/ask").await.is_hit());
    assert!(get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn a_tag_or_uri_that_is_none_stops_no_other_invalidation() {
    type Ask = fn() -> Invalidate;
    let unusable: [(&str, Ask); 3] = [
        ("empty tag", || Invalidate::tags(["", "posts"])),
        ("long tag", || Invalidate::tags(["x".repeat(257), "posts".into()])),
        ("no URI", || Invalidate::uri("not a uri").and(Invalidate::tags(["posts"]))),
    ];
    let mut kept = Vec::new();
    for (name, asked) in unusable {
        let (cache, _) = cache();
        let write = routing::get(|| async { "ask" }).post(move || async move { asked() });
        let app = page(minute(&cache).tags(["posts"]), numbered(&Runs::default())).route("/ask", write.layer(minute(&cache)));
        for uri in ["/page", "/ask"] {
            get(&app, uri).await;
        }
        send_empty(&app, Method::POST, "/ask").await;
        for uri in ["/page", "/ask"] {
            if get(&app, uri).await.is_hit() {
                kept.push((name, uri));
            }
        }
    }
    assert_eq!(kept, [("", ""); 0]);
}

#[tokio::test]
async fn what_is_expired_softly_is_stale_and_the_handler_runs_again() {
    let (cache, _) = cache();
    let app = page(minute(&cache).tags(["posts"]), numbered(&Runs::default()));
    get(&app, "/page").await;
    cache.expire_tags(["posts"]).await.unwrap();
    let answer = get(&app, "/page").await;
    assert_eq!((answer.text(), answer.forward(), answer.is_stored()), ("run 2", Some(Forward::Stale), true));
    assert!(get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn a_soft_expiry_does_not_soften_an_invalidation() {
    let (cache, _) = cache();
    let app = page(minute(&cache).tags(["posts"]), numbered(&Runs::default()));
    get(&app, "/page").await;
    cache.invalidate_tags(["posts"]).await.unwrap();
    cache.expire_tags(["posts"]).await.unwrap();
    assert_eq!(get(&app, "/page").await.forward(), Some(Forward::UriMiss));
}

// Namespaces and revisions.

#[tokio::test]
async fn namespaces_share_neither_responses_nor_invalidations() {
    let (cache, _) = cache();
    let spaces = [cache.clone(), cache.with_namespace("a"), cache.with_namespace("b")];
    let apps = spaces.each_ref().map(|space| page(minute(space).tags(["posts"]), numbered(&Runs::default())));
    for app in &apps {
        get(app, "/page").await;
    }
    type Expected = [bool; 3];
    let after = async |expected: Expected, what: &str| {
        for (app, expected) in apps.iter().zip(expected) {
            assert_eq!(get(app, "/page").await.is_hit(), expected, "{what}");
        }
    };
    after([true, true, true], "nothing").await;
    spaces[1].invalidate_tags(["posts"]).await.unwrap();
    after([true, false, true], "a tag of a").await;
    spaces[1].invalidate_uri("/page").await.unwrap();
    after([true, false, true], "a path of a").await;
    spaces[1].clear().await.unwrap();
    after([true, false, true], "all of a").await;
    spaces[0].invalidate_tags(["posts"]).await.unwrap();
    after([false, true, true], "a tag of none").await;
    spaces[0].clear().await.unwrap();
    after([false, false, false], "the whole store").await;
}

#[tokio::test]
async fn a_write_invalidates_in_its_own_namespace_alone() {
    let (cache, _) = cache();
    let apps = [cache.with_namespace("a"), cache.with_namespace("b")]
        .map(|space| Router::new().route("/page", post().layer(minute(&space))));
    for app in &apps {
        get(app, "/page").await;
    }
    send_empty(&apps[0], Method::PUT, "/page").await;
    assert!(!get(&apps[0], "/page").await.is_hit());
    assert!(get(&apps[1], "/page").await.is_hit());
}

#[tokio::test]
async fn revisions_share_invalidations_and_no_responses() {
    let (cache, _) = cache();
    let apps =
        ["v1", "v2"].map(|revision| page(minute(&cache.with_revision(revision)).tags(["posts"]), numbered(&Runs::default())));
    for app in &apps {
        assert_eq!(get(app, "/page").await.text(), "run 1");
        assert!(get(app, "/page").await.is_hit());
    }
    cache.with_revision("v2").invalidate_tags(["posts"]).await.unwrap();
    for app in &apps {
        assert_eq!(get(app, "/page").await.text(), "run 2");
    }
}

#[tokio::test]
async fn names_of_namespace_and_revision_do_not_run_together() {
    let (cache, _) = cache();
    let spaces = [("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc")];
    for (namespace, revision) in spaces {
        let app = page(minute(&cache.with_namespace(namespace).with_revision(revision)), numbered(&Runs::default()));
        assert!(!get(&app, "/page").await.is_hit(), "{namespace:?} {revision:?}");
    }
}

// What a route stores.

#[tokio::test]
async fn without_a_lifetime_nothing_is_stored() {
    let app = page(cache().0.layer(), numbered(&Runs::default()));
    assert_eq!(get(&app, "/page").await.reason(), Some(Reason::NoFreshness));
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

/// Whether a response with this status is found again.
async fn keeps(layer: CacheLayer, status: StatusCode) -> bool {
    let app = page(layer, move || async move { status });
    get(&app, "/page").await;
    let second = get(&app, "/page").await;
    assert_eq!(second.status, status);
    second.is_hit()
}

#[tokio::test]
async fn the_ttl_of_a_route_is_for_final_successes_alone() {
    let kept = [200, 203, 301, 308];
    for status in [200, 201, 202, 203, 204, 205, 206, 300, 301, 302, 303, 304, 307, 308, 400, 404, 405, 410, 414, 451, 500, 501] {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(keeps(minute(&cache().0), status).await, kept.contains(&status.as_u16()), "{status}");
    }
}

#[tokio::test]
async fn a_negative_ttl_is_for_what_is_not_there() {
    for (status, kept) in [(404, true), (410, true), (200, false), (400, false), (500, false), (204, false)] {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(keeps(cache().0.layer().negative_ttl(MINUTE), status).await, kept, "{status}");
    }
}

#[tokio::test]
async fn a_status_that_a_route_names_is_kept_for_its_own_time() {
    let (cache, clock) = cache();
    let teapot = StatusCode::IM_A_TEAPOT;
    let layer = minute(&cache).ttl_for(teapot, 5 * MINUTE).ttl_for(teapot, 2 * MINUTE);
    let app = page(layer, move || async move { teapot });
    get(&app, "/page").await;
    clock.advance(2 * MINUTE - Duration::from_millis(1));
    assert!(get(&app, "/page").await.is_hit());
    clock.advance(Duration::from_millis(1));
    assert!(!get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn store_if_sees_the_head_and_the_length() {
    let layer = |cache: &Cache| minute(cache).store_if(|head, length| head.headers.contains_key("x-store") && length == Some(4));
    for (lines, body, stored) in
        [(&[("x-store", "1")][..], "page", true), (&[], "page", false), (&[("x-store", "1")], "long page", false)]
    {
        let headers = fields(lines);
        let app = page(layer(&cache().0), move || async move { (headers, body) });
        assert_eq!(get(&app, "/page").await.reason(), (!stored).then_some(Reason::StoreIf));
        assert_eq!(get(&app, "/page").await.is_hit(), stored, "{lines:?} {body}");
    }
}

#[tokio::test]
async fn store_if_is_not_asked_about_what_may_not_be_stored_anyway() {
    let asked = Runs::default();
    let count = asked.clone();
    let layer = minute(&cache().0).store_if(move |_, _| count.begin() > 0);
    let app = page(layer, numbered_with(&Runs::default(), &[("cache-control", "private")]));
    assert_eq!(get(&app, "/page").await.reason(), Some(Reason::Private));
    assert_eq!(asked.count(), 0);
}

#[tokio::test]
async fn a_handlers_policy_goes_before_its_header_and_its_route_but_not_before_a_veto() {
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
async fn a_private_response_is_not_stored_whatever_else_it_says() {
    let (private, ttl) = (CacheDirective::private(), CacheDirective::ttl(MINUTE));
    for (first, second) in [(private, ttl), (ttl, private), (private, CacheDirective::no_store())] {
        let app = page(minute(&cache().0), move || async move {
            (first, second, fields(&[("larder-cache-control", "public, max-age=60")]), "page")
        });
        for _ in 0..2 {
            assert_eq!(get(&app, "/page").await.reason(), Some(Reason::Private));
        }
    }
}

#[tokio::test]
async fn larder_cache_control_goes_before_cache_control() {
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
async fn a_larder_cache_control_that_cannot_be_read_is_ignored() {
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

#[tokio::test]
async fn the_status_of_the_cache_is_a_header_only_where_it_is_asked_for() {
    for (layer, sent) in [(minute(&cache().0), false), (minute(&cache().0).status_header(true), true)] {
        let app = Router::new().route("/page", post().layer(layer));
        for (method, lines) in [
            (Method::GET, &[][..]),
            (Method::GET, &[]),
            (Method::HEAD, &[]),
            (Method::GET, &[("cookie", "bypass=1")]),
            (Method::PUT, &[]),
        ] {
            let response = app.clone().oneshot(request(method.clone(), "/page", lines)).await.unwrap();
            let status = *CacheStatus::of(&response).unwrap();
            let header = response.headers().get("cache-status").map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(header, sent.then(|| status.to_string()), "{method} {lines:?}");
        }
    }
}

#[tokio::test]
async fn the_status_of_the_cache_follows_those_of_caches_before_it() {
    let handler = numbered_with(&Runs::default(), &[("cache-status", "origin; hit")]);
    let app = page(minute(&cache().0).status_header(true), handler);
    get(&app, "/page").await;
    let hit = get(&app, "/page").await;
    let members: Vec<_> = hit.headers.get_all("cache-status").iter().collect();
    assert_eq!(members, ["origin; hit", "larder; hit; ttl=60"]);
}

#[tokio::test]
async fn head_is_answered_from_a_get_with_its_length_and_without_a_body() {
    let (cache, clock) = cache();
    let app = page(minute(&cache), numbered(&Runs::default()));
    get(&app, "/page").await;
    clock.advance(Duration::from_secs(3));
    let head = send_empty(&app, Method::HEAD, "/page").await;
    assert_eq!((head.is_hit(), head.text(), head.header("content-length"), head.header("age")), (true, "", Some("5"), Some("3")));
    assert_eq!(get(&app, "/page").await.text(), "run 1");
}

// The order of settings.

#[tokio::test]
async fn repeated_lists_add_up() {
    let app = saying_its_query(minute(&cache().0).ignore_query(["a"]).ignore_query(["b"]));
    assert_eq!(get(&app, "/page?a=1&b=2&c=3").await.text(), "c=3");
    let app = saying_its_query(minute(&cache().0).only_query(["a"]).only_query(["b"]));
    assert_eq!(get(&app, "/page?a=1&b=2&c=3").await.text(), "a=1&b=2");
    let app = page(minute(&cache().0).vary_on_cookies(["a"]).vary_on_cookies(["b"]), numbered(&Runs::default()));
    for (cookie, run) in [("a=1; b=1", "run 1"), ("a=2; b=1", "run 2"), ("a=1; b=2", "run 3"), ("a=1; b=1; c=1", "run 1")] {
        assert_eq!(get_with(&app, "/page", &[("cookie", cookie)]).await.text(), run, "{cookie}");
    }
}

#[tokio::test]
async fn the_last_choice_of_query_parameters_replaces_the_other() {
    let app = saying_its_query(minute(&cache().0).ignore_query(["a"]).only_query(["a"]));
    assert_eq!(get(&app, "/page?a=1&b=2").await.text(), "a=1");
    let app = saying_its_query(minute(&cache().0).only_query(["a"]).ignore_query(["a"]));
    assert_eq!(get(&app, "/page?a=1&b=2").await.text(), "b=2");
}

#[tokio::test]
async fn a_switch_can_be_turned_off_again() {
    let on = minute(&cache().0)
        .sort_query(true)
        .ignore_cookies(true)
        .ignore_authorization(true)
        .strip_set_cookie(true)
        .auto_etag(true)
        .status_header(true);
    let off = on
        .clone()
        .sort_query(false)
        .ignore_cookies(false)
        .ignore_authorization(false)
        .strip_set_cookie(false)
        .auto_etag(false)
        .status_header(false);
    for (layer, is_on) in [(on, true), (off, false)] {
        assert_eq!(get(&saying_its_query(layer.clone()), "/page?b=1&a=1").await.text() == "a=1&b=1", is_on);
        for credential in [("cookie", "a=1"), ("authorization", "Basic x")] {
            let app = page(layer.clone(), numbered(&Runs::default()));
            get_with(&app, "/page", &[credential]).await;
            assert_eq!(get_with(&app, "/page", &[credential]).await.is_hit(), is_on, "{credential:?}");
        }
        let app = page(layer.clone(), numbered_with(&Runs::default(), &[("set-cookie", "a=1")]));
        get(&app, "/page").await;
        assert_eq!(get(&app, "/page").await.is_hit(), is_on);
        let app = page(layer, || async { "page" });
        get(&app, "/page").await;
        let hit = get(&app, "/page").await;
        assert_eq!((hit.header("etag").is_some(), hit.header("cache-status").is_some()), (is_on, is_on));
    }
}

/// A setting before and after `strict()`.
fn around_strict(set: impl Fn(CacheLayer) -> CacheLayer) -> [Router; 2] {
    let runs = Runs::default();
    [set(cache().0.layer()).strict(), set(cache().0.layer().strict())]
        .map(|layer| page(layer.ttl(MINUTE), numbered_with(&runs, &[("set-cookie", "a=1")])))
}

#[tokio::test]
async fn strict_leaves_the_choice_of_trusted_clients_alone() {
    for app in around_strict(|layer| layer.trusted_clients(|parts| parts.headers.contains_key("x-admin"))) {
        get(&app, "/page").await;
        assert!(get_with(&app, "/page", &[("cache-control", "no-cache")]).await.is_hit());
        assert!(!get_with(&app, "/page", &[("cache-control", "no-cache"), ("x-admin", "1")]).await.is_hit());
    }
}

#[tokio::test]
async fn strict_leaves_the_longest_lifetime_alone() {
    for set in [|layer: CacheLayer, max| layer.max_ttl(max).strict(), |layer: CacheLayer, max| layer.strict().max_ttl(max)] {
        let (cache, clock) = cache();
        let app = page(set(minute(&cache), Duration::from_secs(10)), numbered(&Runs::default()));
        get(&app, "/page").await;
        clock.advance(Duration::from_secs(9));
        assert!(get(&app, "/page").await.is_hit());
        clock.advance(Duration::from_secs(1));
        assert!(!get(&app, "/page").await.is_hit());
    }
}

#[tokio::test]
async fn strict_leaves_the_choice_of_cookies_alone() {
    for app in around_strict(|layer| layer.vary_on_cookies(["theme"])) {
        let dark = get_with(&app, "/page", &[("cookie", "theme=dark")]).await;
        assert_ne!(get_with(&app, "/page", &[("cookie", "theme=light")]).await.text(), dark.text());
        assert!(get_with(&app, "/page", &[("cookie", "theme=dark; sid=1")]).await.is_hit());
    }
    for app in around_strict(|layer| layer.strip_set_cookie(true)) {
        get(&app, "/page").await;
        let hit = get(&app, "/page").await;
        assert_eq!((hit.is_hit(), hit.header("set-cookie")), (true, None));
    }
    for app in around_strict(|layer| layer.ignore_cookies(false)) {
        assert_eq!(get_with(&app, "/page", &[("cookie", "a=1")]).await.reason(), Some(Reason::RequestCookie));
    }
}

// Errors.

#[tokio::test]
async fn a_handler_that_returns_an_error_of_the_cache_answers_503_without_details() {
    let cache = cache().0;
    let handler = move || async move { cache.invalidate_tags([""]).await.map(|_| StatusCode::NO_CONTENT) };
    let answer = get(&Router::new().route("/page", routing::get(handler)), "/page").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::SERVICE_UNAVAILABLE, ""));
}

// Keys.

/// An application whose page says the query that its handler sees.
fn saying_its_query(layer: CacheLayer) -> Router {
    page(layer, answering(|parts| parts.uri.query().map(str::to_owned).unwrap_or_else(|| "none".into())))
}

#[tokio::test]
async fn only_named_parameters_count_and_only_they_reach_the_handler() {
    let app = saying_its_query(minute(&cache().0).only_query(["page", "q_*"]));
    for (query, seen, hit) in [
        ("page=1&session=x", "page=1", false),
        ("session=y&page=1", "page=1", true),
        ("page=2&q_a=1", "page=2&q_a=1", false),
        ("q_a=1&page=2", "q_a=1&page=2", false),
        ("session=x", "none", false),
        ("pag%65=1", "pag%65=1", false),
    ] {
        let answer = get(&app, &format!("/page?{query}")).await;
        assert_eq!((answer.text(), answer.is_hit()), (seen, hit), "{query}");
    }
    assert_eq!(get(&app, "/page").await.text(), "none");
}

#[tokio::test]
async fn a_sorted_query_is_the_same_in_any_order_of_names_but_not_of_values() {
    let app = saying_its_query(minute(&cache().0).sort_query(true));
    for (query, seen, hit) in [
        ("b=1&a=2", "a=2&b=1", false),
        ("a=2&b=1", "a=2&b=1", true),
        ("a=1&a=2", "a=1&a=2", false),
        ("a=2&a=1", "a=2&a=1", false),
        ("b=1&&a=2&", "a=2&b=1", true),
    ] {
        let answer = get(&app, &format!("/page?{query}")).await;
        assert_eq!((answer.text(), answer.is_hit()), (seen, hit), "{query}");
    }
}

#[tokio::test]
async fn query_rules_work_together_and_inside_a_nest() {
    let layer = minute(&cache().0).ignore_query(["utm_*"]).sort_query(true);
    let app = Router::new().nest("/v1", saying_its_query(layer));
    assert_eq!(get(&app, "/v1/page?b=1&utm_x=1&a=2").await.text(), "a=2&b=1");
    assert!(get(&app, "/v1/page?a=2&b=1&utm_y=2").await.is_hit());
}

#[tokio::test]
async fn fields_that_a_route_varies_on_select_the_response() {
    let handler = answering(|parts| format!("{:?}", parts.headers.get_all("x-tenant").iter().collect::<Vec<_>>()));
    let app = page(minute(&cache().0).vary_on(["X-Tenant"]), handler);
    let requests: [&[(&str, &str)]; 5] =
        [&[], &[("x-tenant", "")], &[("x-tenant", "a")], &[("x-tenant", "b")], &[("x-tenant", "a"), ("x-tenant", "b")]];
    let mut answers = std::collections::BTreeSet::new();
    for lines in requests {
        let answer = get_with(&app, "/page", lines).await;
        assert!(!answer.is_hit() && answers.insert(answer.text().to_owned()), "{lines:?}");
        assert!(get_with(&app, "/page", lines).await.is_hit(), "{lines:?}");
    }
}

#[tokio::test]
#[should_panic(expected = "is not the name of a header field")]
async fn a_slip_in_the_name_of_a_field_stops_the_start() {
    let _ = minute(&cache().0).vary_on(["x tenant"]);
}

#[tokio::test]
async fn named_cookies_select_the_response_and_others_do_not() {
    let app = page(minute(&cache().0).vary_on_cookies(["theme"]), numbered(&Runs::default()));
    for (cookie, run) in
        [("theme=dark; sid=1", "run 1"), ("sid=2; theme=dark", "run 1"), ("theme=light", "run 2"), ("sid=3", "run 3")]
    {
        assert_eq!(get_with(&app, "/page", &[("cookie", cookie)]).await.text(), run, "{cookie}");
    }
    assert_eq!(get(&app, "/page").await.text(), "run 3");
}

#[tokio::test]
async fn principals_do_not_share_and_an_anonymous_request_obeys_the_usual_rules() {
    #[derive(Clone)]
    struct User(&'static str);
    async fn authenticate(mut request: Request, next: Next) -> Response {
        let user = request.headers().get("authorization").and_then(|token| match token.as_bytes() {
            b"alice's token" | b"alice's other token" => Some(User("alice")),
            b"bob's token" => Some(User("bob")),
            _ => None,
        });
        if let Some(user) = user {
            request.extensions_mut().insert(user);
        }
        next.run(request).await
    }
    let layer = minute(&cache().0).per_principal(|parts| Some(parts.extensions.get::<User>()?.0.to_owned()));
    let handler = answering(|parts| format!("for {}", parts.extensions.get::<User>().map_or("nobody", |user| user.0)));
    let app = page(layer, handler).layer(middleware::from_fn(authenticate));
    for (token, answer, hit) in [
        ("alice's token", "for alice", false),
        ("bob's token", "for bob", false),
        ("alice's other token", "for alice", true),
        ("nobody's token", "for nobody", false),
        ("nobody's token", "for nobody", false),
    ] {
        let answered = get_with(&app, "/page", &[("authorization", token)]).await;
        assert_eq!((answered.text(), answered.is_hit()), (answer, hit), "{token}");
    }
    assert_eq!(get(&app, "/page").await.text(), "for nobody");
}

#[tokio::test]
async fn a_part_of_the_routes_own_selects_the_response_or_declines() {
    let layer = minute(&cache().0).key_with("test", |parts| match field(parts, "x-device") {
        "" => None,
        device => Some(device.to_owned()),
    });
    let app = page(layer, numbered(&Runs::default()));
    for (device, run) in [("phone", "run 1"), ("desk", "run 2"), ("phone", "run 1")] {
        assert_eq!(get_with(&app, "/page", &[("x-device", device)]).await.text(), run);
    }
    for run in ["run 3", "run 4"] {
        let declined = get(&app, "/page").await;
        assert_eq!((declined.text(), declined.reason()), (run, Some(Reason::KeyDeclined)));
    }
}

#[tokio::test]
async fn a_normal_form_of_the_language_serves_all_who_mean_the_same() {
    let languages = LanguageMatcher::new(["en", "de", "pt-BR"]);
    let matcher = languages.clone();
    let handler = answering(move |parts| {
        (fields(&[("vary", "accept-language")]), matcher.best(field(parts, "accept-language")).to_owned())
    });
    let app = page(minute(&cache().0).normalize("accept-language", languages), handler);
    for (accept, language, hit) in [
        ("de-AT, en;q=0.5", "de", false),
        ("de", "de", true),
        ("DE-ch-1996;q=0.1", "de", true),
        ("pt-br", "pt-BR", false),
        ("en-GB", "en", false),
        ("ja", "en", true),
        ("en;q=0, de;q=0.1", "de", true),
        (";;,,q=", "en", true),
    ] {
        let answer = get_with(&app, "/page", &[("accept-language", accept)]).await;
        assert_eq!((answer.text(), answer.is_hit()), (language, hit), "{accept}");
    }
    assert!(get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn layers_that_cut_their_keys_differently_do_not_share() {
    let (cache, _) = cache();
    let device = |cache: &Cache, name: &str| minute(cache).key_with(name, |_| Some(String::new()));
    let layers: [CacheLayer; 11] = [
        minute(&cache),
        minute(&cache).sort_query(true),
        minute(&cache).ignore_query(["a"]),
        minute(&cache).only_query(["a"]),
        minute(&cache).vary_on(["x-a"]),
        minute(&cache).ignore_cookies(true),
        minute(&cache).vary_on_cookies(["a"]),
        device(&cache, "device"),
        device(&cache, "tenant"),
        minute(&cache).normalize("accept-language", LanguageMatcher::new(["en"])),
        minute(&cache).normalize("accept-language", LanguageMatcher::new(["de"])),
    ];
    for (index, layer) in layers.into_iter().enumerate() {
        let app = page(layer, answering(move |_| index.to_string()));
        assert_eq!(get(&app, "/page").await.text(), index.to_string());
    }
}

/// A function moved to another line, or a build of another commit, must find what is stored.
#[tokio::test]
async fn source_lines_do_not_belong_to_keys() {
    let (cache, _) = cache();
    let one = minute(&cache).key_with("device", |_| Some("a".to_owned())).normalize("x-a", str::to_lowercase);
    let other = minute(&cache).key_with("device", |_| Some("a".to_owned())).normalize("x-a", str::to_lowercase);
    get(&page(one, answering(|_| "stored")), "/page").await;
    let answer = get(&page(other, answering(|_| "run again")), "/page").await;
    assert_eq!((answer.text(), answer.is_hit()), ("stored", true));
}

#[tokio::test]
async fn the_last_normal_form_of_a_field_wins() {
    let layer =
        minute(&cache().0).vary_on(["x-a"]).normalize("x-a", |_: &str| "same".to_owned()).normalize("x-a", str::to_lowercase);
    let app = page(layer, numbered(&Runs::default()));
    assert_eq!(get_with(&app, "/page", &[("x-a", "B")]).await.text(), "run 1");
    assert_eq!(get_with(&app, "/page", &[("x-a", "b")]).await.text(), "run 1");
    assert_eq!(get_with(&app, "/page", &[("x-a", "c")]).await.text(), "run 2");
}

// Stores.

#[tokio::test]
async fn a_store_is_named_by_a_url() {
    for url in ["memory:64mb", "memory:1GB", "memory:65536", "memory:64kib", "memory:100000b"] {
        let cache = Cache::connect(url).await.unwrap();
        let app = page(minute(&cache), numbered(&Runs::default()));
        get(&app, "/page").await;
        assert!(get(&app, "/page").await.is_hit(), "{url}");
    }
}

#[tokio::test]
async fn a_url_that_names_no_store_says_what_to_write_instead() {
    for (url, hint) in [
        ("", "memory:64mb"),
        ("64mb", "memory:64mb"),
        ("memory:", "memory:64mb"),
        ("memory:lots", "memory:64mb"),
        ("memory:-1", "memory:64mb"),
        ("memory:64tb", "memory:64mb"),
        ("memory:99999999999999999999", "memory:64mb"),
        ("memory:99999999999gb", "memory:64mb"),
        ("nosuchstore://localhost", "nosuchstore"),
    ] {
        let error = Cache::connect(url).await.unwrap_err();
        assert!(error.is_invalid_input() && error.to_string().contains(hint), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_uri_that_is_none_invalidates_nothing_and_says_so() {
    let (cache, _) = cache();
    let app = page(minute(&cache), numbered(&Runs::default()));
    get(&app, "/page").await;
    for uri in ["", "page", "not a uri", "http://", "*", "http://user@example.com/page"] {
        assert!(cache.invalidate_uri(uri).await.is_err_and(|error| error.is_invalid_input()), "{uri:?}");
    }
    assert!(get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn a_handlers_tags_add_to_those_of_its_layer_and_of_its_own_layers() {
    let (cache, _) = cache();
    let handler = || async { (CacheTags::new(["a"]), CacheTags::new(["b"]), "page") };
    for tag in ["route", "a", "b"] {
        let app = page(minute(&cache).tags(["route"]), handler);
        get(&app, "/page").await;
        assert!(get(&app, "/page").await.is_hit());
        cache.invalidate_tags([tag]).await.unwrap();
        assert!(!get(&app, "/page").await.is_hit(), "{tag}");
        cache.clear().await.unwrap();
    }
}

#[tokio::test]
async fn a_streamed_write_has_invalidated_its_url_before_its_body_ends() {
    let (cache, _) = cache();
    let (frames, body) = ChannelBody::new();
    let write = first_streams(body);
    let app = Router::new().route("/page", routing::get(numbered(&Runs::default())).post(write).layer(minute(&cache)));
    get(&app, "/page").await;
    let response = app.clone().oneshot(request(Method::POST, "/page", &[])).await.unwrap();
    assert_eq!(get(&app, "/page").await.text(), "run 2");
    frames.send("done");
    drop(frames);
    assert_eq!(crate::support::read(response).await.text(), "done");
}
