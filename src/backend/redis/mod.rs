//! The store in Redis, shared by all nodes that use the same server and key prefix.

pub(crate) mod batch;
pub(crate) mod clock;
mod cluster;
pub(crate) mod cluster_registers;
pub(crate) mod connection;
mod connector;
pub(crate) mod error;
pub(crate) mod feed;
pub(crate) mod fetch_lock;
pub(crate) mod key_names;
mod leases;
mod mode;
mod options;
pub(crate) mod replace;
mod script;
mod seen;
mod sentinels;
mod shards;
mod single;
pub(crate) mod snapshot;
pub(crate) mod tag_record;
#[cfg(test)]
mod tests;
mod tls;
mod url;
mod version;
mod write_marks;

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use redis::{
    Client, ConnectionInfo,
    aio::{ConnectionLike, ConnectionManager},
    cluster::ClusterClient,
};

use super::{
    FeedBatch, InvalidationFeed, SharedStore,
    cache_mode::CacheMode,
    contract::{FetchLock, Invalidation, PutOutcome, ReadOutcome, Receipt},
    remote::{
        FetchLocks, RemoteStore, Resilient, forward_backend,
        options::{RemoteOptions, remote_setters},
        shared_mode::SharedMode,
    },
    store_stats::StoreServer,
};
use crate::{
    backend::url::{options::UrlOptions, value::COUNT},
    entry::{epoch::Epoch, stored::Stored},
    error::Error,
    key::Key,
    tag::Tag,
    timer,
};
use cluster::Cluster;
use cluster_registers::ClusterRegisters;
use connection::{Connection, Source};
use connector::Connector;
use key_names::KeyNames;
use options::Options;
use sentinels::Sentinels;
use shards::Shards;
use single::Single;
use tls::TlsRoots;
use url::RedisUrl;

/// A store in Redis, shared by every node that uses the same server and key prefix.
///
/// The promise holds across all nodes. A hit and an invalidation take one round trip each, independent of the number of entries. larder
/// uses neither `KEYS`, `SCAN` nor sets of keys, and every key but the clock and the mode has a time to live. Redis may evict any key: that costs
/// misses, never a stale answer. The same is true of a failover to a replica that lacks acknowledged writes, the return of a former
/// primary, a restart from an older snapshot, and `FLUSHALL`.
///
/// Reads fail open: if Redis is slow or unreachable, the handler answers, and a circuit breaker saves later requests the wait. An
/// invalidation that fails returns an error and is repeated when Redis replies again. Until then, this node uses nothing from Redis.
///
/// Redis 6.2 or later is required, or Valkey. An older server is refused. Version 7 is recommended: with 6.2, each hit over
/// [`from_connection`](Self::from_connection) costs a few microseconds more on the server.
///
/// # Least rights
///
/// A user for larder on one server, or on each server that sentinels monitor, with the default [key prefix](RedisBuilder::key_prefix):
///
/// ```text
/// ACL SETUSER larder reset on >PASSWORD ~larder:* ~{larder}:*
///     +eval +evalsha +mget +get +getrange +set +del +pttl +pexpire +expire +xadd +xrange +time +info
/// ```
///
/// On each node of a Cluster:
///
/// ```text
/// ACL SETUSER larder reset on >PASSWORD ~larder:* ~{larder}:*
///     +eval +evalsha +get +set +del +expire +xadd +xrange +time +info +cluster|slots +asking +ping
/// ```
///
/// Some settings need further rights: [`durability`](RedisBuilder::durability) `+wait`, a database other than 0 `+select`, and
/// [`install_function`](Self::install_function) `+function|load` (`+function` covers it, and more); programs that call the function need
/// `+fcall`, `+exists` and all of the above. `+client|setinfo` (Redis 7.2) lets the client report its name; without it, nothing but an entry in
/// `ACL LOG` for each connection is different. `INFO` is in the class `@dangerous`, and cannot be avoided: no other command identifies the
/// run of the server and its replication history, by which larder notices restarts and failovers.
///
/// If a right is missing, errors, logs and [`Cache::health`](crate::Cache::health) have the words of the server (`NOPERM …`). larder
/// sends no user and no password to sentinels.
#[derive(Clone)]
pub struct Redis {
    store: Resilient<Topology>,
}

