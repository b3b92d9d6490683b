//! Stored responses in Redis, shared by all nodes that use it.

pub(crate) mod batch;
pub(crate) mod clock;
mod cluster;
pub(crate) mod cluster_registers;
pub(crate) mod connection;
pub(crate) mod error;
pub(crate) mod feed;
pub(crate) mod fetch_lock;
pub(crate) mod key_names;
mod memo;
mod options;
mod question;
pub(crate) mod script;
mod seen;
mod sentinels;
mod single;
pub(crate) mod snapshot;
pub(crate) mod tag_record;
mod tls;
mod url;

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use redis::{aio::ConnectionManager, cluster::ClusterClient};

use super::{
    FeedBatch, InvalidationFeed, SharedStore,
    contract::{Backend, FetchLock, Invalidation, PutOutcome, ReadOutcome, Receipt},
    remote::{FetchLocks, RemoteStore, Resilient},
};
use crate::{
    entry::{epoch::Epoch, stored::Stored},
    error::Error,
    key::Key,
    tag::Tag,
};
use cluster::Cluster;
use cluster_registers::ClusterRegisters;
use connection::{Connection, Source};
use key_names::KeyNames;
use options::Options;
use sentinels::Sentinels;
use single::Single;
use tls::TlsRoots;
use url::RedisUrl;

/// Stored responses in Redis, shared by every node that uses the same server and namespace.
///
/// The promise holds across all nodes. A hit takes one round trip, an invalidation one, whatever the number of entries; neither
/// `KEYS`, `SCAN` nor sets of keys are used, and each key but the clock has a time to live. Redis may evict whatever it
/// likes: that costs misses, never a stale answer. So does a failover to a replica that lacks what was acknowledged, the return of a
/// primary that was not told of it, a restart from an older snapshot, and `FLUSHALL`.
///
/// Reads fail open: when Redis is slow or away, handlers answer; a breaker sees to it that they need not wait first. An
/// invalidation that fails is an error, and is carried out as soon as Redis answers; until then this node uses nothing
/// from Redis.
///
/// It takes Redis 6.2 or later. Version 7 is recommended: on earlier ones each hit costs a few microseconds more on the server.
#[derive(Clone)]
pub struct Redis {
    store: Resilient<Topology>,
}

/// How a store in Redis is to be used; made by [`Redis::builder`].
#[derive(Debug, Clone)]
#[must_use = "it does nothing until it is connected"]
pub struct RedisBuilder {
    namespace: String,
    connect_limit: Duration,
    trust: TlsRoots,
    options: Options,
}

#[derive(Debug)]
enum Topology {
    Single(Box<Single>),
    Cluster(Box<Cluster>),
}

impl Redis {
    /// A store in the Redis that `url` names, with the defaults of [`RedisBuilder`].
    ///
    /// | URL | |
    /// |---|---|
    /// | `redis://user:password@host:6379/0` | one server |
    /// | `redis+sentinel://user:password@a:26379,b:26379/mymaster/0` | the primary that sentinels name; name all of them, since most must agree |
    /// | `redis+cluster://user:password@a:6379,b:6379` | a Redis Cluster |
    ///
    /// With `rediss` in place of `redis`, and the feature `redis-tls`, by TLS; `RedisBuilder::root_certificates` names an authority of
    /// your own.
    ///
    /// Redis need not be there yet: handlers answer until it is.
    ///
    /// # Errors
    /// If the URL cannot be read.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder().connect(url).await
    }

    /// A store over a connection that the application has already, say for its sessions. larder keeps to keys of its own
    /// namespace, and reconnects as the manager does.
    pub fn from_connection(connection: ConnectionManager) -> Self {
        Self::builder().from_connection(connection)
    }

    /// Settings to begin with.
    pub fn builder() -> RedisBuilder {
        RedisBuilder {
            namespace: "larder".to_owned(),
            connect_limit: Duration::from_secs(1),
            trust: TlsRoots::default(),
            options: Options::default(),
        }
    }

    /// Makes a function known to the server by which any other program can invalidate tags, safely and in one line:
    ///
    /// ```sh
    /// redis-cli FCALL larder_invalidate 0 larder posts post:7
    /// ```
    ///
    /// Behind the number of keys, none, stand the [namespace](RedisBuilder::namespace) and the tags, as the application names them.
    /// When it has answered, what was stored with one of the tags is used by no node any more (by a tiered one with a lease, when
    /// that has ended). Once is enough: the function is kept and replicated as data are. It takes Redis 7. A call with thousands of
    /// tags keeps the server busy for milliseconds: several calls with 1,000 each leave room for others.
    ///
    /// # Errors
    /// If the server cannot be reached or knows no functions; on a Cluster, whose functions reach only one node: let other programs call
    /// a route of the application there.
    pub async fn install_function(&self) -> Result<(), Error> {
        match self.store.remote() {
            Topology::Single(single) => self.store.ask(single.install_function()).await,
            Topology::Cluster(_) => Err(Error::invalid_input("a Cluster has no function for all of its nodes")),
        }
    }

    /// Whether Redis is not asked at present, because it failed.
    pub fn is_suspended(&self) -> bool {
        self.store.is_open()
    }

    /// How many values under larder's keys could not be used because they were damaged, or somebody else's.
    pub fn corrupt_values(&self) -> u64 {
        self.store.remote().options().corrupt.load(Ordering::Relaxed)
    }
}

