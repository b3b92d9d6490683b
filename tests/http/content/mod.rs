//! Requests whose content is part of the key: QUERY, and POST where the route says so.

mod background;
mod post;
mod post_if;
mod query;
mod reading;
mod sockets;

use std::future::{Ready, ready};

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use larder::CacheDirective;
use tokio::task::JoinHandle;

use crate::support::{Answer, MINUTE, Runs, request, send};

const JSON: (&str, &str) = ("content-type", "application/json");

/// The largest content in these tests, in bytes.
const LIMIT: usize = 64;

/// A request with content.
fn asking(method: &str, uri: &str, lines: &[(&str, &str)], content: impl Into<Body>) -> Request {
    let mut request = request(method.parse().unwrap(), uri, lines);
    *request.body_mut() = content.into();
    request
}

async fn post(app: &Router, content: &'static str) -> Answer {
    send(app, asking("POST", "/graphql", &[JSON], content)).await
}

async fn query(app: &Router, content: &'static str) -> Answer {
    send(app, asking("QUERY", "/graphql", &[JSON], content)).await
}

fn spawn_post(app: &Router, content: &'static str) -> JoinHandle<Answer> {
    let app = app.clone();
    tokio::spawn(async move { post(&app, content).await })
}

/// What a GraphQL server responds: a read has a lifetime, and anything else says nothing. Each names its run, and what it got.
fn respond(runs: &Runs, content: &str) -> Response {
    let answer = format!("run {}: {content}", runs.begin());
    match content.starts_with("read") {
        true => (CacheDirective::ttl(MINUTE), answer).into_response(),
        false => answer.into_response(),
    }
}

/// A handler with these responses.
fn graphql(runs: &Runs) -> impl Fn(String) -> Ready<Response> + Clone + Send + Sync + 'static {
    let runs = runs.clone();
    move |content| ready(respond(&runs, &content))
}
