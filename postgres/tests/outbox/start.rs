//! What a follower needs to start.

use larder::CacheMode;
use larder_postgres::{Follower, outbox};

use crate::{
    node::Node,
    server::{Postgres, pool},
};

#[tokio::test]
async fn a_missing_migration_is_named_and_leaves_the_cache_bypassed() {
    let database = Postgres::shared().database().await;
    sqlx::query("DROP TABLE larder_outbox").execute(&database.pool).await.unwrap();
    let node = Node::new(&database.pool);
    let error = Follower::builder(&node.cache).start(&database.pool).await.unwrap_err();
    assert!(error.is_unavailable() && error.to_string().contains("outbox::MIGRATION"), "{error}");
    assert_eq!(node.cache.mode(), CacheMode::Bypass);
    let mut connection = database.pool.acquire().await.unwrap();
    let error = outbox::push(&mut connection, "posts").await.unwrap_err();
    assert!(error.to_string().contains("outbox::MIGRATION"), "{error}");
    outbox::migrate(&mut connection).await.unwrap();
    let _follower = Follower::builder(&node.cache).start(&database.pool).await.unwrap();
    assert_eq!(node.cache.mode(), CacheMode::Enabled);
}

#[tokio::test]
async fn a_database_that_is_away_is_an_error_at_the_start() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    let away = pool(&format!("postgres://postgres@127.0.0.1:{port}/none"));
    let node = Node::new(&away);
    // It accepts connections and never answers.
    let error = Follower::builder(&node.cache).lease(std::time::Duration::from_millis(300)).start(&away).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    drop(nobody);
    let error = Follower::builder(&node.cache).start(&away).await.unwrap_err();
    assert!(error.is_unavailable() && error.to_string() == "the database cannot be reached", "{error}");
}

#[tokio::test]
async fn migrations_that_run_at_once_do_not_fail() {
    let database = Postgres::shared().database().await;
    let migrations = (0..8).map(|_| {
        let pool = database.pool.clone();
        tokio::spawn(async move { outbox::migrate(&mut pool.acquire().await.unwrap()).await })
    });
    for migration in migrations.collect::<Vec<_>>() {
        migration.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_role_needs_what_the_documentation_lists() {
    let database = Postgres::shared().database().await;
    let role = database.url.rsplit('/').next().unwrap().to_owned();
    let grants = format!(
        "CREATE ROLE {role} LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON larder_outbox, larder_outbox_horizon, larder_outbox_term,
        larder_outbox_position TO {role}"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(grants)).execute(&database.pool).await.unwrap();
    let own = pool(&database.url.replace("postgres@", &format!("{role}@")));
    let node = Node::new(&own);
    let builder = node.follower().retention(std::time::Duration::from_secs(1)).shared_store("own");
    let follower = builder.start(&own).await.unwrap();
    outbox::push(&mut own.acquire().await.unwrap(), "posts").await.unwrap();
    let rows = async || sqlx::query_scalar::<_, i64>("SELECT count(*) FROM larder_outbox").fetch_one(&own).await.unwrap();
    crate::servers::process::eventually("the row is deleted", async || rows().await == 0).await;
    let health = follower.health();
    assert!(health.last_error.is_none() && health.tags == 1, "{health}");
}
