//! POSTs of which the route says whether they are reads.

use axum::{Router, routing};
use larder::{CacheLayer, Forward, Invalidate, Reason};

use super::{LIMIT, post};
use crate::support::{Runs, cache, minute, numbered};

fn reading(layer: CacheLayer) -> CacheLayer {
    layer.cache_post_if(LIMIT, |parts, content| parts.uri.path() == "/graphql" && content.starts_with(b"read"))
}

#[tokio::test]
async fn a_read_has_the_lifetime_of_the_route() {
    let app = Router::new().route("/graphql", routing::post(numbered(&Runs::default())).layer(reading(minute(&cache().0))));
    assert_eq!(post(&app, "read 1").await.text(), "run 1");
    assert_eq!(post(&app, "read 1").await.text(), "run 1");
    assert_eq!(post(&app, "read 2").await.text(), "run 2");
}

#[tokio::test]
async fn any_other_request_is_a_write_as_without_the_setting() {
    let app = Router::new().route("/graphql", routing::post(numbered(&Runs::default())).layer(reading(minute(&cache().0))));
    post(&app, "read").await;
    for run in ["run 2", "run 3"] {
        let write = post(&app, "write").await;
        assert_eq!((write.text(), write.forward(), write.reason()), (run, Some(Forward::Method), Some(Reason::Method)));
    }
    assert_eq!(post(&app, "read").await.text(), "run 4");
    // What is not read is not known to be a read.
    let large = post(&app, "read ................................................................").await;
    assert_eq!((large.text(), large.reason()), ("run 5", Some(Reason::RequestBodyTooLarge)));
    assert_eq!(post(&app, "read").await.text(), "run 6");
}

#[tokio::test]
async fn a_read_that_is_not_stored_invalidates_nothing() {
    let runs = Runs::default();
    let of_handler = runs.clone();
    let handler = move |content: String| async move {
        let control = if content == "read anew" { "no-store" } else { "max-age=60" };
        ([("cache-control", control)], format!("run {}", of_handler.begin()))
    };
    let app = Router::new().route("/graphql", routing::post(handler).layer(reading(minute(&cache().0))));
    post(&app, "read").await;
    assert_eq!(post(&app, "read anew").await.reason(), Some(Reason::NoStore));
    assert!(post(&app, "read").await.is_hit());
}

#[tokio::test]
async fn a_handler_overrules_the_function_by_an_invalidation() {
    let runs = Runs::default();
    let of_handler = runs.clone();
    let handler = move |content: String| async move {
        let invalidate = (content == "read and write").then(|| Invalidate::tags("posts"));
        (invalidate, format!("run {}", of_handler.begin()))
    };
    let app = Router::new().route("/graphql", routing::post(handler).layer(reading(minute(&cache().0))));
    post(&app, "read").await;
    for run in ["run 2", "run 3"] {
        let answer = post(&app, "read and write").await;
        assert_eq!((answer.text(), answer.reason()), (run, Some(Reason::Write)));
    }
    assert!(!post(&app, "read").await.is_hit());
}
