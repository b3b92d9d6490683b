//! A backend of one's own: stored responses in a SQLite file, which outlives restarts and serves several processes.
//!
//! ```sh
//! cargo run --example custom_backend --features conformance
//! ```
//!
//! It runs every case of the conformance suite on the store and prints the report. All that is asked of the store is a transaction;
//! what an entry is made of is larder's affair (`Stored::to_bytes`).

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
    backend::{Backend, Clock, Epoch, Invalidation, Key, PutOutcome, ReadOutcome, Stored, Tag, Timestamp, Validity, async_trait},
    conformance::Suite,
};
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

/// Stored responses in a SQLite file.
#[derive(Debug, Clone)]
struct Sqlite {
    connection: Arc<Mutex<Connection>>,
    path: PathBuf,
}

/// Whoever finds no clock creates one, with an incarnation of its own: what was stored by an earlier one is dead.
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = OFF; -- what a power failure takes with it was a cache
    CREATE TABLE IF NOT EXISTS clock (id INTEGER PRIMARY KEY CHECK (id = 1), incarnation INTEGER, epoch INTEGER, floor INTEGER);
    CREATE TABLE IF NOT EXISTS tags (name TEXT PRIMARY KEY, hard INTEGER DEFAULT 0, soft INTEGER DEFAULT 0) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS expiries (name TEXT, epoch INTEGER, at INTEGER, PRIMARY KEY (name, epoch)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB, expires INTEGER);
    CREATE INDEX IF NOT EXISTS expiry ON entries (expires);
    CREATE INDEX IF NOT EXISTS age ON tags (max(hard, soft));
    INSERT OR IGNORE INTO clock VALUES (1, random(), 0, 0);
";

const LARGEST: usize = 4 << 20;

/// How many invalidated tags are remembered one by one.
const RECORDS: u32 = 65_536;

/// How many expiries of one tag are remembered; what was born before the others is dead.
const EXPIRIES: u32 = 16;

impl Sqlite {
    fn open(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)), path: path.to_owned() })
    }

    /// Runs one transaction, where it may block; what is given up by its caller is finished all the same.
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
    async fn get(&self, key: &Key, _known: &[Tag]) -> Result<ReadOutcome, Error> {
        let key = key.clone();
        self.run(TransactionBehavior::Deferred, move |db| {
            let clock = clock(db)?;
            let found = match entry(db, &key)? {
                Some(stored) => clock.standing(db, stored.born(), stored.tags())?.map(|standing| (Arc::new(stored), standing)),
                None => None,
            };
            Ok(ReadOutcome { found, epoch: Some(clock.now) })
        })
        .await
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        let Some(value) = stored.to_bytes(key).filter(|value| value.len() <= LARGEST) else { return Ok(PutOutcome::TooLarge) };
        let key = key.clone();
        self.run(TransactionBehavior::Immediate, move |db| {
            if clock(db)?.standing(db, stored.born(), stored.tags())?.is_none() {
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
            Ok(clock(db)?.standing(db, born, &tags)? == Some(Validity::Valid)) // not what has expired
        })
        .await
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        let invalidation = invalidation.clone();
        self.run(TransactionBehavior::Immediate, move |db| {
            db.execute("UPDATE clock SET epoch = epoch + 1", [])?;
            let epoch = clock(db)?.now;
            let count = match &invalidation {
                Invalidation::Tags(tags) => {
                    tags.iter().try_for_each(|tag| invalidate(db, tag, epoch))?;
                    tags.len()
                }
                Invalidation::ExpireTags { tags, at } => {
                    tags.iter().try_for_each(|tag| expire(db, tag, epoch, *at))?;
                    tags.len()
                }
                Invalidation::Everything => {
                    db.execute("UPDATE clock SET floor = epoch", [])?;
                    0
                }
            };
            forget_oldest(db, RECORDS)?;
            Ok(Receipt::new(epoch, count, Scope::Nodes, Durability::Durable))
        })
        .await
    }
}

fn invalidate(db: &Transaction<'_>, tag: &Tag, epoch: Epoch) -> rusqlite::Result<()> {
    const HARD: &str = "INSERT INTO tags (name, hard) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET hard = excluded.hard";
    db.execute(HARD, params![tag.as_str(), epoch.get().cast_signed()])?;
    db.execute("DELETE FROM expiries WHERE name = ?1", [tag.as_str()])?;
    Ok(())
}

