//! The follower: a task that reads the outbox and invalidates what it finds.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use larder::{Cache, CacheLease, Error, backend::Timestamp};
use sqlx::{
    ConnectOptions as _, PgPool,
    postgres::{PgConnection, PgListener, PgPoolOptions},
};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    database::{News, failed, poll, save_position, saved_position, trim},
    failures::Failures,
    follower_builder::FollowerBuilder,
    health::FollowerHealth,
    position::Position,
};

/// A follower of the outbox that runs, made by [`FollowerBuilder::start`]. It ends when this is dropped: then the lease of the cache runs out, and the cache is
/// bypassed until another follower is started.
#[must_use = "the follower ends when this is dropped, and the cache is bypassed then"]
pub struct Follower {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
    listener: Option<JoinHandle<()>>,
}

/// What the handle and the task share.
struct Shared {
    lease: CacheLease,
    wake: Notify,
    is_stopping: AtomicBool,
    /// When the last poll that was applied was sent, in milliseconds.
    applied: AtomicU64,
    tags: AtomicU64,
    clears: AtomicU64,
    last_error: Mutex<Option<Error>>,
}

impl Follower {
    /// Begins to describe a follower, which invalidates in the namespace of this handle.
    ///
    /// ```no_run
    /// # async fn serve(pool: sqlx::PgPool) -> Result<(), larder::Error> {
    /// use larder::Cache;
    /// use larder_postgres::Follower;
    ///
    /// let cache = Cache::in_memory(64 << 20);
    /// let follower = Follower::builder(&cache).start(&pool).await?;
    /// // … serve …
    /// follower.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(cache: &Cache) -> FollowerBuilder {
        FollowerBuilder::new(cache)
    }

    /// Returns what this follower has done, and whether the cache is in use.
    pub fn health(&self) -> FollowerHealth {
        let shared = &self.shared;
        let applied = Timestamp::from_millis(shared.applied.load(Ordering::Relaxed));
        FollowerHealth {
            behind: shared.lease.now().since(applied),
            lease_left: shared.lease.remaining(),
            tags: shared.tags.load(Ordering::Relaxed),
            clears: shared.clears.load(Ordering::Relaxed),
            last_error: shared.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Ends the follower, and saves its position if the store has a name. For a graceful shutdown, after the last request; the cache is bypassed
    /// when its lease has run out. Takes two seconds at most if the database does not answer.
    pub async fn stop(mut self) {
        self.shared.is_stopping.store(true, Ordering::SeqCst);
        self.shared.wake.notify_one();
        let _ = timeout(PATIENCE, &mut self.task).await;
    }

    pub(crate) async fn start(settings: FollowerBuilder, pool: &PgPool) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            lease: settings.cache.lease(),
            wake: Notify::new(),
            is_stopping: AtomicBool::new(false),
            applied: AtomicU64::new(0),
            tags: AtomicU64::new(0),
            clears: AtomicU64::new(0),
            last_error: Mutex::new(None),
        });
        let notifications = settings.notifications;
        let mut following = Following::new(settings, pool, &shared);
        following.load_position().await?;
        following.round().await?;
        let listener = notifications.then(|| tokio::spawn(listen(pool.clone(), Arc::clone(&shared))));
        let task = tokio::spawn(following.run());
        Ok(Self { shared, task, listener })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
        self.listener.as_ref().inspect(|listener| listener.abort());
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("health", &self.health()).finish_non_exhaustive()
    }
}

/// The longest wait for the database, within a third of the lease.
const PATIENCE: Duration = Duration::from_secs(2);

/// The shortest time between two polls, however many notifications arrive.
pub(crate) const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// The task's state.
struct Following {
    cache: Cache,
    settings: FollowerBuilder,
    pool: PgPool,
    shared: Arc<Shared>,
    patience: Duration,
    connection: Option<PgConnection>,
    /// Everything that is visible in this snapshot has been applied; `None` if that is not known of any.
    position: Option<Position>,
    /// Whether rows were applied since the position was saved.
    is_unsaved: bool,
    saved: Timestamp,
    trimmed: Timestamp,
}

impl Following {
    fn new(settings: FollowerBuilder, pool: &PgPool, shared: &Arc<Shared>) -> Self {
        let now = shared.lease.now();
        Self {
            cache: settings.cache.clone(),
            patience: PATIENCE.min(settings.lease / 3),
            settings,
            pool: pool.clone(),
            shared: Arc::clone(shared),
            connection: None,
            position: None,
            is_unsaved: true,
            saved: Timestamp::from_millis(0),
            trimmed: now,
        }
    }

