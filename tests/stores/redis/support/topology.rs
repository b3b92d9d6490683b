use std::{
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use deadpool_redis::{Config, PoolConfig, PoolError, Runtime};
use futures_util::future::{BoxFuture, FutureExt as _};
use larder::{Cache, Memory, Redis, RedisBuilder, Tiered};
use redis::{
    Client, Cmd, ToRedisArgs,
    aio::{ConnectionManager, ConnectionManagerConfig},
    cmd,
};
use tokio::time::sleep;

use crate::servers::{
    process::eventually,
    redis::{Cluster, Redis as Server, Sentinel},
};

/// Every way to use Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Single,
    /// A connection that belongs to the application.
    Manager,
    /// A pool that belongs to the application.
    Pool,
    Sentinel,
    Cluster,
    TieredStrict,
    TieredLease,
    TieredCluster,
}

/// Places that stand on the same servers stand together.
pub(crate) const PLACES: [&[Place]; 3] = [
    &[Place::Single, Place::Manager, Place::Pool, Place::TieredStrict, Place::TieredLease],
    &[Place::Sentinel],
    &[Place::Cluster, Place::TieredCluster],
];

/// For how long a copy may be used after another node has invalidated it, where copies are used without asking.
pub(crate) const LEASE: Duration = Duration::from_millis(400);

/// Servers, and a namespace on them.
#[derive(Debug)]
pub(crate) struct Site<'s> {
    pub(crate) place: Place,
    pub(crate) namespace: String,
    running: &'s Running,
}

#[derive(Debug)]
enum Running {
    Single(Server),
    Sentinel(Sentinel),
    Cluster(Cluster),
}

/// One node of an application.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) cache: Cache,
    pub(crate) redis: Redis,
}

