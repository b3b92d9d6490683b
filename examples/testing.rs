//! How an application with a cache is tested: the clock, what a response says of the cache, a store that fails, and a probe for
//! poisoned pages.
//!
//! ```sh
//! cargo run --example testing --features testing
//! ```
//!
//! In an application, `posts` would be its own module and each function below a `#[tokio::test]`.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    http::{Method, Request, Response, StatusCode},
};
use larder::{
    Cache, ManualClock, Memory, Reason, assert_hit, assert_miss, assert_not_stored, assert_stored,
    testing::{Fault, Faulty, Operation, Probe},
};
use tower::ServiceExt as _;

#[tokio::main]
async fn main() {
    a_post_is_answered_from_the_cache_until_it_is_updated().await;
    a_post_is_fresh_for_a_minute().await;
    what_a_cookie_may_change_is_not_stored().await;
    without_the_store_posts_are_answered_all_the_same().await;
    an_update_that_cannot_invalidate_says_so().await;
    nobody_decides_what_others_get().await;
    println!("all tests passed");
}

/// The application under test.
mod posts {
    use std::{
        collections::BTreeMap,
        sync::{Arc, Mutex, PoisonError},
        time::Duration,
    };

    use axum::{
        Router,
        extract::{FromRef, Path, State},
        http::{HeaderMap, StatusCode, header::ACCEPT_LANGUAGE},
        routing::get,
    };
    use larder::{Cache, LanguageMatcher};

    #[derive(Clone, FromRef)]
    struct App {
        posts: Arc<Mutex<BTreeMap<u64, String>>>,
        cache: Cache,
    }

    /// A function of the cache, so that tests can bring their own.
    pub(crate) fn app(cache: Cache) -> Router {
        let minute = cache.layer().ttl(Duration::from_secs(60)).tags(["post:{id}"]);
        // Without it all readers would get the first one's language: the probe below finds that.
        let minute = minute.vary_on([ACCEPT_LANGUAGE]).normalize(ACCEPT_LANGUAGE, LanguageMatcher::new(["en", "de"]));
        let posts = BTreeMap::from([(7, "old".to_owned())]);
        Router::new()
            .route("/posts/{id}", get(show).put(update).layer(minute))
            .with_state(App { posts: Arc::new(Mutex::new(posts)), cache })
    }

    async fn show(Path(id): Path<u64>, headers: HeaderMap, State(app): State<App>) -> Result<String, StatusCode> {
        let german = headers.get(ACCEPT_LANGUAGE).is_some_and(|language| language == "de");
        let posts = app.posts.lock().unwrap_or_else(PoisonError::into_inner);
        let title = posts.get(&id).ok_or(StatusCode::NOT_FOUND)?;
        Ok(format!("{}: {title}", if german { "Beitrag" } else { "post" }))
    }

    async fn update(Path(id): Path<u64>, State(app): State<App>, title: String) -> Result<(), StatusCode> {
        app.posts.lock().unwrap_or_else(PoisonError::into_inner).insert(id, title);
        app.cache.invalidate_tags([format!("post:{id}")]).await.map(drop).map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
    }
}

async fn a_post_is_answered_from_the_cache_until_it_is_updated() {
    let app = posts::app(Cache::in_memory(1 << 20));
    let first = get(&app, "/posts/7").await;
    assert_miss!(first);
    assert_stored!(first);
    assert_hit!(get(&app, "/posts/7").await, "the same post again");

    assert_eq!(put(&app, "/posts/7", "new").await.status(), StatusCode::OK);
    let updated = get(&app, "/posts/7").await;
    assert_miss!(updated, "after an update");
    assert_eq!(text(updated).await, "post: new");
}

async fn a_post_is_fresh_for_a_minute() {
    let clock = ManualClock::new();
    let app = posts::app(Cache::in_memory(1 << 20).with_clock(&clock));
    get(&app, "/posts/7").await;
    clock.advance(Duration::from_secs(59));
    assert_hit!(get(&app, "/posts/7").await);
    clock.advance(Duration::from_secs(1));
    assert_miss!(get(&app, "/posts/7").await);
}

async fn what_a_cookie_may_change_is_not_stored() {
    let app = posts::app(Cache::in_memory(1 << 20));
    let request = Request::get("/posts/7").header("cookie", "session=alice").body(Body::empty());
    let response = send(&app, request.expect("a request")).await;
    assert_not_stored!(response, Reason::RequestCookie);
}

async fn without_the_store_posts_are_answered_all_the_same() {
    let store = Faulty::new(Memory::new(1 << 20));
    let app = posts::app(Cache::new(store.clone()));
    get(&app, "/posts/7").await;
    store.fail_all();
    let response = get(&app, "/posts/7").await;
    assert_not_stored!(response, Reason::StoreError);
    assert_eq!(text(response).await, "post: old");
    store.heal();
    assert_hit!(get(&app, "/posts/7").await);
}

async fn an_update_that_cannot_invalidate_says_so() {
    let store = Faulty::new(Memory::new(1 << 20));
    let app = posts::app(Cache::new(store.clone()));
    get(&app, "/posts/7").await;
    store.fail_times(Operation::Invalidate, Fault::Unavailable, 1);
    assert_eq!(put(&app, "/posts/7", "new").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(put(&app, "/posts/7", "new").await.status(), StatusCode::OK, "the client tries again");
    assert_eq!(text(get(&app, "/posts/7").await).await, "post: new");
}

async fn nobody_decides_what_others_get() {
    Probe::new(posts::app).get("/posts/7").run().await.assert();
}

async fn get(app: &Router, path: &str) -> Response<Body> {
    send(app, Request::get(path).body(Body::empty()).expect("a request")).await
}

async fn put(app: &Router, path: &str, title: &'static str) -> Response<Body> {
    send(app, Request::builder().method(Method::PUT).uri(path).body(Body::from(title)).expect("a request")).await
}

async fn send(app: &Router, request: Request<Body>) -> Response<Body> {
    app.clone().oneshot(request).await.expect("a router does not fail")
}

async fn text(response: Response<Body>) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("the body is there");
    String::from_utf8_lossy(&bytes).into_owned()
}