impl RedisBuilder {
    /// What larder's keys begin with; default: `larder`. Caches with different namespaces know nothing of each other.
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// How long a look-up may take before the handler answers; default: 50 ms.
    pub fn read_timeout(mut self, limit: Duration) -> Self {
        self.options.limits.read = limit;
        self
    }

    /// How long storing a response may take before it is given up; default: 100 ms. The response's client waits as long.
    pub fn store_timeout(mut self, limit: Duration) -> Self {
        self.options.limits.store = limit;
        self
    }

    /// How long an invalidation may take before it counts as failed, or each 1,000 tags of a larger one; default: 1 s.
    pub fn invalidate_timeout(mut self, limit: Duration) -> Self {
        self.options.limits.invalidate = limit;
        self
    }

    /// How long making a connection may take; default: 1 s.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_limit = limit;
        self
    }

    /// How many failures in a row make larder leave Redis alone until it answers again; default: 5.
    pub fn failures(mut self, failures: u32) -> Self {
        self.options.limits.failures = failures.max(1);
        self
    }

    /// Compresses bodies of at least this many bytes with zstd, if that saves a tenth of them; default: 4 KiB, `None` turns
    /// compression off.
    ///
    /// Without the feature `zstd`, bodies are stored uncompressed, and an entry that another node compressed is a miss.
    #[cfg(feature = "zstd")]
    pub fn compress_from(mut self, bytes: Option<usize>) -> Self {
        self.options.compression.threshold = bytes;
        self
    }

    /// Calls an invalidation done only when so many replicas have it (`WAIT`); default: 0, none. Then even a failover that nobody
    /// notices in time loses no acknowledged invalidation.
    ///
    /// With fewer replicas than that, an invalidation is an error after four fifths of [`invalidate_timeout`](Self::invalidate_timeout)
    /// and, like every other that failed, carried out until they have it; until then this node uses nothing from Redis. While
    /// Redis waits for replicas, what else is asked on the same connection waits too, also what the application asks on one of its own:
    /// look-ups that take longer than [`read_timeout`](Self::read_timeout) are answered by the handler.
    pub fn durability(mut self, replicas: u32) -> Self {
        self.options.replicas = (replicas > 0).then_some(replicas);
        self
    }

    /// Connects; see [`Redis::connect`].
    ///
    /// # Errors
    /// If the URL or the namespace cannot be used.
    pub async fn connect(self, url: &str) -> Result<Redis, Error> {
        let names = KeyNames::new(&self.namespace)?;
        let place = RedisUrl::parse(url)?;
        self.trust.prepare(url)?;
        let topology = match place {
            RedisUrl::Single(client) => self.single(Source::Client(Box::new(self.trust.single(*client)?)), names),
            RedisUrl::Sentinel(watched) => {
                let sentinels = Sentinels::new(*watched, self.trust.clone(), self.connect_limit)?;
                self.single(Source::Sentinel(Arc::new(sentinels)), names)
            }
            RedisUrl::Cluster(urls) => self.cluster(urls, names)?,
        };
        let redis = self.guarded(topology);
        if let Err(error) = redis.store.ask(redis.store.remote().clock()).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "Redis is not there yet; handlers answer until it is");
            redis.store.distrust();
        }
        Ok(redis)
    }

    /// Uses a connection that is there; see [`Redis::from_connection`].
    ///
    /// # Panics
    /// If the namespace is empty or has braces.
    pub fn from_connection(self, connection: ConnectionManager) -> Redis {
        let names = KeyNames::new(&self.namespace).expect("a namespace has no braces and is not empty");
        let topology = self.single(Source::Manager(connection), names);
        self.guarded(topology)
    }

    fn single(&self, source: Source, names: KeyNames) -> Topology {
        Topology::Single(Box::new(Single::new(Connection::new(source, &names.clock, self.connect_limit), names, self.options.clone())))
    }

    fn cluster(&self, urls: Vec<String>, names: KeyNames) -> Result<Topology, Error> {
        if self.options.replicas.is_some() {
            return Err(Error::invalid_input(
                "`durability` is for one server or sentinels: a Cluster has no single replica to wait for",
            ));
        }
        let builder = ClusterClient::builder(urls).connection_timeout(self.connect_limit).retries(2);
        let client = self.trust.cluster(builder).build();
        let client = client.map_err(|error| Error::invalid_input("the URL names no Cluster").with_source(error))?;
        Ok(Topology::Cluster(Box::new(Cluster::new(ClusterRegisters::new(client, names, self.options.clone())))))
    }

    fn guarded(&self, topology: Topology) -> Redis {
        Redis { store: Resilient::new(topology, self.options.limits.clone()) }
    }
}

