//! Why is this URL not cached?

use axum::{Router, body::Body, routing};
use bytes::Bytes;
use http::{Request, request::Parts};
use larder::admin::{Access, Admin};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{app, call, json as parsed};
use crate::support::{Runs, cache, get, get_with, minute, numbered_with};

async fn explained(app: &Router, request: Value) -> Value {
    let answer = call(app, "explain", &request.to_string()).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    parsed(&answer)
}

fn state<'e>(explanation: &'e Value, tag: &str) -> &'e Value {
    &explanation["tags"].as_array().unwrap().iter().find(|explained| explained["tag"] == tag).unwrap()["state"]
}

#[tokio::test]
async fn hit_miss_and_invalidated_entry_are_told_apart() {
    let (cache, clock) = cache();
    let app = app(&cache);
    let url = json!({ "url": "http://example.com/posts/7" });
    assert_eq!(explained(&app, url.clone()).await["verdict"], "unknown", "no request has passed the layer yet");
    get(&app, "/posts/8").await;
    let missing = explained(&app, url.clone()).await;
    assert_eq!(
        (&missing["verdict"], &missing["forward"], &missing["route"]),
        (&"miss".into(), &"uri-miss".into(), &"/posts/{id}".into())
    );
    assert_eq!(state(&missing, "tag post:7"), "not stored");

    get(&app, "/posts/7").await;
    clock.advance(std::time::Duration::from_secs(10));
    let before = cache.stats().requests();
    let hit = explained(&app, url.clone()).await;
    assert_eq!(
        (&hit["verdict"], &hit["entry"]["age_seconds"], &hit["entry"]["ttl_seconds"]),
        (&"hit".into(), &10.into(), &50.into())
    );
    assert_eq!(state(&hit, "tag post:7"), "valid");
    assert_eq!(state(&hit, "route /posts/{id}"), "valid");
    assert_eq!(cache.stats().requests(), before, "a dry run is not counted");

    cache.expire_tags(["post:7"]).await.unwrap();
    let stale = explained(&app, url.clone()).await;
    assert_eq!((&stale["verdict"], &stale["forward"]), (&"miss".into(), &"stale".into()));
    assert_eq!((state(&stale, "tag post:7"), state(&stale, "tag posts")), (&"expired".into(), &"valid".into()));

    cache.invalidate_tags(["post:7"]).await.unwrap();
    let gone = explained(&app, url).await;
    assert_eq!((&gone["verdict"], &gone["entry"]), (&"miss".into(), &Value::Null));
    assert!(gone["notes"].to_string().contains("invalidated lately"), "{gone}");
}

#[tokio::test]
async fn url_without_a_host_is_noted_where_the_host_is_in_the_key() {
    let (cache, _) = cache();
    let with_host = app(&cache);
    get(&with_host, "/posts/7").await;
    let noted = |explanation: &Value| explanation["notes"].to_string().contains("no host");
    assert!(noted(&explained(&with_host, json!({ "url": "/posts/7" })).await));
    assert!(!noted(&explained(&with_host, json!({ "url": "http://example.com/posts/7" })).await));
    assert!(!noted(&explained(&with_host, json!({ "url": "/posts/7", "headers": { "host": "example.com" } })).await));

    let (cache, _) = self::cache();
    let pages = Router::new().route("/posts/{id}", routing::get(|| async { "post" }).layer(minute(&cache).ignore_host(true)));
    let admin = Admin::new(&cache).authorize(|_| Access::full("ann")).into_router();
    let without = pages.nest(super::ROOT, admin);
    get(&without, "/posts/7").await;
    let hit = explained(&without, json!({ "url": "/posts/7" })).await;
    assert!(hit["verdict"] == "hit" && !noted(&hit), "{hit}");
}

