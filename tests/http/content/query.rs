//! QUERY, which every layer answers.

use std::{convert::Infallible, io};

use axum::{Router, extract::Request, routing};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use larder::{CacheStatus, Forward, Reason, RequestBody};
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::{JSON, asking, post, query};
use crate::support::{MINUTE, Runs, cache, field, fields, get, minute, numbered, numbered_with, request, send, send_empty};

#[tokio::test]
async fn a_query_is_answered_from_the_cache_by_default() {
    let app = Router::new().route("/graphql", routing::any(numbered(&Runs::default())).layer(minute(&cache().0)));
    assert_eq!(query(&app, "a").await.text(), "run 1");
    assert_eq!(query(&app, "b").await.text(), "run 2");
    assert!(query(&app, "a").await.is_hit() && query(&app, "b").await.is_hit());
    // A POST is a write there.
    assert_eq!(post(&app, "a").await.text(), "run 3");
    assert_eq!(query(&app, "a").await.text(), "run 4");
}

/// axum's `MethodFilter` has no QUERY.
#[tokio::test]
async fn axum_routes_a_query_by_the_fallback_of_a_route() {
    let runs = Runs::default();
    let answer = |of: &'static str| {
        let runs = runs.clone();
        move |content: String| std::future::ready(format!("run {}: {of} {content}", runs.begin()))
    };
    let route = routing::get(answer("page")).fallback(answer("query")).layer(minute(&cache().0));
    let app = Router::new().route("/graphql", route);
    for _ in 0..2 {
        assert_eq!(get(&app, "/graphql").await.text(), "run 1: page ");
        assert_eq!(query(&app, "all").await.text(), "run 2: query all");
    }
}

#[tokio::test]
async fn a_query_without_content_type_goes_to_the_handler() {
    let app = Router::new().route("/graphql", routing::any(numbered(&Runs::default())).layer(minute(&cache().0)));
    for run in ["run 1", "run 2"] {
        let answer = send(&app, asking("QUERY", "/graphql", &[], "a")).await;
        assert_eq!((answer.text(), answer.forward(), answer.reason()), (run, Some(Forward::Bypass), Some(Reason::NoContentType)));
    }
}

#[tokio::test]
async fn a_query_over_the_limit_goes_to_the_handler_and_with_a_limit_of_zero_each_does() {
    let (cache, _) = cache();
    let app = |limit| {
        let echo = |content: String| std::future::ready(content.len().to_string());
        Router::new().route("/graphql", routing::any(echo).layer(minute(&cache).cache_query(limit)))
    };
    let ask = async |app: &Router, length: usize| send(app, asking("QUERY", "/graphql", &[JSON], "x".repeat(length))).await;
    let large = ask(&app(100), 101).await;
    assert_eq!((large.text(), large.reason()), ("101", Some(Reason::RequestBodyTooLarge)));
    assert!(ask(&app(100), 100).await.is_stored());
    assert_eq!(ask(&app(0), 1).await.reason(), Some(Reason::Method));
}

#[tokio::test]
async fn preconditions_select_a_304_and_ranges_have_no_effect() {
    let handler = numbered_with(&Runs::default(), &[("etag", "\"1\"")]);
    let app = Router::new().route("/graphql", routing::any(handler).layer(minute(&cache().0)));
    query(&app, "a").await;
    let with = async |line| send(&app, asking("QUERY", "/graphql", &[JSON, line], "a")).await;
    let unmodified = with(("if-none-match", "\"1\"")).await;
    assert_eq!((unmodified.status, unmodified.is_hit()), (StatusCode::NOT_MODIFIED, true));
    let whole = with(("range", "bytes=0-1")).await;
    assert_eq!((whole.status, whole.text(), whole.is_hit()), (StatusCode::OK, "run 1", true));
    assert_eq!(with(("if-match", "\"1\"")).await.reason(), Some(Reason::Precondition));
}

