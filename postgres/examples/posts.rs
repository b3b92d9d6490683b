//! Posts in PostgreSQL, whose pages are cached. Whoever changes them, this node's handlers, another node, or a script, the pages follow.
//!
//! ```text
//! DATABASE_URL=postgres://localhost/posts cargo run -p larder-postgres --example posts
//! curl -i localhost:3000/posts/1                                              # a miss, then hits
//! curl -X PUT -d 'New title' localhost:3000/posts/1                           # a miss follows
//! psql posts -c "UPDATE posts SET title = 'By hand' WHERE id = 1"             # the same, 100 ms later
//! ```

use std::{env, time::Duration};

use axum::{
    Router,
    extract::{FromRef, Path, State},
    http::StatusCode,
    routing::get,
};
use larder::{Cache, cache_tags};
use larder_postgres::{Follower, outbox, trigger};
use sqlx::{AssertSqlSafe, PgPool};

cache_tags! {
    enum Tag {
        Post { id: i64 } = "post:{id}",
    }
}

#[derive(Clone, FromRef)]
struct Site {
    cache: Cache,
    pool: PgPool,
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let pool = PgPool::connect(&env::var("DATABASE_URL")?).await?;
    migrate(&pool).await?;

    let cache = Cache::in_memory(64 << 20);
    // Kept until the end: the cache is bypassed without it.
    let follower = Follower::builder(&cache).lease(Duration::from_secs(2)).start(&pool).await?;

    let page = cache.layer().ttl(Duration::from_secs(3600)).tags(Tag::POST).status_header(true);
    let app = Router::new().route("/posts/{id}", get(show).put(rename).layer(page)).with_state(Site { cache, pool });
    let listener = tokio::net::TcpListener::bind(env::var("LISTEN").unwrap_or("127.0.0.1:3000".to_owned())).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    follower.stop().await;
    Ok(())
}

async fn migrate(pool: &PgPool) -> Result<(), AnyError> {
    let mut connection = pool.acquire().await?;
    outbox::migrate(&mut connection).await?;
    let posts = "CREATE TABLE IF NOT EXISTS posts (id bigint PRIMARY KEY, title text NOT NULL);
        INSERT INTO posts VALUES (1, 'First'), (2, 'Second') ON CONFLICT DO NOTHING";
    sqlx::raw_sql(posts).execute(&mut *connection).await?;
    // For scripts. The handlers below need no trigger, and here their tags are pushed twice, which does no harm.
    sqlx::raw_sql(AssertSqlSafe(trigger("posts", Tag::POST)?)).execute(&mut *connection).await?;
    Ok(())
}

async fn show(State(pool): State<PgPool>, Path(id): Path<i64>) -> Result<String, StatusCode> {
    let title = sqlx::query_scalar("SELECT title FROM posts WHERE id = $1").bind(id).fetch_optional(&pool).await;
    title.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?.ok_or(StatusCode::NOT_FOUND)
}

async fn rename(State(site): State<Site>, Path(id): Path<i64>, title: String) -> StatusCode {
    match rename_and_invalidate(&site, id, &title).await {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(error) => {
            eprintln!("{error}");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

async fn rename_and_invalidate(site: &Site, id: i64, title: &str) -> Result<(), AnyError> {
    let mut transaction = site.pool.begin().await?;
    sqlx::query("UPDATE posts SET title = $2 WHERE id = $1").bind(id).bind(title).execute(&mut *transaction).await?;
    outbox::push(&mut transaction, Tag::Post { id }).await?;
    transaction.commit().await?;
    // At once on this node. If the process dies before this line, the outbox has the tag all the same.
    site.cache.invalidate_tags(Tag::Post { id }).await?;
    Ok(())
}
