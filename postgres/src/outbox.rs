//! The outbox: tags to invalidate, in the transaction of the write.

use larder::{Error, IntoTags, backend::Tag};
use sqlx::postgres::PgConnection;

use crate::database::failed;

/// The tables of the outbox and a function for triggers, as SQL for a migration of the application. It makes them in the first schema of the search
/// path, and running it again changes nothing.
///
/// Roles that write need `INSERT` on `larder_outbox`. The role of a [`Follower`](crate::Follower) needs `SELECT`, `INSERT`, `UPDATE` and `DELETE` on all four
/// tables whose names begin with `larder_outbox`. Needs PostgreSQL 13.
pub const MIGRATION: &str = include_str!("sql/migration.sql");

/// A trigger on the outbox that wakes followers at each commit (`NOTIFY`), as SQL for a migration; run it after [`MIGRATION`]. For followers with
/// [`notifications`](crate::FollowerBuilder::notifications).
///
/// It is optional, and not part of `MIGRATION`, because PostgreSQL commits transactions that notify one after the other: with many writers, each waits for
/// the disk on its own. Without it, followers find a row within their interval.
pub const NOTIFICATIONS: &str = include_str!("sql/notifications.sql");

/// Runs [`MIGRATION`]; concurrent calls wait for each other.
///
/// # Errors
/// If the database refuses it.
pub async fn migrate(connection: &mut PgConnection) -> Result<(), Error> {
    const MIGRATE: &str = concat!("SELECT pg_advisory_xact_lock(7165065871212);", include_str!("sql/migration.sql"));
    // Several statements in one message are one transaction.
    sqlx::raw_sql(MIGRATE).execute(connection).await.map_err(failed("the outbox could not be created")).map(drop)
}

/// Adds tags to the outbox: if the transaction commits, every follower invalidates them. One `INSERT`, one round trip.
///
/// Call [`Cache::invalidate_tags`](larder::Cache::invalidate_tags) with the same tags after the commit, too. It takes effect at once; the outbox is for the cases in
/// which it is not called. Both may happen, in any order.
///
/// ```no_run
/// # async fn update(pool: &sqlx::PgPool, cache: &larder::Cache, id: i64) -> Result<(), Box<dyn std::error::Error>> {
/// let tags = [format!("post:{id}"), "posts".to_owned()];
/// let mut transaction = pool.begin().await?;
/// sqlx::query("UPDATE posts SET likes = likes + 1 WHERE id = $1").bind(id).execute(&mut *transaction).await?;
/// larder_postgres::outbox::push(&mut transaction, &tags).await?;
/// transaction.commit().await?;
/// cache.invalidate_tags(&tags).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::is_invalid_input`] if a tag is empty or longer than 256 bytes; nothing was pushed then. Otherwise if the database failed: the transaction cannot be
/// committed then.
pub async fn push<S>(transaction: &mut PgConnection, tags: impl IntoTags<S>) -> Result<(), Error> {
    let tags = valid(tags)?;
    if tags.is_empty() {
        return Ok(());
    }
    insert(transaction, Some(tags)).await
}

/// Adds to the outbox that everything changes: if the transaction commits, every follower calls [`Cache::clear`](larder::Cache::clear).
///
/// # Errors
/// If the database failed: the transaction cannot be committed then.
pub async fn push_everything(transaction: &mut PgConnection) -> Result<(), Error> {
    insert(transaction, None).await
}

async fn insert(transaction: &mut PgConnection, tags: Option<Vec<String>>) -> Result<(), Error> {
    let insert = sqlx::query("INSERT INTO larder_outbox (tags) VALUES ($1)").bind(tags).execute(transaction);
    insert.await.map_err(failed("tags could not be added to the outbox")).map(drop)
}

/// Returns the tags as strings, or the error of the first that is invalid.
fn valid<S>(tags: impl IntoTags<S>) -> Result<Vec<String>, Error> {
    let (mut valid, mut all_valid) = (Vec::new(), Ok(()));
    tags.for_each_tag(|tag| match Tag::new(tag) {
        Ok(_) => valid.push(tag.to_owned()),
        Err(error) => all_valid = all_valid.clone().and(Err(error)),
    });
    all_valid.map(|()| valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_invalid_tag_refuses_all() {
        assert_eq!(valid(["a", "b"]).unwrap(), ["a", "b"]);
        assert!(valid(["a", "", "b"]).unwrap_err().is_invalid_input());
        assert!(valid("x".repeat(257)).unwrap_err().is_invalid_input());
    }
}