/// Runs a test in every place, in each on servers that are its own, while other places use others.
pub(crate) fn everywhere(test: impl AsyncFn(&Site<'_>) + Sync) {
    thread::scope(|scope| {
        for places in PLACES {
            let test = &test;
            scope.spawn(move || {
                let running = Running::start(places[0]);
                for &place in places {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(test(&Site::new(place, &running)));
                }
            });
        }
    });
}

impl Running {
    fn start(place: Place) -> Self {
        match place {
            Place::Single | Place::Manager | Place::Pool | Place::TieredStrict | Place::TieredLease => {
                Self::Single(Server::start())
            }
            Place::Sentinel => Self::Sentinel(Sentinel::start()),
            Place::Cluster | Place::TieredCluster => Self::Cluster(Cluster::start()),
        }
    }
}

impl<'s> Site<'s> {
    fn new(place: Place, running: &'s Running) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let namespace = format!("site-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        Self { place, namespace, running }
    }

    /// The same servers under a namespace where nothing is stored yet.
    pub(crate) fn apart(&self) -> Self {
        Self::new(self.place, self.running)
    }

    pub(crate) fn url(&self) -> String {
        match self.running {
            Running::Single(server) => server.url(),
            Running::Sentinel(sentinel) => sentinel.url(),
            Running::Cluster(cluster) => cluster.url(),
        }
    }

    /// Two nodes, each with a connection of its own.
    pub(crate) async fn nodes(&self) -> (Cache, Cache) {
        (self.node().await.cache, self.node().await.cache)
    }

    pub(crate) async fn node(&self) -> Node {
        self.node_with(patient()).await
    }

    pub(crate) async fn node_with(&self, builder: RedisBuilder) -> Node {
        let builder = builder.key_prefix(&self.namespace);
        let redis = match self.place {
            Place::Manager => builder.from_connection(manager(&self.url()).await),
            Place::Pool => builder.from_connector(deadpool(&self.url(), 4)),
            _ => builder.connect(&self.url()).await.unwrap(),
        };
        // On a busy machine sentinels may not name the primary when they are first asked.
        eventually("the node has found its servers", async || !redis.is_suspended()).await;
        let near = Memory::new(16 << 20);
        let cache = match self.place {
            Place::Single | Place::Manager | Place::Pool | Place::Sentinel | Place::Cluster => Cache::new(redis.clone()),
            Place::TieredStrict | Place::TieredCluster => Cache::new(Tiered::new(near, redis.clone())),
            Place::TieredLease => Cache::new(Tiered::new(near, redis.clone()).lease(LEASE)),
        };
        Node { cache, redis }
    }

    /// The servers that are written to.
    pub(crate) fn primaries(&self) -> Vec<&'s Server> {
        match self.running {
            Running::Single(server) => vec![server],
            Running::Sentinel(sentinel) => vec![&sentinel.primary],
            Running::Cluster(cluster) => cluster.nodes.iter().collect(),
        }
    }

    /// Runs a command on each server; those that have nothing to do with its key do nothing.
    pub(crate) fn run_everywhere(&self, command: &Cmd) {
        self.primaries().iter().for_each(|server| _ = command.exec(&mut server.connection()));
    }

    pub(crate) fn delete(&self, key: impl ToRedisArgs) {
        self.run_everywhere(cmd("DEL").arg(key));
    }

    /// The keys of this namespace, each with the server that has it.
    pub(crate) fn keys(&self) -> Vec<(&'s Server, Vec<u8>)> {
        let marked = |key: &Vec<u8>| key.windows(self.namespace.len()).any(|part| part == self.namespace.as_bytes());
        let of = |server: &'s Server| all_keys(server).into_iter().filter(marked).map(move |key| (server, key));
        self.primaries().into_iter().flat_map(of).collect()
    }

    pub(crate) fn clock(&self) -> String {
        format!("{{{}}}:clock", self.namespace)
    }

    pub(crate) fn stream(&self) -> String {
        format!("{{{}}}:stream", self.namespace)
    }

    /// What the record of a tag is called that an application names so.
    pub(crate) fn record(&self, tag: &str) -> String {
        format!("{}:t:t:{tag}", self.namespace)
    }

    /// The keys of entries.
    pub(crate) fn entries(&self) -> Vec<(&'s Server, Vec<u8>)> {
        let prefix = format!("{}:e:", self.namespace);
        self.keys().into_iter().filter(|(_, key)| key.starts_with(prefix.as_bytes())).collect()
    }

    /// Where copies are used without asking, another node may use them for a while.
    pub(crate) async fn lease_ends(&self) {
        if self.place == Place::TieredLease {
            // The lease is measured by the system's own clock.
            sleep(LEASE + Duration::from_millis(10)).await;
        }
    }
}

/// A connection as an application has it, which waits longer than the tests do.
pub(crate) async fn manager(url: &str) -> ConnectionManager {
    let config = ConnectionManagerConfig::new().set_response_timeout(Some(Duration::from_secs(20)));
    ConnectionManager::new_with_config(Client::open(url).unwrap(), config).await.unwrap()
}

/// Lends the connections of a pool of so many.
pub(crate) fn deadpool(
    url: &str,
    connections: usize,
) -> impl Fn() -> BoxFuture<'static, Result<deadpool_redis::Connection, PoolError>> + Send + Sync + use<> {
    let mut config = Config::from_url(url);
    config.pool = Some(PoolConfig::new(connections));
    let pool = config.create_pool(Some(Runtime::Tokio1)).unwrap();
    move || {
        let pool = pool.clone();
        async move { pool.get().await }.boxed()
    }
}

/// Time limits that a busy machine does not exceed.
pub(crate) fn patient() -> RedisBuilder {
    within(Duration::from_secs(10))
}

/// A store that gives up after `limit`.
pub(crate) fn within(limit: Duration) -> RedisBuilder {
    Redis::builder().read_timeout(limit).store_timeout(limit).invalidate_timeout(limit).connect_timeout(limit)
}

fn all_keys(server: &Server) -> Vec<Vec<u8>> {
    let (mut cursor, mut all) = (0_u64, Vec::new());
    loop {
        let (next, keys): (u64, Vec<Vec<u8>>) = server.query(cmd("SCAN").arg(cursor).arg("COUNT").arg(10_000));
        all.extend(keys);
        if next == 0 {
            return all;
        }
        cursor = next;
    }
}
