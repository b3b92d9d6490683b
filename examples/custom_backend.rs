//! A custom backend: stored responses in a SQLite file, which survives restarts and serves several processes.
//!
//! ```sh
//! cargo run --example custom_backend --features conformance
//! ```
//!
//! It runs every case of the conformance suite on the store and prints the report. The store needs nothing but transactions: larder
//! encodes entries (`Stored`) and tag records (`TagRecord`), and decides which entries may be used (`validity`).

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use larder::{
    Durability, Error, Receipt, Scope,
    backend::{
        Backend, Clock, Epoch, Invalidation, Key, PutOutcome, ReadOutcome, Stored, Tag, TagRecord, Timestamp, Validity,
        async_trait, validity,
    },
    conformance::Suite,
};
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

/// Stored responses in a SQLite file.
#[derive(Debug, Clone)]
struct Sqlite {
    connection: Arc<Mutex<Connection>>,
    path: PathBuf,
}

/// A missing clock is created with a new incarnation, so that entries of an earlier one are dead.
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = OFF; -- a power failure may empty the cache
    CREATE TABLE IF NOT EXISTS clock (id INTEGER PRIMARY KEY CHECK (id = 1), incarnation INTEGER, epoch INTEGER, floor INTEGER);
    CREATE TABLE IF NOT EXISTS tags (name TEXT PRIMARY KEY, record BLOB, latest INTEGER) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB, expires INTEGER);
    CREATE INDEX IF NOT EXISTS expiry ON entries (expires);
    CREATE INDEX IF NOT EXISTS age ON tags (latest);
    INSERT OR IGNORE INTO clock VALUES (1, random(), 0, 0);
";

const LARGEST: usize = 4 << 20;

/// How many invalidated tags are remembered individually.
const RECORDS: u32 = 65_536;

impl Sqlite {
    fn open(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)), path: path.to_owned() })
    }

    /// Runs a transaction on a thread that may block. It is completed even if the caller stops waiting.
    async fn run<T: Send + 'static>(
        &self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let connection = Arc::clone(&self.connection);
        let task = tokio::task::spawn_blocking(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction = connection.transaction_with_behavior(behavior)?;
            let outcome = work(&transaction)?;
            transaction.commit()?;
            Ok(outcome)
        });
        let outcome: rusqlite::Result<T> =
            task.await.map_err(|panic| Error::unavailable("SQLite panicked").with_source(panic))?;
        outcome.map_err(|error| Error::unavailable("SQLite failed").with_source(error))
    }
}

#[async_trait]
impl Backend for Sqlite {
    async fn get(&self, key: &Key, _hint: &[Tag]) -> Result<ReadOutcome, Error> {
        let key = key.clone();
        self.run(TransactionBehavior::Deferred, move |db| {
            let clock = clock(db)?;
            if let Some(stored) = entry(db, &key)?
                && let Some(validity) = clock.validity(db, stored.born(), stored.tags())?
            {
                return Ok(ReadOutcome::hit(Arc::new(stored), validity, clock.now));
            }
            Ok(ReadOutcome::miss(clock.now))
        })
        .await
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        let Some(value) = stored.to_bytes(key).filter(|value| value.len() <= LARGEST) else { return Ok(PutOutcome::TooLarge) };
        let key = key.clone();
        self.run(TransactionBehavior::Immediate, move |db| {
            if clock(db)?.validity(db, stored.born(), stored.tags())?.is_none() {
                return Ok(PutOutcome::Invalidated);
            }
            db.execute("REPLACE INTO entries VALUES (?1, ?2, ?3)", params![key.as_bytes(), value, column(stored.expires())])?;
            db.execute("DELETE FROM entries WHERE expires <= ?1", [column(Clock::default().now())])?;
            Ok(PutOutcome::Stored)
        })
        .await
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        let tags = tags.to_vec();
        self.run(TransactionBehavior::Deferred, move |db| {
            Ok(clock(db)?.validity(db, born, &tags)? == Some(Validity::Valid)) // an expired response is not alive
        })
        .await
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        let invalidation = invalidation.clone();
        self.run(TransactionBehavior::Immediate, move |db| {
            db.execute("UPDATE clock SET epoch = epoch + 1", [])?;
            let epoch = clock(db)?.now;
            match &invalidation {
                Invalidation::Tags(tags) => change(db, tags, epoch, |record| record.invalidate(epoch.get()))?,
                Invalidation::ExpireTags { tags, at } => change(db, tags, epoch, |record| record.expire(epoch.get(), *at))?,
                Invalidation::Everything => _ = db.execute("UPDATE clock SET floor = epoch", [])?,
            }
            forget_oldest(db, RECORDS)?;
            Ok(Receipt::new(epoch, invalidation.tags().len(), Scope::Nodes, Durability::Durable))
        })
        .await
    }
}

