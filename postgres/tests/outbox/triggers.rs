//! Writers that do not push.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Request, StatusCode},
    routing,
};
use larder::{Cache, IntoTemplates, cache_tags};
use larder_postgres::{Follower, outbox, trigger};
use sqlx::{AssertSqlSafe, PgPool};
use tower::ServiceExt as _;

use crate::{
    node::{HOUR, Node, caught_up, insert_posts},
    server::{Postgres, binary},
};

cache_tags! {
    enum Tag {
        Slug { slug: String } = "slug:{slug}",
    }
}

async fn run(pool: &PgPool, sql: impl Into<String>) {
    sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(pool).await.unwrap();
}

/// The tags that were pushed since the last call; `None` for everything.
async fn pushed(pool: &PgPool) -> Vec<Option<Vec<String>>> {
    let rows: Vec<Option<Vec<String>>> =
        sqlx::query_scalar("WITH gone AS (DELETE FROM larder_outbox RETURNING id, tags) SELECT tags FROM gone ORDER BY id")
            .fetch_all(pool)
            .await
            .unwrap();
    let sorted = rows.into_iter().map(|tags| {
        tags.map(|mut tags| {
            tags.sort();
            tags
        })
    });
    sorted.collect()
}

fn tags(tags: &[&str]) -> Vec<Option<Vec<String>>> {
    vec![Some(tags.iter().map(ToString::to_string).collect())]
}

#[tokio::test]
async fn each_write_pushes_the_tags_of_the_rows_before_and_after() {
    let pool = Postgres::shared().database().await.pool;
    run(&pool, trigger("posts", ["post:{id}", "slug:{slug}", "posts"]).unwrap()).await;
    // Running it again replaces it.
    run(&pool, trigger("posts", ["post:{id}", "slug:{slug}", "posts"]).unwrap()).await;
    run(&pool, "INSERT INTO posts VALUES (1, 0, NULL)").await;
    assert_eq!(pushed(&pool).await, tags(&["post:1", "posts"]), "no tag of a column that is NULL");
    run(&pool, "UPDATE posts SET slug = 'a'").await;
    assert_eq!(pushed(&pool).await, tags(&["post:1", "posts", "slug:a"]));
    run(&pool, "UPDATE posts SET id = 2, slug = 'b'").await;
    assert_eq!(pushed(&pool).await, tags(&["post:1", "post:2", "posts", "slug:a", "slug:b"]));
    run(&pool, "UPDATE posts SET slug = 'b'").await;
    assert_eq!(pushed(&pool).await, []);
    run(&pool, "DELETE FROM posts").await;
    assert_eq!(pushed(&pool).await, tags(&["post:2", "posts", "slug:b"]));
    run(&pool, "TRUNCATE posts").await;
    assert_eq!(pushed(&pool).await, [None]);
    run(&pool, trigger("public.posts", "posts").unwrap()).await;
    run(&pool, "TRUNCATE posts").await;
    assert_eq!(pushed(&pool).await, tags(&["posts"]));
}

#[tokio::test]
async fn a_table_in_another_schema_pushes_to_the_outbox_of_the_migration() {
    let pool = Postgres::shared().database().await.pool;
    run(&pool, "CREATE SCHEMA app; CREATE TABLE app.\"Odd \"\"name\" (\"The id\" int, j json)").await;
    run(&pool, trigger("app.Odd \"name", "odd:{The id}").unwrap()).await;
    let mut connection = pool.acquire().await.unwrap();
    let insert = r#"SET search_path = app; INSERT INTO "Odd ""name" VALUES (7, '{}'); UPDATE "Odd ""name" SET j = '{"a": 1}'"#;
    sqlx::raw_sql(insert).execute(&mut *connection).await.unwrap();
    assert_eq!(pushed(&pool).await, [tags(&["odd:7"]), tags(&["odd:7"])].concat());
}