/// The settings of a [`Redis`] store; created by [`Redis::builder`].
#[derive(Debug, Clone)]
#[must_use = "it does nothing until it is connected"]
pub struct RedisBuilder {
    remote: RemoteOptions,
    tls_roots: TlsRoots,
    replicas: Option<u32>,
}

enum Topology {
    Single(Box<Single>),
    Cluster(Box<Cluster>),
}

impl Redis {
    /// Connects to the Redis at `url`, with the default settings of [`RedisBuilder`].
    ///
    /// | URL | |
    /// |---|---|
    /// | `redis://user:password@host:6379/0` | one server |
    /// | `redis+sentinel://user:password@a:26379,b:26379/mymaster/0` | the primary that sentinels report; list all of them, since a majority must agree |
    /// | `redis+cluster://user:password@a:6379,b:6379` | a Redis Cluster |
    /// | `redis+unix://user:password@/run/redis.sock?db=0` | one server, by its Unix socket |
    ///
    /// User, password and database may be left out; a password alone is written `:password@`. Characters such as `/`, `@` and `:` in a user
    /// or a password must be percent-encoded. The query may have the options of [`Cache::connect`](crate::Cache::connect).
    ///
    /// With `rediss` instead of `redis`, and the feature `redis-tls`, connections use TLS; `RedisBuilder::root_certificates` sets a private
    /// authority.
    ///
    /// Redis need not be running yet: handlers answer until it is.
    ///
    /// # Errors
    /// If the URL is malformed or names a database that the server does not have, if the server is older than Redis 6.2, or if the timer of the
    /// runtime is off.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder().connect(url).await
    }

    /// Creates a store over an existing connection of the application, for example that of its sessions. larder uses only keys of its own
    /// key prefix, and leaves reconnecting to the manager.
    pub fn from_connection(connection: ConnectionManager) -> Self {
        Self::builder().from_connection(connection)
    }

    /// Creates a store that connects by a client of the application: its address, user, password, database and TLS. larder keeps one connection of
    /// its own, so that neither waits for commands of the other; this is the best way beside a pool of the application.
    ///
    /// ```
    /// # fn main() -> redis::RedisResult<()> {
    /// let client = redis::Client::open("redis://localhost")?; // or that of the pool
    /// let cache = larder::Cache::new(larder::Redis::from_client(client));
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_client(client: Client) -> Self {
        Self::builder().from_client(client)
    }

    /// Creates a store over connections that the application lends, such as those of a pool: `connect` is called for each group of commands, and
    /// the connection is dropped when they are answered.
    ///
    /// Concurrent lookups share a group, so few connections are in use at a time. Pools that test a connection when they lend it, as
    /// `deadpool-redis` and `bb8-redis` do, cost a round trip more for each group, and each group costs as much more on the server as with
    /// [`from_connection`](Self::from_connection); [`from_client`](Self::from_client) costs neither. The time until a connection is lent counts
    /// towards the time limits, and an error of `connect` like a server that cannot be reached.
    ///
    /// ```
    /// # use larder::{Cache, Redis};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use deadpool_redis::{Config, Runtime};
    ///
    /// let pool = Config::from_url("redis://localhost").create_pool(Some(Runtime::Tokio1))?;
    /// let cache = Cache::new(Redis::from_connector(move || {
    ///     let pool = pool.clone();
    ///     async move { pool.get().await }
    /// }));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A connection of `bb8-redis` is multiplexed: a clone of it is lent, and the pool has it back at once.
    ///
    /// ```
    /// # use larder::{Cache, Redis};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use bb8_redis::{RedisConnectionManager, bb8::Pool};
    ///
    /// let pool = Pool::builder().build_unchecked(RedisConnectionManager::new("redis://localhost")?);
    /// let cache = Cache::new(Redis::from_connector(move || {
    ///     let pool = pool.clone();
    ///     async move { pool.get().await.map(|connection| connection.clone()) }
    /// }));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// All connections must lead to one primary. One that leads to another server, or to a server that has been replaced, is noticed before anything is
    /// read: larder then greets that server as a new one, and what it read from the former one is not used.
    pub fn from_connector<C, E, F>(connect: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        C: ConnectionLike + Send + 'static,
        E: fmt::Display,
        F: Future<Output = Result<C, E>> + Send + 'static,
    {
        Self::builder().from_connector(connect)
    }

    /// Returns the default settings.
    pub fn builder() -> RedisBuilder {
        RedisBuilder { remote: RemoteOptions::default(), tls_roots: TlsRoots::default(), replicas: None }
    }

    /// Registers a function for other programs; see [`Cache::install_function`](crate::Cache::install_function).
    ///
    /// # Errors
    /// If the server cannot be reached, has no functions, or is a Cluster.
    pub async fn install_function(&self) -> Result<(), Error> {
        match self.store.remote() {
            Topology::Single(single) => self.store.read(single.install_function()).await,
            Topology::Cluster(_) => Err(Error::invalid_input(
                "a function reaches only one node of a Cluster: let other programs call a route of the application",
            )),
        }
    }

    /// Returns whether larder currently sends nothing to Redis, because it failed.
    pub fn is_suspended(&self) -> bool {
        self.store.is_open()
    }

    /// Returns the number of values under larder's keys that were damaged or written by another program.
    pub fn corrupt_values(&self) -> u64 {
        self.store.remote().options().corrupt.load(Ordering::Relaxed)
    }
}