impl Topology {
    fn options(&self) -> &Options {
        match self {
            Self::Single(single) => single.options(),
            Self::Cluster(cluster) => cluster.options(),
        }
    }

    /// Reads the clock, as often and as cheaply as look-ups do.
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

    async fn position(&self) -> Result<FeedBatch, Error> {
        match self {
            Self::Single(single) => single.position().await,
            Self::Cluster(cluster) => cluster.registers().position().await,
        }
    }
}

/// What whichever it is does. What a Cluster does is in a box: it is large, and would make every look-up in a single server large.
macro_rules! whichever {
    ($topology:expr, $remote:ident => $does:expr) => {
        match $topology {
            Topology::Single($remote) => $does.await,
            Topology::Cluster($remote) => Box::pin($does).await,
        }
    };
}

impl RemoteStore for Topology {
    async fn get(&self, key: &Key, known: &[Tag], limit: Duration) -> Result<ReadOutcome, Error> {
        whichever!(self, remote => remote.get(key, known, limit))
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        whichever!(self, remote => remote.put(key, stored))
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        whichever!(self, remote => remote.is_alive(born, tags))
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        whichever!(self, remote => remote.invalidate(invalidation))
    }

    async fn epoch(&self) -> Result<Epoch, Error> {
        whichever!(self, remote => remote.epoch())
    }

    fn reset(&self) {
        match self {
            Self::Single(single) => single.reset(),
            Self::Cluster(cluster) => cluster.reset(),
        }
    }
}

impl FetchLocks for Topology {
    async fn lock_fetch(&self, key: &Key, life: Duration) -> Result<FetchLock, Error> {
        whichever!(self, remote => remote.lock_fetch(key, life))
    }

    async fn unlock_fetch(&self, key: &Key) {
        whichever!(self, remote => remote.unlock_fetch(key));
    }
}

#[async_trait]
impl Backend for Redis {
    async fn get(&self, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        self.store.get(key, known).await
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        self.store.put(key, stored).await
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        self.store.is_alive(born, tags).await
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        self.store.invalidate(invalidation).await
    }

    async fn lock_fetch(&self, key: &Key, life: Duration) -> Result<FetchLock, Error> {
        self.store.lock_fetch(key, life).await
    }

    async fn unlock_fetch(&self, key: &Key) {
        self.store.unlock_fetch(key).await;
    }
}

#[async_trait]
impl SharedStore for Redis {
    async fn epoch(&self) -> Result<Epoch, Error> {
        self.store.ask(self.store.remote().clock()).await
    }
}

#[async_trait]
impl InvalidationFeed for Redis {
    async fn invalidations_since(&self, last: Option<u64>) -> Result<FeedBatch, Error> {
        let topology = self.store.remote();
        match last {
            Some(last) => self.store.ask_aside(feed::LIMIT, topology.invalidations_since(last)).await,
            None => self.store.ask(topology.position()).await,
        }
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.store, f)
    }
}