#[tokio::test]
async fn reasons_come_with_their_remedies() {
    let (cache, _) = cache();
    let app = app(&cache);
    get(&app, "/posts/7").await;
    let url = "http://example.com/posts/7";
    let cookie = explained(&app, json!({ "url": url, "headers": { "cookie": "sid=canary" } })).await;
    assert_eq!((&cookie["verdict"], &cookie["reason"]), (&"bypass".into(), &"request-cookie".into()));
    assert!(cookie["remedy"].as_str().unwrap().contains("bypass_on_cookies"));
    let write = explained(&app, json!({ "url": url, "method": "PUT" })).await;
    assert_eq!((&write["verdict"], &write["reason"]), (&"bypass".into(), &"method".into()));
    let authorized = explained(&app, json!({ "url": url, "headers": { "authorization": "canary" } })).await;
    assert_eq!(authorized["forward"], "request");
    cache.set_mode(larder::CacheMode::Bypass);
    assert_eq!(explained(&app, json!({ "url": url })).await["reason"], "switched-off");
}

#[tokio::test]
async fn variants_are_counted_and_the_right_one_is_found() {
    let (cache, _) = cache();
    let runs = Runs::default();
    let handler = numbered_with(&runs, &[("vary", "accept-language")]);
    let page = Router::new().route("/page", routing::get(handler).layer(minute(&cache)));
    let admin = larder::admin::Admin::new(&cache).authorize(|_| larder::admin::Access::full("ann")).into_router();
    let app = page.nest(super::ROOT, admin);
    for language in ["de", "en"] {
        get_with(&app, "/page", &[("accept-language", language)]).await;
    }
    let request = |language| json!({ "url": "http://example.com/page", "headers": { "accept-language": language } });
    let german = explained(&app, request("de")).await;
    assert_eq!(
        (&german["verdict"], &german["variants"], &german["vary"][0]),
        (&"hit".into(), &2.into(), &"accept-language".into())
    );
    assert_eq!(explained(&app, request("fr")).await["forward"], "vary-miss");
    assert_eq!(runs.count(), 2, "explanations run no handler");
}

#[tokio::test]
async fn nested_routes_and_layers_around_the_router_are_found() {
    let (cache, _) = cache();
    let inner = Router::new().route("/{id}", routing::get(|| async { "post" }).layer(minute(&cache)));
    let admin = larder::admin::Admin::new(&cache).authorize(|_| larder::admin::Access::full("ann")).into_router();
    let app = Router::new().nest("/posts", inner).nest(super::ROOT, admin.clone());
    get(&app, "/posts/7").await;
    let nested = explained(&app, json!({ "url": "http://example.com/posts/7" })).await;
    assert_eq!((&nested["verdict"], &nested["route"]), (&"hit".into(), &"/posts/{id}".into()));

    let (cache, _) = self::cache();
    let admin = larder::admin::Admin::new(&cache).authorize(|_| larder::admin::Access::full("ann")).into_router();
    let around = Router::new()
        .fallback_service(tower::Layer::layer(&minute(&cache), Router::new().route("/page", routing::get(|| async { "page" }))));
    let app: Router = around.nest(super::ROOT, admin);
    get(&app, "/page").await;
    let outside = explained(&app, json!({ "url": "http://example.com/page" })).await;
    assert_eq!((&outside["verdict"], &outside["route"]), (&"hit".into(), &Value::Null));
}

#[tokio::test]
async fn https_is_found_in_both_forms_of_a_target() {
    let (cache, _) = cache();
    let app = app(&cache);
    for uri in ["/posts/1", "https://example.com/posts/2"] {
        get(&app, uri).await;
    }
    for id in [1, 2] {
        let explanation = explained(&app, json!({ "url": format!("https://example.com/posts/{id}") })).await;
        assert_eq!(explanation["verdict"], "hit", "{id}");
    }
}

