//! Observes an application that has no cache, and prints what a cache would do for it.
//!
//! ```sh
//! cargo run --example advisor
//! ```
//!
//! Two hours of traffic pass at once, by a clock that the example sets. In an application, put `cache.observer().layer()` around the router, and
//! print `cache.advice()` after an hour, or look at the screen *Advisor* of the operator's page.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{FromRef, Path, Query, State},
    http::{HeaderMap, Method, Request, header::AUTHORIZATION},
    routing::get,
};
use larder::{Cache, ManualClock};
use tower::ServiceExt as _;

/// A database whose queries take their time.
#[derive(Debug, Clone)]
struct Database {
    posts: Arc<Mutex<BTreeMap<u64, String>>>,
    clock: ManualClock,
}

impl Database {
    fn query<T>(&self, millis: u64, query: impl FnOnce(&mut BTreeMap<u64, String>) -> T) -> T {
        self.clock.advance(Duration::from_millis(millis));
        query(&mut self.posts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Clone, FromRef)]
struct App {
    database: Database,
}

async fn list(State(database): State<Database>) -> String {
    database.query(120, |posts| posts.values().cloned().collect::<Vec<_>>().join("\n"))
}

async fn create(State(database): State<Database>) {
    database.query(20, |posts| posts.insert(posts.len() as u64, "a new post".to_owned()));
}

async fn show(State(database): State<Database>, Path(id): Path<u64>) -> String {
    database.query(40, |posts| posts.get(&id).cloned().unwrap_or_default())
}

async fn update(State(database): State<Database>, Path(id): Path<u64>) {
    database.query(20, |posts| posts.entry(id).or_default().push_str(", edited"));
}

async fn search(State(database): State<Database>, Query(query): Query<BTreeMap<String, String>>) -> String {
    let word = query.get("q").cloned().unwrap_or_default();
    database.query(200, |posts| posts.values().filter(|post| post.contains(&word)).count()).to_string()
}

async fn me(State(database): State<Database>, headers: HeaderMap) -> String {
    database.query(30, |_| format!("you are {:?}", headers.get(AUTHORIZATION)))
}

/// Sends a request and reads the response, as a server would do.
async fn send(app: &Router, method: Method, uri: &str, authorization: Option<&str>) -> Result<(), Box<dyn std::error::Error>> {
    let mut request = Request::builder().method(method).uri(uri).header("host", "example.com");
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let response = app.clone().oneshot(request.body(Body::empty())?).await?;
    axum::body::to_bytes(response.into_body(), usize::MAX).await?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = ManualClock::new();
    let cache = Cache::in_memory(64 << 20).with_clock(&clock); // stores nothing here
    let posts = (0..20).map(|id| (id, format!("post {id}"))).collect();
    let database = Database { posts: Arc::new(Mutex::new(posts)), clock: clock.clone() };
    let app: Router = Router::new()
        .route("/posts", get(list).post(create))
        .route("/posts/{id}", get(show).put(update))
        .route("/search", get(search))
        .route("/me", get(me))
        .with_state(App { database })
        .layer(cache.observer().layer());

    let mut random = fastrand::Rng::with_seed(1);
    for visit in 0..6_000_u32 {
        clock.advance(Duration::from_millis(random.u64(0..2_400)));
        let (id, user) = (random.u64(0..20), random.u8(0..50));
        match random.u8(0..100) {
            0..30 => send(&app, Method::GET, "/posts", None).await?,
            30..70 => send(&app, Method::GET, &format!("/posts/{id}"), None).await?,
            70..85 => send(&app, Method::GET, &format!("/search?q={}&utm_source=mail{visit}", id % 4), None).await?,
            85..97 => send(&app, Method::GET, "/me", Some(&format!("Bearer {user}"))).await?,
            97 => send(&app, Method::POST, "/posts", None).await?,
            _ => send(&app, Method::PUT, &format!("/posts/{id}"), None).await?,
        }
    }
    print!("{}", cache.advice());
    Ok(())
}
