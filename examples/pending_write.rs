//! A write that readers of a lagging replica cannot undo: from before the commit until the replica has caught up, pages that show the
//! post are not stored.
//!
//! ```sh
//! cargo run --example pending_write
//! ```
//!
//! It sends requests to itself, prints what the cache has decided about each, and ends: first with an invalidation after the commit, which lets
//! the old row in, then with a pending write and a hold.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::{Request, StatusCode},
    routing::{get, post},
};
use larder::{Cache, CacheStatus};
use tower::ServiceExt as _;

/// How long the replica lags, and how long pages are kept from being stored after a write: longer than it ever lags.
const LAG: Duration = Duration::from_millis(100);
const HOLD: Duration = Duration::from_millis(300);

/// A title, on the primary of a database and on its replica.
#[derive(Clone, Default)]
struct Database {
    primary: Arc<Mutex<String>>,
    replica: Arc<Mutex<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Database {
    /// Commits on the primary. The replica follows.
    async fn commit(&self, title: &str) {
        title.clone_into(&mut lock(&self.primary));
        let (replica, title) = (Arc::clone(&self.replica), title.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(LAG).await;
            *lock(&replica) = title;
        });
    }

    async fn title(&self) -> String {
        lock(&self.replica).clone()
    }
}

#[derive(Clone)]
struct App {
    database: Database,
    cache: Cache,
}

async fn show(State(app): State<App>) -> String {
    app.database.title().await
}

/// Commits, and invalidates afterwards: what a reader of the replica stores from now on is old.
async fn update_and_invalidate(State(app): State<App>, title: String) -> Result<StatusCode, larder::Error> {
    app.database.commit(&title).await;
    app.cache.invalidate_tags("post:7").await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Announces the write, commits, and ends it.
async fn update(State(app): State<App>, title: String) -> Result<StatusCode, larder::Error> {
    let write = app.cache.begin_write("post:7").await?.hold(HOLD);
    app.database.commit(&title).await;
    write.done().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[tokio::main]
async fn main() {
    let cache = Cache::in_memory(64 << 20);
    let app = App { database: Database::default(), cache: cache.clone() };
    let layer = cache.layer().ttl(Duration::from_secs(60)).tags("post:7");
    let router = Router::new()
        .route("/post", get(show).layer(layer))
        .route("/invalidated", post(update_and_invalidate))
        .route("/pending", post(update))
        .with_state(app);
    for (path, title) in [("/invalidated", "first"), ("/pending", "second")] {
        send(&router, "POST", path, title).await;
        send(&router, "GET", "/post", "").await;
        tokio::time::sleep(HOLD * 2).await;
        println!("the replica has caught up");
        send(&router, "GET", "/post", "").await;
        send(&router, "GET", "/post", "").await;
    }
}

async fn send(router: &Router, method: &str, path: &str, body: &'static str) {
    let request = Request::builder().method(method).uri(path).body(Body::from(body)).expect("a valid request");
    let response = router.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
    let status = CacheStatus::of(&response).copied();
    let body = to_bytes(response.into_body(), 1 << 20).await.expect("a short body");
    let decided = match status {
        None => String::new(),
        Some(status) if status.is_hit() => " (hit)".to_owned(),
        Some(status) if status.is_stored() => " (stored)".to_owned(),
        Some(status) => format!(" (not stored: {})", status.reason().map_or("", |reason| reason.as_str())),
    };
    println!("{method} {path}: {:?}{decided}", String::from_utf8_lossy(&body));
}