remote_setters!(RedisBuilder, key_prefix: "It must not be empty or contain braces: [`connect`](Self::connect) returns an error.");

impl RedisBuilder {
    /// Sets the number of replicas that must confirm an invalidation before it returns (`WAIT`); default: 0. Then even a failover that no
    /// node notices in time loses no acknowledged invalidation.
    ///
    /// If fewer replicas confirm it, an invalidation returns an error after four fifths of
    /// [`invalidate_timeout`](Self::invalidate_timeout), of which [`Error::is_unconfirmed`] is true: it has been carried out on the server,
    /// and holds unless that fails before its replicas have received it. Hits go on. While Redis waits for replicas, all other commands on
    /// the same connection wait, including those of the application with [`from_connection`](Redis::from_connection): lookups that exceed
    /// [`read_timeout`](Self::read_timeout) are answered by the handler.
    pub fn durability(mut self, replicas: u32) -> Self {
        self.replicas = (replicas > 0).then_some(replicas);
        self
    }

    /// Connects; see [`Redis::connect`]. Options in the URL take precedence over the builder.
    ///
    /// # Errors
    /// If the URL or the key prefix is not valid, if the server does not have the database or is older than Redis 6.2, or if the timer of the
    /// runtime is off.
    pub async fn connect(self, url: &str) -> Result<Redis, Error> {
        let (address, options) = UrlOptions::split(url)?;
        self.connect_to(address, options).await
    }

    /// Connects to the server of a URL whose options are split off.
    pub(crate) async fn connect_to(mut self, address: &str, mut options: UrlOptions) -> Result<Redis, Error> {
        let redis_url = RedisUrl::parse(address, &mut options)?;
        self.read_url(&mut options)?;
        options.finish()?;
        timer::check()?;
        let names = KeyNames::new(&self.remote.key_prefix)?;
        self.tls_roots.prepare(address)?;
        let topology = match redis_url {
            RedisUrl::Single(client) => self.single(Source::Client(Box::new(self.tls_roots.single(*client)?)), names),
            RedisUrl::Sentinel(sentinel_url) => {
                let sentinels = Sentinels::new(*sentinel_url, self.tls_roots.clone(), self.remote.connect_timeout)?;
                self.single(Source::Sentinel(Arc::new(sentinels)), names)
            }
            RedisUrl::Cluster(nodes) => self.cluster(nodes, names)?,
        };
        let redis = self.resilient(topology);
        if let Err(error) = redis.store.read(redis.store.remote().clock()).await {
            if error::is_too_old(&error) {
                return Err(error);
            }
            if error::has_no_database(&error) {
                return Err(Error::invalid_input(error.to_string()));
            }
            tracing::warn!(error = &error as &dyn std::error::Error, "Redis cannot be used yet; handlers answer until it can");
            redis.store.trip();
        }
        Ok(redis)
    }

