//! The field `Cache-Status`.

use axum::Router;
use http::Method;
use larder::CacheStatus;
use tower::ServiceExt as _;

use super::placement::post;
use crate::support::{Runs, cache, get, minute, numbered_with, page, request};

#[tokio::test]
async fn cache_status_is_sent_only_if_the_route_enables_it() {
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
async fn cache_status_follows_the_members_of_upstream_caches() {
    let handler = numbered_with(&Runs::default(), &[("cache-status", "origin; hit")]);
    let app = page(minute(&cache().0).status_header(true), handler);
    get(&app, "/page").await;
    let hit = get(&app, "/page").await;
    let members: Vec<_> = hit.headers.get_all("cache-status").iter().collect();
    assert_eq!(members, ["origin; hit", "larder; hit; ttl=60"]);
}