/// An application whose pages have the tags that `templates` makes of the slug in their URLs.
async fn slugs_are_invalidated<S>(templates: impl IntoTemplates<S> + Copy) {
    let database = Postgres::shared().database().await;
    run(&database.pool, trigger("posts", templates).unwrap()).await;
    let cache = Cache::in_memory(1 << 20);
    let layer = cache.layer().ttl(HOUR).tags(templates).status_header(true);
    let show = async |State(()): State<()>| StatusCode::OK;
    let app: Router = Router::new().route("/slugs/{slug}", routing::get(show).layer(layer)).with_state(());
    let follower = Follower::builder(&cache).start(&database.pool).await.unwrap();
    let is_hit = async |path: &str| {
        let response = app.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        response.headers()["cache-status"].to_str().unwrap().contains("hit")
    };
    is_hit("/slugs/other").await;
    let slugs = ["plain", "a:b", "a/b c%", "é{}", "日本", "'quoted' \\ \"twice\"", "~tilde-_.", "a\tb\nc", "🦀", "100%25"];
    for (id, slug) in (0_i64..).zip(slugs) {
        let encoded: String = slug.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/slugs/{encoded}");
        is_hit(&path).await;
        assert!(is_hit(&path).await && is_hit("/slugs/other").await, "{slug:?}");
        sqlx::query("INSERT INTO posts (id, slug) VALUES ($1, $2)").bind(id).bind(slug).execute(&database.pool).await.unwrap();
        caught_up(&follower).await;
        assert!(!is_hit(&path).await, "{slug:?}");
        assert!(is_hit("/slugs/other").await, "{slug:?}");
    }
}

#[tokio::test]
async fn values_are_encoded_as_those_of_typed_tags() {
    slugs_are_invalidated(Tag::SLUG).await;
}

#[tokio::test]
async fn values_stand_as_they_are_in_templates_that_are_strings() {
    slugs_are_invalidated("slug:{slug}").await;
}

#[tokio::test]
async fn values_of_every_byte_are_encoded_as_by_larder() {
    let pool = Postgres::shared().database().await.pool;
    let slug: String = (1..=0x2ff).filter_map(char::from_u32).collect();
    let encoded: String = sqlx::query_scalar("SELECT larder_escape($1)").bind(&slug).fetch_one(&pool).await.unwrap();
    assert_eq!(format!("slug:{encoded}"), Tag::Slug { slug }.to_string());
    assert_eq!(sqlx::query_scalar::<_, String>("SELECT larder_escape('')").fetch_one(&pool).await.unwrap(), "");
}

/// Writes by `psql`, and returns when it has ended.
fn psql(url: &str, sql: &str) {
    let status = Command::new(binary("psql")).args(["-q", "-d", url, "-c", sql]).stdout(Stdio::null()).status().unwrap();
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_by_psql_arrive() {
    let database = Postgres::shared().database().await;
    insert_posts(&database.pool, 0..20).await;
    run(&database.pool, trigger("posts", "post:{id}").unwrap()).await;
    let node = Node::new(&database.pool);
    let _follower = node.follow(&database.pool).await;
    let mut times = Vec::new();
    for id in 0..20 {
        node.store(id).await;
        let url = database.url.clone();
        tokio::task::block_in_place(|| psql(&url, &format!("UPDATE posts SET version = 1 WHERE id = {id}")));
        times.push(node.wait_for(id, 1).await);
    }
    times.sort();
    println!("after the end of psql: median {:?}, longest {:?}", times[10], times[19]);
    assert!(times[19] < Duration::from_secs(2), "{times:?}");
}

#[tokio::test]
async fn notifications_wake_and_a_lost_one_costs_the_interval() {
    let database = Postgres::shared().database().await;
    insert_posts(&database.pool, 0..2).await;
    let node = Node::new(&database.pool);
    let interval = Duration::from_secs(2);
    let _follower = node.follower().interval(interval).notifications(true).start(&database.pool).await.unwrap();
    run(&database.pool, outbox::NOTIFICATIONS).await;
    let listening = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    crate::servers::process::eventually("the follower listens", async || {
        sqlx::query_scalar::<_, i64>(listening).fetch_one(&database.pool).await.unwrap() == 1
    })
    .await;
    node.store(0).await;
    // Two, so that at least one of them does not end with the interval.
    let mut fastest = Duration::MAX;
    for version in 1..3 {
        crate::node::write(&database.pool, 0).await.unwrap();
        fastest = fastest.min(node.wait_for(0, version).await);
    }
    println!("by a notification: {fastest:?}");
    assert!(fastest < interval / 2, "{fastest:?}");
    run(&database.pool, "DROP TRIGGER larder_outbox_notify ON larder_outbox").await;
    node.store(1).await;
    crate::node::write(&database.pool, 1).await.unwrap();
    let lost = node.wait_for(1, 1).await;
    println!("by the interval: {lost:?}");
    assert!(lost < interval * 2, "{lost:?}");
}