    async fn run(mut self) {
        let mut failures = Failures::default();
        while !self.shared.is_stopping.load(Ordering::SeqCst) {
            let _ = timeout(self.settings.interval - SHORTEST_PAUSE, self.shared.wake.notified()).await;
            sleep(SHORTEST_PAUSE).await;
            let outcome = match self.round().await {
                Ok(()) => self.keep_house().await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => failures.succeeded(),
                Err(error) => {
                    failures.failed(&error, self.shared.lease.remaining());
                    *self.shared.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
            }
        }
        self.saved = Timestamp::from_millis(0);
        let _ = self.save().await;
    }

    /// Reads what is new, applies it, and only then moves the position and the lease.
    async fn round(&mut self) -> Result<(), Error> {
        let sent = self.shared.lease.now();
        let mut connection = self.connection().await?;
        let poll = self.timed(poll(&mut connection, self.position.as_ref())).await?;
        self.connection = Some(connection);
        self.is_unsaved |= poll.news != News::Tags(Vec::new());
        self.apply(poll.news).await?;
        self.position = Some(poll.position);
        self.shared.applied.store(sent.as_millis(), Ordering::Relaxed);
        self.shared.lease.extend(sent, self.settings.lease);
        Ok(())
    }

    async fn apply(&self, news: News) -> Result<(), Error> {
        match news {
            News::Tags(tags) if tags.is_empty() => {}
            News::Tags(tags) => match self.cache.invalidate_tags(&tags).await {
                Ok(_) => drop(self.shared.tags.fetch_add(tags.len() as u64, Ordering::Relaxed)),
                // No response has such a tag, and all others were invalidated.
                Err(error) if error.is_invalid_input() => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the outbox has a tag that no response can have");
                }
                Err(error) => return Err(error),
            },
            News::Everything(why) => {
                self.cache.clear().await?;
                self.shared.clears.fetch_add(1, Ordering::Relaxed);
                tracing::info!(why, "everything was invalidated");
            }
        }
        Ok(())
    }

    /// Saves the position and deletes old rows, each if it is time.
    async fn keep_house(&mut self) -> Result<(), Error> {
        self.save().await?;
        let (now, retention) = (self.shared.lease.now(), self.settings.retention);
        if now.since(self.trimmed) < (retention / 60).clamp(Duration::from_secs(1), Duration::from_secs(60)) {
            return Ok(());
        }
        let Some(position) = self.position.clone() else { return Ok(()) };
        let mut connection = self.connection().await?;
        let may_have_more = self.timed(trim(&mut connection, retention, &position)).await?;
        self.connection = Some(connection);
        if !may_have_more {
            self.trimmed = now;
        }
        Ok(())
    }

    async fn save(&mut self) -> Result<(), Error> {
        let (Some(store), Some(position)) = (self.settings.shared_store.clone(), self.position.clone()) else { return Ok(()) };
        let age = self.shared.lease.now().since(self.saved);
        // Without new rows as well, now and then: a position must not be older than the oldest row.
        let is_time = age >= self.settings.retention / 4 || (self.is_unsaved && age >= Duration::from_secs(1));
        if !is_time {
            return Ok(());
        }
        let mut connection = self.connection().await?;
        self.timed(save_position(&mut connection, &store, &position)).await?;
        self.connection = Some(connection);
        (self.is_unsaved, self.saved) = (false, self.shared.lease.now());
        Ok(())
    }

    async fn load_position(&mut self) -> Result<(), Error> {
        let Some(store) = self.settings.shared_store.clone() else { return Ok(()) };
        let mut connection = self.connection().await?;
        self.position = self.timed(saved_position(&mut connection, &store)).await?;
        self.connection = Some(connection);
        Ok(())
    }

    /// Takes the connection, or opens one. The caller puts it back, unless a statement has failed on it or was given up.
    async fn connection(&mut self) -> Result<PgConnection, Error> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let options = self.pool.connect_options().as_ref().clone().disable_statement_logging();
        self.timed(async { options.connect().await.map_err(failed("the database cannot be reached")) }).await
    }

    async fn timed<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let late = |_| Error::timeout(format!("the database did not answer within {:?}", self.patience));
        timeout(self.patience, work).await.map_err(late)?
    }
}

/// Wakes the follower at each notification. After a lost connection it begins again; meanwhile, the follower polls as it always does.
async fn listen(pool: PgPool, shared: Arc<Shared>) {
    loop {
        let options = pool.connect_options().as_ref().clone();
        let own = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
        if let Ok(mut listener) = PgListener::connect_with(&own).await
            && listener.listen("larder_outbox").await.is_ok()
        {
            while listener.recv().await.is_ok() {
                shared.wake.notify_one();
            }
        }
        sleep(Duration::from_secs(1)).await;
    }
}
