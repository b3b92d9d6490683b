//! A node: an application that answers from a cache, and follows the outbox.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Path, State},
    http::{Request, StatusCode},
    routing,
};
use larder::Cache;
use larder_postgres::{Follower, FollowerBuilder, outbox};
use sqlx::PgPool;
use tower::ServiceExt as _;

use crate::servers::process::eventually;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) cache: Cache,
    pub(crate) app: Router,
}

/// A response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) version: i64,
    pub(crate) status: String,
}

impl Page {
    pub(crate) fn is_hit(&self) -> bool {
        self.status.contains("hit")
    }
}

impl Node {
    /// A node with an empty memory store.
    pub(crate) fn new(pool: &PgPool) -> Self {
        Self::over(Cache::in_memory(64 << 20), pool)
    }

    /// A node whose pages are `/posts/{id}`, with the version in the database.
    pub(crate) fn over(cache: Cache, pool: &PgPool) -> Self {
        let layer = cache.layer().ttl(HOUR).tags(["post:{id}"]).status_header(true);
        let show = async |State(pool): State<PgPool>, Path(id): Path<i64>| {
            let version = sqlx::query_scalar::<_, i64>("SELECT version FROM posts WHERE id = $1").bind(id).fetch_one(&pool).await;
            version.map(|version| version.to_string()).map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
        };
        let app = Router::new().route("/posts/{id}", routing::get(show).layer(layer)).with_state(pool.clone());
        Self { cache, app }
    }

    /// Follows with a lease that does not end during a test.
    pub(crate) async fn follow(&self, pool: &PgPool) -> Follower {
        self.follower().start(pool).await.unwrap()
    }

    pub(crate) fn follower(&self) -> FollowerBuilder {
        Follower::builder(&self.cache).lease(Duration::from_secs(60))
    }

    pub(crate) async fn get(&self, id: i64) -> Page {
        self.try_get(id).await.unwrap()
    }

    /// The page; `None` if the handler has failed.
    pub(crate) async fn try_get(&self, id: i64) -> Option<Page> {
        let request = Request::get(format!("/posts/{id}")).body(Body::empty()).unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        let status = response.headers().get("cache-status").map_or("", |status| status.to_str().unwrap()).to_owned();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let version = std::str::from_utf8(&body).unwrap().parse().ok()?;
        Some(Page { version, status })
    }

    /// Waits until the page is no longer the one of `old`, without asking for it: that would store the new one.
    pub(crate) async fn wait_for(&self, id: i64, version: i64) -> Duration {
        let start = Instant::now();
        eventually("the page is new", async || self.get(id).await.version == version).await;
        start.elapsed()
    }

    /// Has the page stored, so that it is a hit.
    pub(crate) async fn store(&self, id: i64) -> i64 {
        self.get(id).await;
        let page = self.get(id).await;
        assert!(page.is_hit(), "{page:?}");
        page.version
    }
}

pub(crate) async fn insert_posts(pool: &PgPool, ids: std::ops::Range<i64>) {
    sqlx::query("INSERT INTO posts SELECT generate_series($1, $2 - 1)")
        .bind(ids.start)
        .bind(ids.end)
        .execute(pool)
        .await
        .unwrap();
}

/// Writes the next version of a post, and pushes its tag; commits.
pub(crate) async fn write(pool: &PgPool, id: i64) -> Result<i64, Box<dyn std::error::Error + Send + Sync>> {
    let mut transaction = pool.begin().await?;
    let version = sqlx::query_scalar("UPDATE posts SET version = version + 1 WHERE id = $1 RETURNING version");
    let version = version.bind(id).fetch_one(&mut *transaction).await?;
    outbox::push(&mut transaction, format!("post:{id}")).await?;
    transaction.commit().await?;
    Ok(version)
}

/// Waits until a follower has applied everything that was committed before this call.
pub(crate) async fn caught_up(follower: &Follower) {
    let start = Instant::now();
    eventually("the follower catches up", async || follower.health().behind + Duration::from_millis(10) < start.elapsed()).await;
}

/// The versions of each post: when they were written for sure, and what readers have seen since.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// The committed versions of one post, each with the time at which its commit was known.
    commits: std::sync::Mutex<Vec<(i64, Instant)>>,
    reads: AtomicI64,
}

impl History {
    pub(crate) fn committed(&self, version: i64) {
        self.commits.lock().unwrap().push((version, Instant::now()));
    }

    /// Checks a response to a request that began at `began`: every version that had been committed for longer than `bound` then is in it.
    pub(crate) fn read(&self, version: i64, began: Instant, bound: Duration) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let commits = self.commits.lock().unwrap();
        let known = commits.iter().filter(|(_, at)| *at + bound <= began).map(|(version, _)| *version).max().unwrap_or(0);
        assert!(version >= known, "version {version} was served, and {known} had been committed for {bound:?}");
    }

    pub(crate) fn reads(self: &Arc<Self>) -> i64 {
        self.reads.load(Ordering::Relaxed)
    }
}
