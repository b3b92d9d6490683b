//! Decisions as they are made.

use axum::{Router, body::Body};
use http::Method;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::{ROOT, app};
use crate::support::{cache, get, request};

async fn watch(app: &Router) -> Body {
    let response = app.clone().oneshot(request(Method::GET, &format!("{ROOT}/api/live"), &[])).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.into_body()
}

async fn next(body: &mut Body) -> String {
    loop {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let text = String::from_utf8(frame.to_vec()).unwrap();
        if let Some(data) = text.strip_prefix("data: ") {
            return data.to_owned();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn decisions_of_all_handles_are_seen_while_somebody_looks() {
    let (cache, _) = cache();
    let other = cache.with_namespace("other");
    let app = app(&cache);
    let in_other = Router::new().route("/page", axum::routing::get(|| async { "page" }).layer(other.layer()));
    let mut body = watch(&app).await;
    get(&app, "/posts/7").await;
    get(&app, "/posts/7").await;
    get(&in_other, "/page").await;
    let first = next(&mut body).await;
    assert!(first.contains(r#""outcome":"miss","route":"/posts/{id}","status":200,"forward":"uri-miss""#), "{first}");
    assert!(next(&mut body).await.contains(r#""outcome":"hit""#));
    assert!(next(&mut body).await.contains(r#""reason":"no-freshness""#));
}

#[tokio::test(start_paused = true)]
async fn stream_is_a_sample_at_a_steady_pace() {
    let (cache, _) = cache();
    let app = app(&cache);
    let mut body = watch(&app).await;
    let began = tokio::time::Instant::now();
    for _ in 0..1_000 {
        get(&app, "/posts/7").await;
    }
    for _ in 0..8 {
        next(&mut body).await;
    }
    assert!(began.elapsed() >= std::time::Duration::from_millis(7 * 50), "{:?}", began.elapsed());
    // The others found no room: what comes next is new.
    get(&app, "/none").await;
    assert!(next(&mut body).await.contains("/none"));
}