    /// Uses an existing connection; see [`Redis::from_connection`].
    ///
    /// # Panics
    /// If the key prefix is empty or has braces.
    pub fn from_connection(self, connection: ConnectionManager) -> Redis {
        self.over(Source::Manager(connection))
    }

    /// Uses a client of the application; see [`Redis::from_client`].
    ///
    /// # Panics
    /// If the key prefix is empty or has braces.
    pub fn from_client(self, client: Client) -> Redis {
        self.over(Source::Client(Box::new(client)))
    }

    /// Uses connections that the application lends; see [`Redis::from_connector`].
    ///
    /// # Panics
    /// If the key prefix is empty or has braces.
    pub fn from_connector<C, E, F>(self, connect: impl Fn() -> F + Send + Sync + 'static) -> Redis
    where
        C: ConnectionLike + Send + 'static,
        E: fmt::Display,
        F: Future<Output = Result<C, E>> + Send + 'static,
    {
        self.over(Source::Connector(Connector::new(connect)))
    }

    fn over(self, source: Source) -> Redis {
        let names = KeyNames::new(&self.remote.key_prefix).expect("the key prefix is not empty and has no braces");
        let topology = self.single(source, names);
        self.resilient(topology)
    }

    fn single(&self, source: Source, names: KeyNames) -> Topology {
        Topology::Single(Box::new(Single::new(
            Connection::new(source, &names.clock, self.remote.connect_timeout),
            names,
            self.options(),
        )))
    }

    fn cluster(&self, nodes: Vec<ConnectionInfo>, names: KeyNames) -> Result<Topology, Error> {
        if self.replicas.is_some() {
            return Err(Error::invalid_input(
                "`durability` is not supported on a Cluster, whose keys have different replicas: use one server or sentinels",
            ));
        }
        let shards = Shards::named(&nodes);
        let builder = ClusterClient::builder(nodes).connection_timeout(self.remote.connect_timeout).retries(2);
        let client = self.tls_roots.cluster(builder).build();
        let client = client.map_err(|error| Error::invalid_input("the URL is not that of a Cluster").with_source(error))?;
        Ok(Topology::Cluster(Box::new(Cluster::new(ClusterRegisters::new(client, shards, names, self.options())))))
    }

    /// Takes the options of the setters from a URL.
    fn read_url(&mut self, url: &mut UrlOptions) -> Result<(), Error> {
        self.remote.read_url(url)?;
        if let Some(replicas) = url.take("durability", COUNT)? {
            *self = self.clone().durability(replicas);
        }
        self.tls_roots.read_url(url)
    }

    fn options(&self) -> Options {
        Options::new(&self.remote, self.replicas)
    }

    fn resilient(&self, topology: Topology) -> Redis {
        Redis { store: Resilient::new(topology, self.remote.timeouts.clone()) }
    }
}

impl Topology {
    fn options(&self) -> &Options {
        match self {
            Self::Single(single) => single.options(),
            Self::Cluster(cluster) => cluster.options(),
        }
    }

    /// Reads the clock, batched with concurrent lookups.
    async fn clock(&self) -> Result<Epoch, Error> {
        match self {
            Self::Single(single) => single.clock().await,
            Self::Cluster(cluster) => Box::pin(cluster.epoch()).await,
        }
    }

    async fn invalidations_since(&self, last: u64) -> Result<FeedBatch, Error> {
        match self {
            Self::Single(single) => single.invalidations_since(last).await,
            Self::Cluster(cluster) => cluster.registers().invalidations_since(last).await,
        }
    }

    async fn announce_lease(&self, span: Duration, hold: Duration) -> Result<(), Error> {
        match self {
            Self::Single(single) => single.announce_lease(span, hold).await,
            Self::Cluster(cluster) => cluster.registers().announce_lease(span, hold).await,
        }
    }