#[tokio::test]
async fn invalid_questions_are_refused() {
    let (cache, _) = cache();
    let app = app(&cache);
    for body in [r#"{"url":"no path"}"#, r#"{"url":""}"#, r#"{"url":"/","method":"G T"}"#, r#"{"url":"/","headers":{"a b":"c"}}"#]
    {
        assert_eq!(call(&app, "explain", body).await.status, http::StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    }
}

#[tokio::test]
async fn content_that_is_in_the_key_is_unknown_if_it_is_not_given() {
    let (cache, _) = cache();
    let page = routing::any(numbered_with(&Runs::default(), &[]));
    let app = app(&cache)
        .route("/graphql", page.clone().layer(minute(&cache).cache_post(1 << 10)))
        .route("/plain", page.layer(minute(&cache)));
    for uri in ["/graphql", "/plain"] {
        get(&app, uri).await;
    }
    for (method, uri, verdict) in [
        ("POST", "/graphql", "unknown"),
        ("QUERY", "/graphql", "unknown"),
        ("QUERY", "/plain", "unknown"),
        ("POST", "/plain", "bypass"),
    ] {
        let explanation = explained(&app, json!({ "method": method, "url": format!("http://example.com{uri}") })).await;
        assert_eq!(explanation["verdict"], verdict, "{method} {uri}");
        let parts = explanation["key_parts"].to_string();
        assert_eq!(parts.contains("SHA-256"), verdict == "unknown", "{parts}");
    }
}

#[tokio::test]
async fn a_request_is_explained_with_its_content() {
    let (cache, _) = cache();
    let page = routing::any(numbered_with(&Runs::default(), &[("cache-control", "max-age=60")]));
    let reads = |_: &Parts, content: &Bytes| content.starts_with(b"query");
    let app = app(&cache)
        .route("/graphql", page.clone().layer(minute(&cache).cache_post(8)))
        .route("/rpc", page.clone().layer(minute(&cache).cache_post_if(64, reads)))
        .route("/plain", page.layer(minute(&cache)));
    let send = async |method: &str, uri: &str, content: &'static str| {
        let request = Request::builder().method(method).uri(format!("http://example.com{uri}"));
        let request = request.header("host", "example.com").header("content-type", "text/plain");
        app.clone().oneshot(request.body(Body::from(content)).unwrap()).await.unwrap();
    };
    for (method, uri) in [("POST", "/graphql"), ("QUERY", "/graphql"), ("POST", "/rpc")] {
        send(method, uri, "query 1").await;
    }
    send("GET", "/plain", "").await;
    let text = "text/plain";
    for (method, uri, content, content_type, verdict, reason) in [
        ("POST", "/graphql", "query 1", text, "hit", json!(null)),
        ("QUERY", "/graphql", "query 1", text, "hit", json!(null)),
        ("QUERY", "/graphql", "query 2", text, "miss", json!(null)),
        ("QUERY", "/graphql", "query 1", "text/html", "miss", json!(null)),
        ("POST", "/graphql", "query 1 is too long", text, "bypass", json!("request-body-too-large")),
        ("POST", "/rpc", "query 1", text, "hit", json!(null)),
        ("POST", "/rpc", "change 1", text, "bypass", json!("method")),
        ("POST", "/plain", "query 1", text, "bypass", json!("method")),
        ("GET", "/plain", "query 1", text, "bypass", json!("request-body")),
        ("GET", "/plain", "", text, "hit", json!(null)),
    ] {
        let url = format!("http://example.com{uri}");
        let request = json!({ "method": method, "url": url, "content": content, "headers": { "content-type": content_type } });
        let explanation = explained(&app, request).await;
        let case = format!("{method} {uri} {content} {content_type}: {explanation}");
        assert_eq!((&explanation["verdict"], &explanation["reason"]), (&json!(verdict), &reason), "{case}");
        assert!(content.is_empty() || !explanation.to_string().contains(content), "the content may be secret: {case}");
    }
    let question = json!({ "method": "QUERY", "url": "http://example.com/graphql", "content": "query 1" });
    assert_eq!(explained(&app, question).await["reason"], "no-content-type");
}
