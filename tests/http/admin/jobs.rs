//! Warm-ups and schedules on the operator's page.

use axum::{Router, routing};
use http::StatusCode;
use larder::{
    WarmEnd,
    admin::{Access, Admin},
};

use super::{ROOT, api, call, json, submit};
use crate::support::{Gate, MINUTE, cache, get, minute};

/// An application whose handler waits, with the page in it.
fn app(cache: &larder::Cache, door: &Gate, access: Access) -> Router {
    let door = door.clone();
    let admin = Admin::new(cache).authorize(move |_| access.clone()).into_router();
    let handler = move || async move { door.pass().await };
    Router::new().route("/{page}", routing::get(handler).layer(minute(cache))).nest(ROOT, admin)
}

#[tokio::test]
async fn jobs_are_shown_with_their_progress_and_cancelled() {
    let (cache, _) = cache();
    let door = Gate::closed();
    let app = app(&cache, &door, Access::full("ann"));
    assert!(get(&app, &format!("{ROOT}/jobs")).await.text().contains("There are none."));
    let pages = ["/1", "/2", "/3"];
    let warming = cache.warm(app.clone()).name("<pages>").host("example.com").paths(pages).concurrency(1).start();
    let (warmed, through) = (cache.clone(), app.clone());
    let guard = cache.every(60 * MINUTE).name("report").start(move || warmed.warm(through.clone()).paths(["/1"]));
    door.arrival().await;
    door.open(1);
    door.arrival().await;

    let jobs = api(&app, "jobs").await["jobs"].clone();
    let kinds: Vec<_> =
        jobs.as_array().unwrap().iter().map(|job| (job["kind"].as_str().unwrap(), job["name"].as_str().unwrap())).collect();
    assert_eq!(kinds, [("schedule", "report"), ("warm-up", "<pages>")]);
    let warm_up = &jobs[1];
    assert_eq!([&warm_up["done"], &warm_up["total"], &warm_up["stored"]].map(|count| count.as_u64().unwrap()), [1, 3, 1]);
    let screen = get(&app, &format!("{ROOT}/jobs")).await;
    assert!(screen.text().contains("&lt;pages&gt;") && screen.text().contains("1 of 3 requests"), "{}", screen.text());

    let id = warm_up["id"].as_u64().unwrap();
    let done = submit(&app, "/actions/cancel-job", &format!("job={id}")).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text());
    let report = warming.await;
    assert_eq!((report.stored(), report.end()), (1, WarmEnd::Cancelled));
    let again = call(&app, "cancel-job", &format!(r#"{{"job": "{id}"}}"#)).await;
    assert_eq!(again.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(json(&again)["error"].as_str().unwrap().contains("has ended"));
    assert_eq!(call(&app, "cancel-job", r#"{"job": "no number"}"#).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let schedule = jobs[0]["id"].as_u64().unwrap();
    assert_eq!(call(&app, "cancel-job", &format!(r#"{{"job": "{schedule}"}}"#)).await.status, StatusCode::OK);
    while !guard.has_ended() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_job_is_not_cancelled_without_the_right() {
    let (cache, _) = cache();
    let door = Gate::closed();
    let app = app(&cache, &door, Access::read_only("bob"));
    let warming = cache.warm(app.clone()).host("example.com").paths(["/1"]).start();
    door.arrival().await;
    let id = api(&app, "jobs").await["jobs"][0]["id"].as_u64().unwrap();
    assert!(!get(&app, &format!("{ROOT}/jobs")).await.text().contains("<button"));
    assert_eq!(call(&app, "cancel-job", &format!(r#"{{"job": "{id}"}}"#)).await.status, StatusCode::FORBIDDEN);
    door.open(1);
    assert_eq!(warming.await.stored(), 1);
}
