//! Where a layer may be: on a route, around a router, inside a nest, around another layer.

use axum::{
    Router,
    routing::{self, MethodRouter},
};
use http::{Method, StatusCode};
use larder::{CacheLayer, Invalidate, Reason};
use tower::ServiceBuilder;

use crate::support::{Runs, cache, get, logs::Logs, minute, numbered, numbered_with, page, send_empty};

/// Answers GET with the number of its run, and everything else with 204.
pub(super) fn post() -> MethodRouter {
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
async fn response_whose_capture_is_unknown_is_served_and_not_stored() {
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
async fn fallback_is_cached_only_by_a_layer_around_it() {
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

#[tokio::test]
async fn outer_layer_respects_the_tags_of_an_inner_one() {
    let (cache, _) = cache();
    let app = page(minute(&cache).tags(["posts"]), numbered(&Runs::default())).layer(minute(&cache));
    get(&app, "/page").await;
    cache.invalidate_tags(["posts"]).await.unwrap();
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

#[tokio::test]
async fn outer_layer_with_other_keys_respects_inner_tags() {
    let (cache, _) = cache();
    let app = page(minute(&cache).tags(["posts"]), numbered(&Runs::default())).layer(minute(&cache).sort_query(true));
    get(&app, "/page").await;
    cache.invalidate_tags(["posts"]).await.unwrap();
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

#[tokio::test]
async fn larder_cache_control_reaches_an_outer_layer() {
    let (cache, _) = cache();
    let handler = numbered_with(&Runs::default(), &[("larder-cache-control", "no-store"), ("cache-control", "max-age=60")]);
    let app = page(minute(&cache), handler).layer(minute(&cache));
    get(&app, "/page").await;
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

#[tokio::test]
async fn outer_layer_does_not_store_a_response_with_missing_inner_tags() {
    let (cache, _) = cache();
    let app = page(minute(&cache).tags(["post:{slug}"]), numbered(&Runs::default())).layer(minute(&cache));
    get(&app, "/page").await;
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

#[tokio::test]
async fn invalidation_inside_two_layers_takes_effect() {
    let (cache, _) = cache();
    let write = routing::post(|| async { Invalidate::tags(["posts"]) }).layer(minute(&cache));
    let app = page(minute(&cache).tags(["posts"]), numbered(&Runs::default()))
        .merge(Router::new().route("/write", write).layer(minute(&cache)));
    get(&app, "/page").await;
    send_empty(&app, Method::POST, "/write").await;
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

/// `/users/{id}/posts/{id}`, by nests of both kinds, with the layer inside of the nest or outside.
fn nested_posts(layer: &CacheLayer) -> [(&'static str, bool, Router); 6] {
    let post = || routing::get(numbered(&Runs::default()));
    let posts = || Router::new().route("/posts/{id}", post());
    let layered = || Router::new().route("/posts/{id}", post().layer(layer.clone()));
    let comments = Router::new().route("/comments/{comment}", post().layer(layer.clone()));
    [
        ("on the route", true, Router::new().nest("/users/{id}", layered())),
        ("on the route of a service", true, Router::new().nest_service("/users/{id}", layered())),
        ("around the nested router", true, Router::new().nest("/users/{id}", posts().layer(layer.clone()))),
        ("in a nest without the name", true, Router::new().nest("/users/{id}", Router::new().nest("/posts/{id}", comments))),
        ("around the nest", false, Router::new().nest("/users/{id}", posts()).layer(layer.clone())),
        ("on one route", false, Router::new().route("/users/{id}/posts/{id}", post().layer(layer.clone()))),
    ]
}

#[tokio::test]
async fn innermost_capture_makes_the_tag_and_an_unclear_one_is_not_stored() {
    let (cache, _) = cache();
    let (logged, _guard) = Logs::collect();
    for (place, is_clear, app) in nested_posts(&minute(&cache).tags(["post:{id}"])) {
        let uri = if place.contains("without") { "/users/1/posts/2/comments/3" } else { "/users/1/posts/2" };
        for _ in 0..2 {
            let answer = get(&app, uri).await;
            assert_eq!(answer.reason(), (!is_clear).then_some(Reason::AmbiguousCapture).filter(|_| !answer.is_hit()), "{place}");
        }
        assert_eq!(get(&app, uri).await.is_hit(), is_clear, "{place}");
        cache.invalidate_tags("post:1").await.unwrap();
        assert_eq!(get(&app, uri).await.is_hit(), is_clear, "{place}");
        cache.invalidate_tags("post:2").await.unwrap();
        assert!(!get(&app, uri).await.is_hit(), "{place}");
        cache.clear().await.unwrap();
    }
    let lines = logged.take();
    assert!(lines.len() == 1 && lines[0].contains("more than once"), "{lines:?}");
}
