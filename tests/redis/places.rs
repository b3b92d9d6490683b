use std::time::Duration;

use larder::{Cache, Memory, Redis, RedisBuilder, Tiered};

use crate::servers::redis::{Cluster, Redis as Server, Sentinel};

/// Every way to use Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Single,
    /// A connection that belongs to the application.
    Manager,
    Sentinel,
    Cluster,
    TieredStrict,
    TieredLease,
    TieredCluster,
}

pub(crate) const PLACES: &[Place] = &[
    Place::Single,
    Place::Manager,
    Place::Sentinel,
    Place::Cluster,
    Place::TieredStrict,
    Place::TieredLease,
    Place::TieredCluster,
];

/// Servers, and the way to them.
pub(crate) struct Servers {
    place: Place,
    running: Running,
}

pub(crate) enum Running {
    Single(Server),
    Sentinel(Sentinel),
    Cluster(Cluster),
}

impl Place {
    pub(crate) fn start(self) -> Servers {
        let running = match self {
            Self::Single | Self::Manager | Self::TieredStrict | Self::TieredLease => Running::Single(Server::start()),
            Self::Sentinel => Running::Sentinel(Sentinel::start()),
            Self::Cluster | Self::TieredCluster => Running::Cluster(Cluster::start()),
        };
        Servers { place: self, running }
    }
}

impl Servers {
    pub(crate) fn url(&self) -> String {
        match &self.running {
            Running::Single(server) => server.url(),
            Running::Sentinel(sentinel) => sentinel.url(),
            Running::Cluster(cluster) => cluster.url(),
        }
    }

    /// A node of its own, with a connection of its own.
    pub(crate) async fn node(&self) -> Cache {
        let near = Memory::new(16 << 20);
        match self.place {
            Place::Single | Place::Sentinel | Place::Cluster => Cache::new(self.redis().await),
            Place::Manager => {
                let client = redis::Client::open(self.url()).unwrap();
                let manager = redis::aio::ConnectionManager::new(client).await.unwrap();
                Cache::new(patient().from_connection(manager))
            }
            Place::TieredStrict | Place::TieredCluster => Cache::new(Tiered::new(near, self.redis().await)),
            Place::TieredLease => Cache::new(Tiered::new(near, self.redis().await).lease(Duration::from_secs(1))),
        }
    }

    async fn redis(&self) -> Redis {
        patient().connect(&self.url()).await.unwrap()
    }
}

/// On a busy machine, the limits of every day would make a test of something else fail.
pub(crate) fn patient() -> RedisBuilder {
    let limit = Duration::from_secs(10);
    Redis::builder().read_timeout(limit).store_timeout(limit).invalidate_timeout(limit).connect_timeout(limit)
}
