//! Rows that do not commit in the order of their numbers.

use std::time::Duration;

use larder_postgres::outbox;
use sqlx::{PgPool, postgres::PgConnection};

use crate::{
    node::{Node, caught_up, insert_posts, write},
    server::Postgres,
    servers::process::eventually,
};

/// Writes the next version in a transaction that stays open.
async fn begin_write(pool: &PgPool, id: i64) -> sqlx::Transaction<'static, sqlx::Postgres> {
    let mut transaction = pool.begin().await.unwrap();
    write_in(&mut transaction, id).await;
    transaction
}

async fn write_in(transaction: &mut PgConnection, id: i64) {
    sqlx::query("UPDATE posts SET version = version + 1 WHERE id = $1").bind(id).execute(&mut *transaction).await.unwrap();
    outbox::push(transaction, format!("post:{id}")).await.unwrap();
}

/// A reader as one would write it: it remembers the last of what it has seen in this column.
struct Naive<'p> {
    pool: &'p PgPool,
    column: &'static str,
    last: String,
}

impl Naive<'_> {
    async fn read(&mut self) -> Vec<String> {
        let select =
            format!("SELECT {0}::text, tags[1] FROM larder_outbox WHERE {0}::text::bigint > $1::bigint ORDER BY id", self.column);
        let rows: Vec<(String, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(&self.last).fetch_all(self.pool).await.unwrap();
        for (number, _) in &rows {
            if number.parse::<i64>().unwrap() > self.last.parse().unwrap() {
                self.last.clone_from(number);
            }
        }
        rows.into_iter().map(|(_, tag)| tag).collect()
    }
}

#[tokio::test]
async fn rows_that_commit_out_of_order_are_applied() {
    let database = Postgres::shared().database().await;
    insert_posts(&database.pool, 0..20).await;
    let node = Node::new(&database.pool);
    let follower = node.follow(&database.pool).await;
    let mut by_id = Naive { pool: &database.pool, column: "id", last: "0".to_owned() };
    let mut by_transaction = Naive { pool: &database.pool, column: "xact", last: "0".to_owned() };
    for round in 0..10 {
        let (early, late) = (2 * round, 2 * round + 1);
        let (before_early, before_late) = (node.store(early).await, node.store(late).await);
        let first = begin_write(&database.pool, early).await;
        write(&database.pool, late).await.unwrap();
        // The later row is read while the earlier one is invisible.
        node.wait_for(late, before_late + 1).await;
        let page = node.get(early).await;
        assert!(page.is_hit() && page.version == before_early, "nothing has changed for others yet: {page:?}");
        assert_eq!(
            (by_id.read().await, by_transaction.read().await),
            (vec![format!("post:{late}")], vec![format!("post:{late}")])
        );
        first.commit().await.unwrap();
        node.wait_for(early, before_early + 1).await;
        // The test can fail: readers by numbers never see that row, be they those of rows or of transactions.
        assert_eq!((by_id.read().await, by_transaction.read().await), (vec![], vec![]));
    }
    assert_eq!(follower.health().clears, 1, "nothing but the start has invalidated everything");
}

#[tokio::test]
async fn a_long_transaction_delays_only_itself() {
    let database = Postgres::shared().database().await;
    insert_posts(&database.pool, 0..51).await;
    let node = Node::new(&database.pool);
    let follower = node.follow(&database.pool).await;
    let before = node.store(0).await;
    let long = begin_write(&database.pool, 0).await;
    for id in 1..51 {
        let before = node.store(id).await;
        write(&database.pool, id).await.unwrap();
        if id % 10 == 0 {
            node.wait_for(id, before + 1).await;
        }
    }
    // All others are applied, though a reader that stops before the oldest running transaction would have read none of them.
    caught_up(&follower).await;
    assert_eq!(follower.health().tags, 50);
    let finished: i64 =
        sqlx::query_scalar("SELECT count(*) FROM larder_outbox WHERE xact < pg_snapshot_xmin(pg_current_snapshot())")
            .fetch_one(&database.pool)
            .await
            .unwrap();
    assert_eq!(finished, 0);
    assert!(node.get(0).await.is_hit());
    long.commit().await.unwrap();
    node.wait_for(0, before + 1).await;
    assert_eq!((follower.health().tags, follower.health().clears), (51, 1), "each row was applied once");
}

