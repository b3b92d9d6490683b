//! Values below a response, and tags that the compiler knows: three pages share two queries, and a write names what it has changed.
//!
//! ```sh
//! cargo run --example values --features testing,typed-tags,values
//! ```
//!
//! It sends requests to itself, prints which queries they cause, and ends. At the end it asserts, as a test of an application would, that
//! each tag was both stored and invalidated.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{FromRef, Path, State},
    http::{Request, StatusCode},
    routing::{get, put},
};
use larder::{
    Cache, Memory, ValuePolicy, cache_tags,
    testing::{TagLedger, assert_tags_covered},
};
use serde::{Deserialize, Serialize};
use tower::ServiceExt as _;

cache_tags! {
    /// What pages and values depend on.
    enum Tag {
        /// All posts: their list, their order, their number.
        Posts = "posts",
        Post { id: u64 } = "post:{id}",
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Post {
    id: u64,
    title: String,
    stars: u32,
}

/// A database that says which queries it answers.
#[derive(Clone, Default)]
struct Database {
    posts: Arc<Mutex<BTreeMap<u64, Post>>>,
    queries: Arc<Mutex<Vec<String>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Database {
    fn write(&self, id: u64, title: &str, stars: u32) {
        lock(&self.posts).insert(id, Post { id, title: title.to_owned(), stars });
    }

    async fn post(&self, id: u64) -> Option<Post> {
        lock(&self.queries).push(format!("post {id}"));
        lock(&self.posts).get(&id).cloned()
    }

    async fn top(&self) -> Vec<Post> {
        lock(&self.queries).push("top".to_owned());
        let mut posts: Vec<_> = lock(&self.posts).values().cloned().collect();
        posts.sort_by_key(|post| std::cmp::Reverse(post.stars));
        posts.truncate(2);
        posts
    }
}

#[derive(Clone, FromRef)]
struct App {
    database: Database,
    cache: Cache,
    policies: Arc<Policies>,
}

/// Made once, and passed by reference.
struct Policies {
    top: ValuePolicy,
    post: ValuePolicy,
}

impl App {
    /// The top posts, for every page that shows them.
    async fn top(&self) -> Vec<Post> {
        let database = self.database.clone();
        let Ok(top) = self
            .cache
            .get_or_compute("top", &self.policies.top, || async move { Ok::<_, Infallible>(database.top().await) })
            .await;
        top
    }

    async fn post(&self, id: u64) -> Result<Post, StatusCode> {
        let database = self.database.clone();
        let query = move || async move {
            // Also for the page that says that there is no such post.
            larder::add_tags(Tag::Post { id });
            database.post(id).await.ok_or(StatusCode::NOT_FOUND)
        };
        self.cache.get_or_compute(format!("post:{id}"), &self.policies.post, query).await
    }
}

async fn home(State(app): State<App>) -> String {
    titles(&app.top().await)
}

/// Its tags are those of both values; the handler names none.
async fn show(Path(id): Path<u64>, State(app): State<App>) -> Result<String, StatusCode> {
    let post = app.post(id).await?;
    Ok(format!("{}, beside {}", post.title, titles(&app.top().await)))
}

async fn update(Path(id): Path<u64>, State(app): State<App>, title: String) -> Result<(), larder::Error> {
    app.database.write(id, &title, 5);
    app.cache.invalidate_tags([Tag::Post { id }, Tag::Posts]).await.map(drop)
}

fn titles(posts: &[Post]) -> String {
    posts.iter().map(|post| post.title.as_str()).collect::<Vec<_>>().join(" and ")
}

fn app(database: Database, cache: Cache) -> Router {
    let minute = Duration::from_secs(60);
    let policies = Policies {
        top: ValuePolicy::ttl(minute).tags(Tag::Posts).stale_if_error(minute).label("top"),
        post: ValuePolicy::ttl(minute).label("post"),
    };
    let layer = cache.layer().ttl(minute).negative_ttl(minute);
    Router::new()
        .route("/", get(home).layer(layer.clone()))
        .route("/posts/{id}", get(show).layer(layer))
        .route("/posts/{id}/title", put(update))
        .with_state(App { database, cache, policies: Arc::new(policies) })
}

#[tokio::main]
async fn main() {
    let database = Database::default();
    for (id, title, stars) in [(1, "Ale", 1), (2, "Brie", 2), (3, "Cocoa", 3)] {
        database.write(id, title, stars);
    }
    let ledger = TagLedger::new(Memory::new(16 << 20));
    let app = app(database.clone(), Cache::new(ledger.clone()));

    let requests = [
        ("GET", "/", ""),
        ("GET", "/posts/1", ""),
        ("GET", "/posts/2", ""),
        ("GET", "/posts/2", ""),
        ("PUT", "/posts/1/title", "Apple"),
        ("GET", "/posts/1", ""),
        ("GET", "/posts/2", ""),
    ];
    for (method, uri, body) in requests {
        let request = Request::builder().method(method).uri(uri).body(Body::from(body)).expect("a valid request");
        let response = app.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
        let body = to_bytes(response.into_body(), 1 << 20).await.expect("a short body");
        let queries = std::mem::take(&mut *lock(&database.queries)).join(", ");
        println!("{method} {uri}: {}[{queries}]", String::from_utf8_lossy(&body) + " ");
    }
    assert_tags_covered::<Tag>(&ledger);
    println!("all tags covered");
}
