//! How a follower is set up.

use std::time::Duration;

use larder::{Cache, Error};
use sqlx::PgPool;

use crate::follower::{Follower, SHORTEST_PAUSE};

/// A follower that has not been started, made by [`Follower::builder`].
#[derive(Debug, Clone)]
#[must_use = "a follower does nothing until it is started"]
pub struct FollowerBuilder {
    pub(crate) cache: Cache,
    pub(crate) interval: Duration,
    pub(crate) lease: Duration,
    pub(crate) retention: Duration,
    pub(crate) shared_store: Option<String>,
    pub(crate) notifications: bool,
}

/// The shortest lease: some polls have to fit.
const SHORTEST_LEASE: Duration = Duration::from_millis(300);

impl FollowerBuilder {
    pub(crate) fn new(cache: &Cache) -> Self {
        Self {
            cache: cache.clone(),
            interval: Duration::from_millis(100),
            lease: Duration::from_secs(5),
            retention: Duration::from_secs(3600),
            shared_store: None,
            notifications: false,
        }
    }

    /// Sets the time between two polls; default: 100 ms; 10 ms at least, and at most a third of the lease. A row takes effect within this time, plus the poll. A
    /// poll that finds nothing costs the database about 0.2 ms.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets for how long the cache is used while the outbox cannot be read; default: 5 seconds, 300 ms at least. It counts from the moment at which the
    /// last poll that was applied was sent. After that, this process bypasses the cache ([`Cache::lease`]) until it has read and applied
    /// what it missed.
    ///
    /// So no response is served that a transaction has outdated which committed longer ago than this.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease.max(SHORTEST_LEASE);
        self
    }

    /// Sets how old rows are when they are deleted; default: one hour, a second at least. A follower that could not read for longer
    /// invalidates everything. All followers of a database delete, so the shortest retention counts.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention.max(Duration::from_secs(1));
        self
    }

    /// Names the store, if several nodes share it, or if it survives a restart of the process (Redis, memcached); default: none.
    ///
    /// A follower with a name begins where the last one of that name has stopped, so that rows that were pushed while no node ran are applied. The position is
    /// kept in the database, and saved once a second while there are rows. Without a name, or with one that has not been used, a follower invalidates
    /// everything when it starts: right for a store in memory, which is empty then, and a cold start for a shared one.
    ///
    /// Give each store a name of its own. Each node invalidates for itself, so that on one shared store each row takes effect once for each node.
    pub fn shared_store(mut self, name: impl Into<String>) -> Self {
        self.shared_store = Some(name.into());
        self
    }

    /// Listens for notifications, on a second connection; default: `false`. They take effect once the database has the trigger of
    /// [`NOTIFICATIONS`](crate::outbox::NOTIFICATIONS): rows are then read some milliseconds after the commit. A notification that is lost costs the rest of the interval,
    /// and nothing else.
    pub fn notifications(mut self, notifications: bool) -> Self {
        self.notifications = notifications;
        self
    }

    /// Starts the follower in a task of its own, after a first poll. It opens a connection of its own with the options of `pool`, so that it never waits
    /// for one of the pool.
    ///
    /// The cache is bypassed until this has returned. Start it before the application accepts requests.
    ///
    /// # Errors
    /// If the first poll failed, because the database cannot be reached, lacks the tables of [`MIGRATION`](crate::outbox::MIGRATION), or is a replica; or if the
    /// store did not carry out an invalidation. The cache stays bypassed, because nothing that others write would reach it: try again.
    ///
    /// # Panics
    /// Outside of a tokio runtime with its timer enabled.
    pub async fn start(mut self, pool: &PgPool) -> Result<Follower, Error> {
        self.interval = self.interval.clamp(SHORTEST_PAUSE, self.lease / 3);
        Follower::start(self, pool).await
    }
}