    async fn position(&self) -> Result<FeedBatch, Error> {
        match self {
            Self::Single(single) => single.position().await,
            Self::Cluster(cluster) => cluster.registers().position().await,
        }
    }
}

/// Calls the store of the topology. The future of a Cluster is boxed: it is large, and would enlarge every lookup on a single server.
macro_rules! either {
    ($topology:expr, $remote:ident => $call:expr) => {
        match $topology {
            Topology::Single($remote) => $call.await,
            Topology::Cluster($remote) => Box::pin($call).await,
        }
    };
}

impl RemoteStore for Topology {
    async fn get(&self, key: &Key, known: &[Tag], limit: Duration) -> Result<ReadOutcome, Error> {
        either!(self, remote => remote.get(key, known, limit))
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        either!(self, remote => remote.put(key, stored))
    }

    async fn replace(&self, key: &Key, present: &Stored, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        either!(self, remote => remote.replace(key, present, stored))
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        either!(self, remote => remote.is_alive(born, tags))
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        either!(self, remote => remote.invalidate(invalidation))
    }

    async fn hold_tags(&self, tags: &[Tag], writer: u64, life: Duration) -> Result<(), Error> {
        either!(self, remote => remote.hold_tags(tags, writer, life))
    }

    async fn release_tags(&self, tags: &[Tag], writer: u64) -> Result<(), Error> {
        either!(self, remote => remote.release_tags(tags, writer))
    }

    async fn epoch(&self) -> Result<Epoch, Error> {
        either!(self, remote => remote.epoch())
    }

    fn reads_are_exact(&self) -> bool {
        match self {
            Self::Single(single) => single.reads_are_exact(),
            Self::Cluster(cluster) => cluster.reads_are_exact(),
        }
    }

    async fn set_mode(&self, mode: CacheMode) -> Result<(), Error> {
        either!(self, remote => remote.set_mode(mode))
    }

    fn mode(&self) -> &SharedMode {
        match self {
            Self::Single(single) => single.mode(),
            Self::Cluster(cluster) => cluster.mode(),
        }
    }

    fn reset(&self) {
        match self {
            Self::Single(single) => single.reset(),
            Self::Cluster(cluster) => cluster.reset(),
        }
    }

    fn servers(&self) -> Vec<StoreServer> {
        match self {
            Self::Single(single) => single.servers(),
            Self::Cluster(cluster) => cluster.servers(),
        }
    }

    async fn find_servers(&self) -> Result<(), Error> {
        either!(self, remote => remote.find_servers())
    }
}

impl FetchLocks for Topology {
    async fn lock_fetch(&self, key: &Key, life: Duration) -> Result<FetchLock, Error> {
        either!(self, remote => remote.lock_fetch(key, life))
    }

    async fn unlock_fetch(&self, key: &Key) -> Result<(), Error> {
        either!(self, remote => remote.unlock_fetch(key))
    }
}

forward_backend!(Redis {
    async fn install_function(&self) -> Result<(), Error> {
        Redis::install_function(self).await
    }
});

#[async_trait]
impl SharedStore for Redis {
    async fn epoch(&self) -> Result<Epoch, Error> {
        self.store.read(self.store.remote().clock()).await
    }

    fn is_suspended(&self) -> bool {
        self.store.is_open()
    }
}

#[async_trait]
impl InvalidationFeed for Redis {
    async fn invalidations_since(&self, last: Option<u64>) -> Result<FeedBatch, Error> {
        let topology = self.store.remote();
        match last {
            Some(last) => self.store.read_in_background(feed::POLL_TIMEOUT, topology.invalidations_since(last)).await,
            None => self.store.read(topology.position()).await,
        }
    }

    async fn announce_lease(&self, span: Duration, hold: Duration) -> Result<(), Error> {
        self.store.read_in_background(feed::POLL_TIMEOUT, self.store.remote().announce_lease(span, hold)).await
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (topology, names) = match self.store.remote() {
            Topology::Single(single) => (single.topology(), single.names()),
            Topology::Cluster(cluster) => ("cluster", &cluster.registers().names),
        };
        f.debug_struct("Redis")
            .field("topology", &topology)
            .field("key_prefix", &names.key_prefix)
            .field("suspended", &self.is_suspended())
            .finish_non_exhaustive()
    }
}
