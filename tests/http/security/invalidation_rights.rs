//! Who may invalidate what, and who learns of it.

use axum::{Router, routing};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use larder::{Cache, CacheTags, Invalidate};
use tower::ServiceExt as _;

use crate::support::{
    Answer, ChannelBody, Runs, answering, cache, first_streams, get, get_with, minute, numbered, page, request, send_empty,
};

#[tokio::test]
async fn c3_tags_never_leave_as_headers() {
    let layer = minute(&cache().0).tags(["secret-route-tag"]).status_header(true);
    let app = page(layer, answering(|_| (CacheTags::new(["secret-tag"]), Invalidate::tags(["secret-other"]), "page")));
    let silent = |answer: Answer| {
        let values = answer.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        values.filter(|line| line.contains("secret")).collect::<Vec<_>>()
    };
    for lines in [&[][..], &[], &[("cookie", "bypass=1")], &[("authorization", "x")]] {
        assert_eq!(silent(get_with(&app, "/page", lines).await), [""; 0]);
    }
}

/// An application whose POST answers with the status that its path names, and invalidates the tag `posts`.
fn writes(cache: &Cache) -> Router {
    let list = routing::get(numbered(&Runs::default())).layer(minute(cache).tags(["posts"]));
    let write = answering(|parts| {
        let status: StatusCode = parts.uri.path().trim_start_matches("/write/").parse().unwrap();
        (status, Invalidate::tags(["posts"]))
    });
    Router::new().route("/posts", list).route("/write/{status}", routing::post(write.clone()).get(write).layer(minute(cache)))
}

#[tokio::test]
async fn c6_only_a_write_that_succeeded_invalidates() {
    for (status, invalidates) in
        [(200, true), (201, true), (204, true), (303, true), (400, false), (404, false), (409, false), (500, false), (503, false)]
    {
        let app = writes(&cache().0);
        get(&app, "/posts").await;
        send_empty(&app, Method::POST, &format!("/write/{status}")).await;
        assert_eq!(get(&app, "/posts").await.text() == "run 2", invalidates, "{status}");
    }
}

#[tokio::test]
async fn c6_a_read_that_failed_invalidates_nothing_either() {
    let app = writes(&cache().0);
    get(&app, "/posts").await;
    get(&app, "/write/500").await;
    get_with(&app, "/write/500", &[("cookie", "bypass=1")]).await;
    assert!(get(&app, "/posts").await.is_hit());
}

#[tokio::test]
async fn c6_a_write_has_invalidated_before_its_response_begins() {
    let (cache, _) = cache();
    let (frames, body) = ChannelBody::new();
    let stream = first_streams(body);
    let write = routing::post(move || async move { (Invalidate::tags(["posts"]), stream().into_inner()) });
    let app = Router::new()
        .route("/posts", routing::get(numbered(&Runs::default())).layer(minute(&cache).tags(["posts"])))
        .route("/write", write.layer(minute(&cache)));
    get(&app, "/posts").await;

    let response = app.clone().oneshot(request(Method::POST, "/write", &[])).await.unwrap();
    assert_eq!(get(&app, "/posts").await.text(), "run 2");

    frames.send("done");
    drop(frames);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "done");
}

#[tokio::test]
async fn c7_no_character_of_a_tag_has_a_meaning() {
    for tag in ["*", "post:*", "a\nb", "a\0b", "{id}", "posts,other", " ", "ポスト", "a b"] {
        let (cache, _) = cache();
        let app = Router::new()
            .route("/odd", routing::get(answering(move |_| CacheTags::new([tag]))).layer(minute(&cache)))
            .route("/even", routing::get(|| async { (CacheTags::new(["post:1", "posts", "a"]), "even") }).layer(minute(&cache)));
        for uri in ["/odd", "/even"] {
            get(&app, uri).await;
        }
        cache.invalidate_tags([tag]).await.unwrap();
        assert!(get(&app, "/even").await.is_hit(), "{tag:?}");
        assert!(!get(&app, "/odd").await.is_hit(), "{tag:?}");
    }
}

#[tokio::test]
async fn c7_a_capture_is_a_value_and_not_a_template() {
    let (cache, _) = cache();
    let app = Router::new().route("/{kind}/{id}", routing::get(|| async { "page" }).layer(minute(&cache).tags(["{kind}:{id}"])));
    for uri in ["/%7Bid%7D/7", "/7/7"] {
        get(&app, uri).await;
    }
    cache.invalidate_tags(["7:7"]).await.unwrap();
    assert!(!get(&app, "/7/7").await.is_hit());
    assert!(get(&app, "/%7Bid%7D/7").await.is_hit());
}

#[tokio::test]
async fn c7_a_users_tag_does_not_reach_into_another_namespace() {
    let (cache, _) = cache();
    let tenant = cache.with_namespace("a");
    let app = page(minute(&tenant).tags(["posts"]), numbered(&Runs::default()));
    get(&app, "/page").await;
    for tag in ["posts", "1:a:posts", "1:a:", "1:a:path:/page", "1:a:uri:example.com/page"] {
        cache.invalidate_tags([tag]).await.unwrap();
        cache.with_namespace("b").invalidate_tags([tag]).await.unwrap();
        assert!(get(&app, "/page").await.is_hit(), "{tag}");
    }
}

#[tokio::test]
async fn c7_a_users_tag_that_looks_like_one_of_larders_own_is_only_a_tag() {
    let (cache, _) = cache();
    let app = page(minute(&cache), answering(|_| ([("cache-groups", r#""g""#)], "page")));
    get(&app, "/page").await;
    for tag in ["path:/page", "uri:example.com/page", "route:/page", "group:http://example.com g"] {
        cache.invalidate_tags([tag]).await.unwrap();
        assert!(get(&app, "/page").await.is_hit(), "{tag}");
    }
}