#[tokio::test]
async fn an_expired_result_is_validated_by_a_query_with_the_same_content() {
    let (cache, clock) = cache();
    let handler = |request: Request| async move {
        let (parts, body) = request.into_parts();
        let content = String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap();
        let status = match field(&parts, "if-none-match") {
            "\"1\"" if parts.method.as_str() == "QUERY" && content == "a" => StatusCode::NOT_MODIFIED,
            _ => StatusCode::OK,
        };
        (status, fields(&[("etag", "\"1\"")]), "result")
    };
    let app = Router::new().route("/graphql", routing::any(handler).layer(minute(&cache)));
    query(&app, "a").await;
    clock.advance(MINUTE);
    let validated = query(&app, "a").await;
    assert_eq!(validated.text(), "result");
    assert!(validated.cache.unwrap().is_validated());
    assert!(query(&app, "a").await.is_hit());
}

#[tokio::test]
async fn no_vary_search_joins_the_urls_of_queries_too() {
    let handler = numbered_with(&Runs::default(), &[("no-vary-search", "params=(\"x\")")]);
    let app = Router::new().route("/graphql", routing::any(handler).layer(minute(&cache().0).no_vary_search(true)));
    let ask = async |uri, content: &'static str| send(&app, asking("QUERY", uri, &[JSON], content)).await;
    assert_eq!(ask("/graphql?x=1", "a").await.text(), "run 1");
    assert_eq!(ask("/graphql?x=2", "a").await.text(), "run 1");
    assert_eq!(ask("/graphql?x=2", "b").await.text(), "run 2");
    assert_eq!(ask("/graphql?y=2", "a").await.text(), "run 3");
    assert_eq!(get(&app, "/graphql?x=1").await.text(), "run 4");
}

#[tokio::test]
async fn the_switch_and_other_safe_methods_are_as_before() {
    let (cache, _) = cache();
    let app = Router::new().route("/graphql", routing::any(numbered(&Runs::default())).layer(minute(&cache)));
    for method in ["PROPFIND", "REPORT", "SEARCH"] {
        let answer = send_empty(&app, method.parse().unwrap(), "/graphql").await;
        assert_eq!((answer.forward(), answer.reason()), (Some(Forward::Method), Some(Reason::Method)), "{method}");
    }
    query(&app, "a").await;
    cache.set_mode(larder::CacheMode::Bypass);
    assert_eq!(query(&app, "a").await.reason(), Some(Reason::SwitchedOff));
    cache.set_mode(larder::CacheMode::Enabled);
    assert!(query(&app, "a").await.is_hit());
}

type OtherBody = BoxBody<Bytes, io::Error>;

/// A tower service without axum's body is cached if the layer is told how to make a body of its type.
#[tokio::test]
async fn a_body_of_another_type_is_made_by_a_function() {
    let (cache, _) = cache();
    let echo = service_fn(|request: http::Request<OtherBody>| async move {
        let content = request.into_body().collect().await.unwrap().to_bytes();
        Ok::<_, Infallible>(http::Response::new(Full::new(content)))
    });
    let ask = || {
        let body = Full::new(Bytes::from("content")).map_err(|never| match never {}).boxed();
        request("QUERY".parse::<Method>().unwrap(), "/", &[JSON]).map(|_| body)
    };
    let without = minute(&cache).layer(echo);
    let with = minute(&cache).request_body(|body: RequestBody<OtherBody>| body.boxed()).layer(echo);
    for (number, (service, reason)) in [(without, Some(Reason::RequestBodyType)), (with, None)].into_iter().enumerate() {
        for hit in [false, reason.is_none()] {
            let response = service.clone().oneshot(ask()).await.unwrap();
            let status = *CacheStatus::of(&response).unwrap();
            assert_eq!((status.is_hit(), status.reason()), (hit, reason), "service {number}");
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "content");
        }
    }
}