/// Changes the record of each tag.
fn change(db: &Transaction<'_>, tags: &[Tag], epoch: Epoch, change: impl Fn(&mut TagRecord)) -> rusqlite::Result<()> {
    for tag in tags {
        // A damaged record may have named any earlier epoch.
        let mut record = record(db, tag)?.unwrap_or(TagRecord::invalidated_at(epoch.get()));
        change(&mut record);
        let row = params![tag.as_str(), record.to_bytes(), record.latest().cast_signed()];
        db.execute("REPLACE INTO tags VALUES (?1, ?2, ?3)", row)?;
    }
    Ok(())
}

/// Returns the record of a tag: the default if the tag was never invalidated, `None` if the record is damaged.
fn record(db: &Transaction<'_>, tag: &Tag) -> rusqlite::Result<Option<TagRecord>> {
    let bytes = db.query_row("SELECT record FROM tags WHERE name = ?1", [tag.as_str()], |row| row.get::<_, Vec<u8>>(0));
    Ok(bytes.optional()?.map_or(Some(TagRecord::default()), |bytes| TagRecord::from_bytes(&bytes)))
}

/// The logical clock, as one transaction sees it.
struct LogicalClock {
    now: Epoch,
    /// Entries that were born before it are dead.
    floor: u64,
}

fn clock(db: &Transaction<'_>) -> rusqlite::Result<LogicalClock> {
    db.query_row("SELECT incarnation, epoch, floor FROM clock", [], |row| {
        let [incarnation, epoch, floor] = [row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?].map(i64::cast_unsigned);
        Ok(LogicalClock { now: Epoch::of(incarnation, epoch), floor })
    })
}

impl LogicalClock {
    fn validity(&self, db: &Transaction<'_>, born: Epoch, tags: &[Tag]) -> rusqlite::Result<Option<Validity>> {
        let records = tags.iter().map(|tag| record(db, tag)).collect::<Result<Vec<_>, _>>()?;
        Ok(validity(born, self.now, self.floor, records))
    }
}

/// Removes all records but the latest `kept`, and raises the floor to the newest of them: that costs misses, never a stale response.
fn forget_oldest(db: &Transaction<'_>, kept: u32) -> rusqlite::Result<()> {
    const OLDEST: &str = "SELECT latest FROM tags ORDER BY latest DESC LIMIT 1 OFFSET ?1";
    let oldest: Option<i64> = db.query_row(OLDEST, [kept], |row| row.get(0)).optional()?;
    if let Some(oldest) = oldest {
        db.execute("UPDATE clock SET floor = max(floor, ?1)", [oldest])?;
        db.execute("DELETE FROM tags WHERE latest <= ?1", [oldest])?;
    }
    Ok(())
}

/// Returns the entry under the key, unless it is damaged or belongs to another key.
fn entry(db: &Transaction<'_>, key: &Key) -> rusqlite::Result<Option<Stored>> {
    let sought = params![key.as_bytes(), column(Clock::default().now())];
    let value = db.query_row("SELECT value FROM entries WHERE key = ?1 AND expires > ?2", sought, |row| row.get::<_, Vec<u8>>(0));
    Ok(value.optional()?.and_then(|value| Stored::from_bytes(key, value.into())))
}

fn column(time: Timestamp) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Runs the suite, each case on a separate file.
#[tokio::main]
async fn main() -> ExitCode {
    let folder = env::temp_dir().join(format!("larder-custom-backend-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("there is room for temporary files");
    let files = AtomicU32::new(0);
    let fresh = || {
        let path = folder.join(files.fetch_add(1, Ordering::Relaxed).to_string());
        async move { Sqlite::open(&path).expect("a new file can be opened") }
    };
    let report = Suite::new(fresh)
        .keeps_bodies_up_to(1 << 20)
        .forgets_expired()
        .peer(|store| async move { Sqlite::open(&store.path).expect("a file that is there can be opened") })
        .corrupt_with(|store, key| async move { store.corrupt(&key) })
        .evict_with(|store, _| async move { store.forget_records().await })
        .lose_with(|store| async move { store.lose_all() })
        .run()
        .await;
    println!("{report}");
    let _ = fs::remove_dir_all(&folder);
    if report.failures().next().is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Accidents that the suite causes.
impl Sqlite {
    fn corrupt(&self, key: &Key) {
        let db = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let value = db.query_row("SELECT value FROM entries WHERE key = ?1", [key.as_bytes()], |row| row.get::<_, Vec<u8>>(0));
        let mut value = value.expect("what was stored is there");
        let middle = value.len() / 2;
        value[middle] ^= 1;
        db.execute("UPDATE entries SET value = ?1", [value]).expect("the file can be written");
    }

    async fn forget_records(&self) {
        let forgotten = self.run(TransactionBehavior::Immediate, |db| forget_oldest(db, 0)).await;
        forgotten.expect("the file can be written");
    }

    fn lose_all(&self) {
        let db = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        db.execute_batch("DELETE FROM entries; DELETE FROM tags; DELETE FROM clock").expect("the file can be written");
        db.execute_batch(SCHEMA).expect("the file can be written");
    }
}
