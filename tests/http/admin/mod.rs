//! The operator's page and its API, mounted in an application.

mod access;
mod actions;
mod canary;
mod explain;
mod jobs;
mod live;
mod placement;
mod screens;

use axum::{Router, body::Body, routing};
use http::{HeaderMap, Method, Request};
use larder::{
    Cache,
    admin::{Access, Admin},
};
use serde_json::Value;

use crate::support::{Answer, get, minute, send};

const ROOT: &str = "/ops/cache";

const SCREENS: [&str; 10] = ["", "/routes", "/explain", "/keys", "/tags", "/store", "/memory", "/advisor", "/jobs", "/live"];

/// An application with a post, and the page for a principal who may do everything.
fn app(cache: &Cache) -> Router {
    app_for(cache, Access::full("ann"))
}

fn app_for(cache: &Cache, access: Access) -> Router {
    let posts = Router::new()
        .route("/posts/{id}", routing::get(|| async { "a post" }).layer(minute(cache).tags(["posts", "post:{id}"])))
        .route("/none", routing::get(|| async { "nothing says how long" }).layer(cache.layer()));
    let admin = Admin::new(cache).authorize(move |_| access.clone()).refresh_through(posts.clone()).into_router();
    posts.nest(ROOT, admin)
}

async fn post(app: &Router, path: &str, json: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(Method::POST).uri(format!("{ROOT}{path}")).header("host", "example.com");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(app, request.body(Body::from(json.to_owned())).unwrap()).await
}

async fn call(app: &Router, path: &str, json: &str) -> Answer {
    post(app, &format!("/api/{path}"), json, &[("content-type", "application/json")]).await
}

async fn submit(app: &Router, path: &str, form: &str) -> Answer {
    post(app, path, form, &[("content-type", "application/x-www-form-urlencoded"), ("sec-fetch-site", "same-origin")]).await
}

fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

async fn api(app: &Router, path: &str) -> Value {
    json(&get(app, &format!("{ROOT}/api/{path}")).await)
}

/// The fields that keep every answer safe.
fn assert_protected(headers: &HeaderMap) {
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert!(headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
}