#[tokio::test]
async fn savepoints_and_rollbacks_push_what_is_committed() {
    let database = Postgres::shared().database().await;
    insert_posts(&database.pool, 0..3).await;
    let node = Node::new(&database.pool);
    let follower = node.follow(&database.pool).await;
    for id in 0..3 {
        node.store(id).await;
    }
    let mut transaction = begin_write(&database.pool, 0).await;
    sqlx::query("SAVEPOINT kept").execute(&mut *transaction).await.unwrap();
    write_in(&mut transaction, 1).await;
    sqlx::query("RELEASE kept").execute(&mut *transaction).await.unwrap();
    sqlx::query("SAVEPOINT undone").execute(&mut *transaction).await.unwrap();
    write_in(&mut transaction, 2).await;
    sqlx::query("ROLLBACK TO undone").execute(&mut *transaction).await.unwrap();
    caught_up(&follower).await;
    transaction.commit().await.unwrap();
    node.wait_for(1, 1).await;
    assert_eq!((node.get(0).await.version, node.get(2).await.is_hit()), (1, true));
    let undone = begin_write(&database.pool, 2).await;
    undone.rollback().await.unwrap();
    caught_up(&follower).await;
    assert!(node.get(2).await.is_hit());
    assert_eq!(follower.health().tags, 2);
}

#[tokio::test]
async fn a_prepared_transaction_is_applied_when_it_is_committed() {
    // Of its own: a prepared transaction would keep others from being trimmed.
    let server = Postgres::start(&["fsync=off"]);
    let database = server.database().await;
    insert_posts(&database.pool, 0..2).await;
    let node = Node::new(&database.pool);
    let follower = node.follow(&database.pool).await;
    node.store(0).await;
    let mut connection = database.pool.acquire().await.unwrap();
    sqlx::query("BEGIN").execute(&mut *connection).await.unwrap();
    write_in(&mut connection, 0).await;
    sqlx::query("PREPARE TRANSACTION 'p'").execute(&mut *connection).await.unwrap();
    write(&database.pool, 1).await.unwrap();
    eventually("the other one is applied", async || follower.health().tags == 1).await;
    assert!(node.get(0).await.is_hit());
    sqlx::query("COMMIT PREPARED 'p'").execute(&mut *connection).await.unwrap();
    node.wait_for(0, 1).await;
}

#[tokio::test]
async fn old_rows_are_deleted_unless_a_transaction_before_them_runs() {
    let server = Postgres::start(&["fsync=off"]);
    let database = server.database().await;
    insert_posts(&database.pool, 0..2).await;
    let node = Node::new(&database.pool);
    let follower = node.follower().retention(Duration::from_secs(1)).start(&database.pool).await.unwrap();
    node.store(0).await;
    node.store(1).await;
    let rows =
        async || sqlx::query_scalar::<_, i64>("SELECT count(*) FROM larder_outbox").fetch_one(&database.pool).await.unwrap();
    write(&database.pool, 0).await.unwrap();
    let running = begin_write(&database.pool, 1).await;
    write(&database.pool, 0).await.unwrap();
    eventually("the first row is deleted", async || rows().await == 1).await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(rows().await, 1, "the row after the running transaction stays");
    running.commit().await.unwrap();
    eventually("all rows are deleted", async || rows().await == 0).await;
    // A follower that reads in time loses nothing by it, and knows that.
    assert_eq!((node.get(0).await.version, node.get(1).await.version, follower.health().clears), (2, 1, 1));
}
