//! The sentinels that report the primary.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult,
    aio::MultiplexedConnection, pipe,
};
use tokio::time::{Instant, sleep_until};

use super::{tls::TlsRoots, url::SentinelUrl};
use crate::{backend::store_stats::StoreServer, error::Error};

/// The sentinels of a primary.
pub(super) struct Sentinels {
    sentinels: Vec<Sentinel>,
    service: String,
    server: ConnectionInfo,
    tls_roots: TlsRoots,
    /// The latest primary, and the time at which it replaced another one.
    found: Mutex<Option<(Arc<Primary>, Option<Instant>)>>,
}

struct Sentinel {
    client: Client,
    config: AsyncConnectionConfig,
    connection: Mutex<Option<MultiplexedConnection>>,
}

/// A server that the sentinels report as the primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Primary {
    /// The number of the failover that promoted it.
    pub(super) config_epoch: u64,
    host: String,
    port: u16,
}

/// The interval at which each node queries the sentinels.
pub(super) const PERIOD: Duration = Duration::from_millis(200);
/// The minimum time between a failover and the return of an invalidation. By then, every node that reaches a sentinel has left the former
/// primary.
const SETTLED: Duration = Duration::from_millis(500);
/// The time limit of a query.
const QUERY_TIMEOUT: Duration = Duration::from_millis(500);

impl Sentinels {
    pub(super) fn new(url: SentinelUrl, tls_roots: TlsRoots, limit: Duration) -> Result<Self, Error> {
        let SentinelUrl { sentinels, service, server } = url;
        let limit = limit.min(QUERY_TIMEOUT);
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(limit)).set_response_timeout(Some(limit));
        let sentinel = |info: ConnectionInfo| {
            let client = Client::open(info)
                .map_err(|error| Error::invalid_input("the addresses of the sentinels are not valid").with_source(error))?;
            Ok(Sentinel { client: tls_roots.single(client)?, config: config.clone(), connection: Mutex::default() })
        };
        let sentinels = sentinels.into_iter().map(sentinel).collect::<Result<_, Error>>()?;
        Ok(Self { sentinels, service, server, tls_roots, found: Mutex::default() })
    }

    /// Returns the primary as reported by the sentinel with the highest config epoch.
    pub(super) async fn primary(&self) -> RedisResult<Arc<Primary>> {
        let mut failure = None;
        let answers = join_all(self.sentinels.iter().map(|sentinel| sentinel.query(&self.service))).await;
        let latest = answers.into_iter().filter_map(|answer| answer.map_err(|error| failure = Some(error)).ok());
        match latest.max_by_key(|primary| primary.config_epoch) {
            Some(primary) => Ok(self.find(primary)),
            None => Err(failure.unwrap_or_else(|| (ErrorKind::EmptySentinelList, "the URL names no sentinels").into())),
        }
    }

    /// Returns whether most sentinels still report this server as the primary, and none reports another one. Shortly after a failover, it
    /// waits until other nodes have noticed it.
    pub(super) async fn confirm(&self, primary: &Primary) -> RedisResult<bool> {
        if let Some(since) = self.found_since(primary) {
            sleep_until(since + SETTLED).await;
        }
        let mut answers: FuturesUnordered<_> = self.sentinels.iter().map(|sentinel| sentinel.query(&self.service)).collect();
        let (mut agree, mut failure) = (0, None);
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(answer) if answer == *primary => agree += 1,
                Ok(_) => return Ok(false),
                Err(error) => failure = Some(error),
            }
            if agree * 2 > self.sentinels.len() {
                return Ok(true);
            }
        }
        Err(failure.unwrap_or_else(|| (ErrorKind::EmptySentinelList, "the URL names no sentinels").into()))
    }

    /// Returns a client for this server.
    pub(super) fn client(&self, primary: &Primary) -> RedisResult<Client> {
        let (host, port) = (primary.host.clone(), primary.port);
        let address = match self.server.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        let client = Client::open(self.server.clone().set_addr(address))?;
        let invalid = |error: Error| RedisError::from((ErrorKind::InvalidClientConfig, "TLS", error.to_string()));
        self.tls_roots.single(client).map_err(invalid)
    }

    /// Returns the address of the latest primary that was reported.
    pub(super) fn reported(&self) -> Option<String> {
        self.found().as_ref().map(|(primary, _)| format!("{}:{}", primary.host, primary.port))
    }

    /// Returns the sentinels themselves.
    pub(super) fn servers(&self) -> impl Iterator<Item = StoreServer> {
        self.sentinels.iter().map(|sentinel| {
            let address = sentinel.client.get_connection_info().addr().to_string();
            StoreServer::new(address, "sentinel", Some(sentinel.connection().is_some()))
        })
    }

    fn find(&self, primary: Primary) -> Arc<Primary> {
        let mut found = self.found();
        match &*found {
            Some((known, _)) if **known == primary => Arc::clone(known),
            known => {
                let since = known.is_some().then(Instant::now);
                Arc::clone(&found.insert((Arc::new(primary), since)).0)
            }
        }
    }

    fn found_since(&self, primary: &Primary) -> Option<Instant> {
        self.found().as_ref().filter(|(found, _)| **found == *primary)?.1
    }

    fn found(&self) -> MutexGuard<'_, Option<(Arc<Primary>, Option<Instant>)>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sentinel {
    async fn query(&self, service: &str) -> RedisResult<Primary> {
        if let Some(connection) = self.connection() {
            match query_primary(connection, service).await {
                // The connection was closed, or its runtime has ended.
                Err(error) if error.is_io_error() => *self.lock() = None,
                answer => return answer,
            }
        }
        let connection = self.client.get_multiplexed_async_connection_with_config(&self.config).await?;
        *self.lock() = Some(connection.clone());
        query_primary(connection, service).await
    }

    fn connection(&self) -> Option<MultiplexedConnection> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<MultiplexedConnection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the address and the config epoch of the primary. The first command returns the promoted replica's address as soon as the config
/// epoch has changed; `SENTINEL MASTER` alone would return the former primary's address for longer.
async fn query_primary(mut connection: MultiplexedConnection, service: &str) -> RedisResult<Primary> {
    let mut commands = pipe();
    commands.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(service);
    commands.cmd("SENTINEL").arg("MASTER").arg(service);
    let (address, master): (Option<(String, u16)>, HashMap<String, String>) = commands.query_async(&mut connection).await?;
    let unknown = || RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, "the sentinel does not know the primary"));
    let (host, port) = address.ok_or_else(unknown)?;
    let config_epoch = master.get("config-epoch").and_then(|epoch| epoch.parse().ok()).ok_or_else(unknown)?;
    Ok(Primary { config_epoch, host, port })
}

impl fmt::Debug for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sentinels").field("service", &self.service).finish_non_exhaustive()
    }
}
