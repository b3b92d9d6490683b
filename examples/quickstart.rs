//! A small JSON API over SQLite whose queries are slow, and a cache that makes them quick and keeps them right; with a page that shows it in
//! a browser.
//!
//! ```sh
//! cargo run --example quickstart
//! ```
//!
//! With `--features admin`, the operator's page is at `/ops/`, for clients on this machine.
//!
//! `LISTEN` sets the address (default `127.0.0.1:3000`), `CACHE_URL` the store (default `memory:64mb`).

use std::{
    env,
    error::Error,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{FromRef, Path, State},
    http::StatusCode,
    response::Html,
    routing::get,
};
use larder::{Cache, CacheTags};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

#[derive(Clone, FromRef)]
struct App {
    db: Db,
    cache: Cache,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("CACHE_URL").unwrap_or_else(|_| "memory:64mb".to_owned());
    let cache = Cache::connect(&url).await?;
    let minute = cache.layer().ttl(Duration::from_secs(60)).status_header(true);

    let app = Router::new()
        .route("/", get(|| async { Html(include_str!("quickstart.html")) }))
        .route("/posts", get(list).layer(minute.clone().tags(["posts"])))
        .route("/posts/{id}", get(show).put(update).layer(minute.tags(["post:{id}"])))
        .with_state(App { db: Db::seeded()?, cache: cache.clone() });
    let app = with_operators_page(app, &cache);

    let address = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&address).await?;
    print_invitation(&listener.local_addr()?.to_string());
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

#[cfg(feature = "admin")]
fn with_operators_page(app: Router, cache: &Cache) -> Router {
    app.nest_service("/ops", larder::admin::Admin::new(cache).local_only().into_router())
}

#[cfg(not(feature = "admin"))]
fn with_operators_page(app: Router, _: &Cache) -> Router {
    app
}

async fn list(State(db): State<Db>) -> Result<Json<Vec<Post>>, Failed> {
    Ok(Json(db.run(list_posts).await?))
}

/// The author's tag is known only once the post has been read.
async fn show(Path(id): Path<u32>, State(db): State<Db>) -> Result<(CacheTags, Json<Post>), Failed> {
    let post = db.run(move |db| find_post(db, id)).await?.ok_or(Failed::NotFound)?;
    Ok((CacheTags::new([format!("author:{}", post.author)]), Json(post)))
}

/// Commits first, then invalidates: no later request is answered from a response computed before.
async fn update(
    Path(id): Path<u32>,
    State(db): State<Db>,
    State(cache): State<Cache>,
    Json(edit): Json<Edit>,
) -> Result<StatusCode, Failed> {
    let changed = db.run(move |db| db.execute("UPDATE posts SET title = ?1 WHERE id = ?2", params![edit.title, id])).await?;
    if changed == 0 {
        return Err(Failed::NotFound);
    }
    cache.invalidate_tags([format!("post:{id}"), "posts".to_owned()]).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Serialize)]
struct Post {
    id: u32,
    author: String,
    title: String,
    rank: u32,
}

#[derive(Debug, Deserialize)]
struct Edit {
    title: String,
}

/// Every post's rank among its readers: right, and far too slow to ask for with each request.
const RANKED: &str = "WITH ranked AS (
    SELECT id, author, title, rank() OVER (ORDER BY (
        WITH RECURSIVE reader(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM reader WHERE n < 80000)
        SELECT count(*) FROM reader WHERE (n * 7919 + posts.id * 104729) % 97 < posts.id % 11
    ) DESC) AS rank FROM posts
)";

fn list_posts(db: &Connection) -> rusqlite::Result<Vec<Post>> {
    let mut query = db.prepare(&format!("{RANKED} SELECT id, author, title, rank FROM ranked ORDER BY rank, id LIMIT 10"))?;
    query.query_map([], post)?.collect()
}

fn find_post(db: &Connection, id: u32) -> rusqlite::Result<Option<Post>> {
    db.query_row(&format!("{RANKED} SELECT id, author, title, rank FROM ranked WHERE id = ?1"), [id], post).optional()
}

fn post(row: &Row<'_>) -> rusqlite::Result<Post> {
    Ok(Post { id: row.get(0)?, author: row.get(1)?, title: row.get(2)?, rank: row.get(3)? })
}

#[derive(Clone)]
struct Db(Arc<Mutex<Connection>>);

impl Db {
    fn seeded() -> rusqlite::Result<Self> {
        let db = Connection::open_in_memory()?;
        db.execute_batch("CREATE TABLE posts (id INTEGER PRIMARY KEY, author TEXT NOT NULL, title TEXT NOT NULL)")?;
        for id in 1..=50 {
            let author = ["ada", "grace", "linus"][id % 3];
            db.execute("INSERT INTO posts VALUES (?1, ?2, ?3)", params![id as u32, author, format!("Post number {id}")])?;
        }
        Ok(Self(Arc::new(Mutex::new(db))))
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failed> {
        let db = Arc::clone(&self.0);
        let work = move || work(&db.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(tokio::task::spawn_blocking(work).await.map_err(|_| Failed::Internal)??)
    }
}

enum Failed {
    NotFound,
    Internal,
    /// The post is written, and its old response not yet invalidated: the cache tries again by itself.
    NotInvalidated(larder::Error),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        eprintln!("{error}");
        Self::Internal
    }
}

impl From<larder::Error> for Failed {
    fn from(error: larder::Error) -> Self {
        eprintln!("written, but not invalidated yet: {error}");
        Self::NotInvalidated(error)
    }
}

impl axum::response::IntoResponse for Failed {
    fn into_response(self) -> axum::response::Response {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND.into_response(),
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Self::NotInvalidated(error) => error.into_response(),
        }
    }
}

fn print_invitation(address: &str) {
    println!("listening on http://{address} — open it in a browser, or look at the time and at Cache-Status:\n");
    println!("  curl -i -w '\\n%{{time_total}} s\\n' http://{address}/posts         # slow at first, then from the cache");
    println!("  curl -i -w '\\n%{{time_total}} s\\n' http://{address}/posts/7");
    println!("  curl -i -X PUT -H 'content-type: application/json' -d '{{\"title\":\"New\"}}' http://{address}/posts/7");
    println!("\nthen ask for /posts/7 again: the old title is gone, at once.");
    if cfg!(feature = "admin") {
        println!("The operator's page is at http://{address}/ops/");
    }
}