/// Each expiry is remembered by itself: what is stale is so since the first after its birth, whatever came later.
fn expire(db: &Transaction<'_>, tag: &Tag, epoch: Epoch, at: Timestamp) -> rusqlite::Result<()> {
    const SOFT: &str = "INSERT INTO tags (name, soft) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET soft = excluded.soft";
    const FIRST: &str = "SELECT epoch FROM expiries WHERE name = ?1 ORDER BY epoch DESC LIMIT 1 OFFSET ?2";
    let (name, epoch) = (tag.as_str(), epoch.get().cast_signed());
    db.execute(SOFT, params![name, epoch])?;
    db.execute("INSERT OR IGNORE INTO expiries VALUES (?1, ?2, ?3)", params![name, epoch, column(at)])?;
    let forgotten: Option<i64> = db.query_row(FIRST, params![name, EXPIRIES], |row| row.get(0)).optional()?;
    if let Some(forgotten) = forgotten {
        db.execute("UPDATE tags SET hard = max(hard, ?2) WHERE name = ?1", params![name, forgotten])?;
        db.execute("DELETE FROM expiries WHERE name = ?1 AND epoch <= ?2", params![name, forgotten])?;
    }
    Ok(())
}

/// The logical clock, as one transaction sees it.
struct LogicalClock {
    now: Epoch,
    /// What was born before it is dead.
    floor: u64,
}

fn clock(db: &Transaction<'_>) -> rusqlite::Result<LogicalClock> {
    db.query_row("SELECT incarnation, epoch, floor FROM clock", [], |row| {
        let [incarnation, epoch, floor] = [row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?].map(i64::cast_unsigned);
        Ok(LogicalClock { now: Epoch::of(incarnation, epoch), floor })
    })
}

impl LogicalClock {
    /// How something may be used, judged by its floor and tags; `None` if it is dead.
    fn standing(&self, db: &Transaction<'_>, born: Epoch, tags: &[Tag]) -> rusqlite::Result<Option<Validity>> {
        if born.incarnation() != self.now.incarnation() || born.get() < self.floor {
            return Ok(None);
        }
        let mut stale_since: Option<Timestamp> = None;
        let mut record = db.prepare("SELECT hard FROM tags WHERE name = ?1")?;
        let mut expiry = db.prepare("SELECT at FROM expiries WHERE name = ?1 AND epoch > ?2 ORDER BY epoch LIMIT 1")?;
        for tag in tags {
            let hard: Option<i64> = record.query_row([tag.as_str()], |row| row.get(0)).optional()?;
            if hard.is_some_and(|hard| born.get() < hard.cast_unsigned()) {
                return Ok(None);
            }
            let first = params![tag.as_str(), born.get().cast_signed()];
            let first: Option<i64> = expiry.query_row(first, |row| row.get(0)).optional()?;
            let first = first.map(|at| Timestamp::from_millis(at.cast_unsigned()));
            stale_since = stale_since.into_iter().chain(first).min();
        }
        Ok(Some(stale_since.map_or(Validity::Valid, |since| Validity::Stale { since })))
    }
}

/// Forgets all records but the latest `kept`. What they said is not lost: the floor is raised to it, which costs misses.
fn forget_oldest(db: &Transaction<'_>, kept: u32) -> rusqlite::Result<()> {
    const OLDEST: &str = "SELECT max(hard, soft) FROM tags ORDER BY 1 DESC LIMIT 1 OFFSET ?1";
    let oldest: Option<i64> = db.query_row(OLDEST, [kept], |row| row.get(0)).optional()?;
    if let Some(oldest) = oldest {
        db.execute("UPDATE clock SET floor = max(floor, ?1)", [oldest])?;
        db.execute("DELETE FROM tags WHERE max(hard, soft) <= ?1", [oldest])?;
        db.execute("DELETE FROM expiries WHERE epoch <= ?1", [oldest])?;
    }
    Ok(())
}

/// What is stored under the key; whatever `from_bytes` does not recognise is not there.
fn entry(db: &Transaction<'_>, key: &Key) -> rusqlite::Result<Option<Stored>> {
    let sought = params![key.as_bytes(), column(Clock::default().now())];
    let value = db.query_row("SELECT value FROM entries WHERE key = ?1 AND expires > ?2", sought, |row| row.get::<_, Vec<u8>>(0));
    Ok(value.optional()?.and_then(|value| Stored::from_bytes(key, value.into())))
}

fn column(time: Timestamp) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Runs the suite, each case in a file of its own.
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

/// What else may happen to a file.
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

    /// Somebody empties it.
    fn lose_all(&self) {
        let db = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        db.execute_batch("DELETE FROM entries; DELETE FROM tags; DELETE FROM expiries; DELETE FROM clock")
            .expect("the file can be written");
        db.execute_batch(SCHEMA).expect("the file can be written");
    }
}
