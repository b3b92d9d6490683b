//! The statements of a follower on its connection.

use std::time::Duration;

use larder::Error;
use sqlx::{Row as _, postgres::PgConnection, postgres::PgRow};

use crate::position::Position;

/// The number of rows, and of different tags, above which a follower invalidates everything instead: as many as the memory store remembers.
const MOST: i64 = 65_536;

/// The number of rows that are deleted at once.
const TRIMMED_AT_ONCE: i64 = 10_000;

/// What a follower has to invalidate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    Tags(Vec<String>),
    /// Everything, and why.
    Everything(&'static str),
}

/// What is new since a position, with the position after it.
#[derive(Debug)]
pub(crate) struct Poll {
    pub(crate) news: News,
    pub(crate) position: Position,
}

/// Reads what became visible since a position; everything is new to a follower without one.
pub(crate) async fn poll(connection: &mut PgConnection, since: Option<&Position>) -> Result<Poll, Error> {
    loop {
        let row = select(connection, since).await.map_err(failed("the outbox could not be read"))?;
        if let Some(poll) = Poll::from_row(&row, since).map_err(failed("the outbox has another form than expected"))? {
            return Ok(poll);
        }
        let begin = sqlx::raw_sql(concat!("BEGIN;", include_str!("sql/begin_term.sql"), "COMMIT;"));
        begin.execute(&mut *connection).await.map_err(failed("a new term of the outbox could not begin"))?;
    }
}

async fn select(connection: &mut PgConnection, since: Option<&Position>) -> Result<PgRow, sqlx::Error> {
    let select = sqlx::query(include_str!("sql/poll.sql")).bind(since.map(|position| &*position.snapshot)).bind(MOST + 1);
    // A plan that is made for these values: one for any would be made while the table is empty, and read all of it later.
    select.persistent(false).fetch_one(connection).await
}

impl Poll {
    /// Returns `None` if the present run of transaction ids has no name yet.
    fn from_row(row: &PgRow, since: Option<&Position>) -> Result<Option<Self>, sqlx::Error> {
        let Some(term) = row.try_get::<Option<String>, _>("term")? else { return Ok(None) };
        let tags: Vec<String> = row.try_get("tags")?;
        let is_trimmed = row.try_get::<Option<bool>, _>("is_trimmed")?.unwrap_or(true);
        let is_over = row.try_get::<i64, _>("rows")? > MOST || tags.len() as i64 > MOST;
        let news = match since {
            None => News::Everything("the follower has just begun"),
            Some(since) if since.term != term => News::Everything("PostgreSQL was restarted, or is another server"),
            Some(_) if is_trimmed => News::Everything("rows that were not read have been deleted"),
            Some(_) if is_over => News::Everything("too many rows were not read"),
            Some(_) if row.try_get("is_everything")? => News::Everything("a row says so"),
            Some(_) => News::Tags(tags),
        };
        let position = Position { term, snapshot: row.try_get("snapshot")? };
        Ok(Some(Self { news, position }))
    }
}

/// Deletes rows that are older than `retention`, and that a follower at `position` has read. Returns whether there may be more.
pub(crate) async fn trim(connection: &mut PgConnection, retention: Duration, position: &Position) -> Result<bool, Error> {
    let trim = sqlx::query_scalar::<_, i64>(include_str!("sql/trim.sql"));
    let trim = trim.bind(retention.as_secs_f64()).bind(TRIMMED_AT_ONCE).bind(&position.snapshot);
    let gone = trim.persistent(false).fetch_one(connection).await;
    gone.map(|gone| gone >= TRIMMED_AT_ONCE / 2).map_err(failed("old rows of the outbox could not be deleted"))
}

/// Returns the position that a follower of the same store has saved last.
pub(crate) async fn saved_position(connection: &mut PgConnection, store: &str) -> Result<Option<Position>, Error> {
    let select = sqlx::query("SELECT term::text, snapshot FROM larder_outbox_position WHERE store = $1").bind(store);
    let read = async {
        let Some(row) = select.fetch_optional(connection).await? else { return Ok(None) };
        Ok(Some(Position { term: row.try_get(0)?, snapshot: row.try_get(1)? }))
    };
    read.await.map_err(failed("the position of the follower could not be read"))
}

/// Saves the position for the next follower of the same store. Nodes may overwrite a later position by an earlier one: what is between is
/// invalidated twice.
pub(crate) async fn save_position(connection: &mut PgConnection, store: &str, position: &Position) -> Result<(), Error> {
    let save = sqlx::query(
        "INSERT INTO larder_outbox_position (store, term, snapshot) VALUES ($1, $2::text::uuid, $3)
        ON CONFLICT (store) DO UPDATE SET term = EXCLUDED.term, snapshot = EXCLUDED.snapshot, saved = clock_timestamp()",
    );
    let save = save.bind(store).bind(&position.term).bind(&position.snapshot).execute(connection);
    save.await.map_err(failed("the position of the follower could not be saved")).map(drop)
}

/// Returns an error with its cause, and what to do about it.
pub(crate) fn failed(what: &'static str) -> impl Fn(sqlx::Error) -> Error {
    move |cause| {
        let code = cause.as_database_error().and_then(sqlx::error::DatabaseError::code);
        let advice = match code.as_deref() {
            Some("42P01" | "42703") => {
                ": run the migration `larder_postgres::outbox::MIGRATION`, in a schema of the connection's search path"
            }
            Some("42501") => ": grant the role what the documentation of `larder_postgres::outbox::MIGRATION` lists",
            Some("0A000" | "25006") => ": connect to the primary server, not to a replica",
            _ => "",
        };
        Error::unavailable(format!("{what}{advice}")).with_source(cause)
    }
}
