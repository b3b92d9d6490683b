//! Routes are counted one by one, as far as there are not too many.

use std::convert::Infallible;

use axum::{Router, routing};
use bytes::Bytes;
use http_body_util::Full;
use larder::Cache;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::{cache, get, minute};

fn names(cache: &Cache) -> Vec<(String, u64)> {
    cache.stats().routes().map(|(name, stats)| (name.to_owned(), stats.requests())).collect()
}

#[tokio::test]
async fn routes_are_named_as_in_the_router() {
    let (cache, _) = cache();
    let posts = Router::new().route("/{id}", routing::get(|| async { "post" }).layer(minute(&cache)));
    let app = Router::new().nest("/posts", posts).route("/page", routing::get(|| async { "page" }).layer(minute(&cache)));
    for path in ["/posts/1", "/posts/2", "/posts/1", "/page", "/nothing"] {
        get(&app, path).await;
    }
    assert_eq!(names(&cache), [("/page".to_owned(), 1), ("/posts/{id}".to_owned(), 3)]);
    assert_eq!(cache.stats().route("/posts/{id}").unwrap().hit_ratio(), Some(1.0 / 3.0));
}

#[tokio::test]
async fn a_layer_without_routes_counts_under_its_name() {
    let (cache, _) = cache();
    for layer in [minute(&cache), minute(&cache).name("proxy")] {
        let service = layer.layer(service_fn(|_: http::Request<Full<Bytes>>| async {
            Ok::<_, Infallible>(http::Response::new(Full::<Bytes>::default()))
        }));
        service.oneshot(http::Request::get("/").header("host", "a").body(Full::default()).unwrap()).await.unwrap();
    }
    assert_eq!(names(&cache), [("no route".to_owned(), 1), ("proxy".to_owned(), 1)]);
}

#[tokio::test]
async fn there_are_at_most_256_routes_and_the_others() {
    let (cache, _) = cache();
    let handler = || routing::get(|| async { "page" }).layer(minute(&cache));
    let app = (0..300).fold(Router::new(), |app, route| app.route(&format!("/{route}"), handler()));
    for route in 0..300 {
        get(&app, &format!("/{route}")).await;
    }
    let stats = cache.stats();
    assert_eq!((stats.routes().count(), stats.requests()), (257, 300));
    assert_eq!(stats.route("other").unwrap().requests(), 44);
}

#[tokio::test]
async fn handles_share_their_statistics_unless_they_are_named() {
    let (cache, _) = cache();
    let handler = || routing::get(|| async { "page" });
    let (same, named) = (cache.with_namespace("a"), cache.with_name("pages"));
    let app = Router::new()
        .route("/same", handler().layer(minute(&same)))
        .route("/named", handler().layer(minute(&named)))
        .route("/page", handler().layer(minute(&cache)));
    for path in ["/same", "/named", "/page"] {
        get(&app, path).await;
    }
    assert_eq!(names(&cache), [("/page".to_owned(), 1), ("/same".to_owned(), 1)]);
    assert_eq!(names(&named), [("/named".to_owned(), 1)]);
}
