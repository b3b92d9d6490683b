use std::{
    fmt,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value,
    aio::{ConnectionManager, MultiplexedConnection},
    sentinel::SentinelClient,
};
use tokio::sync::Mutex;

/// The way to one primary: a connection that is made when it is first needed, shared by all, and made anew after it broke.
///
/// It never retries, and never waits longer than for one connection: whoever asks has a limit of their own.
pub(super) struct Link {
    source: Source,
    current: RwLock<Option<Numbered>>,
    /// Held by the one that connects.
    connecting: Mutex<u64>,
    limit: Duration,
}

pub(super) enum Source {
    Client(Client),
    /// Whichever server the sentinels call the primary.
    Sentinel(Mutex<SentinelClient>),
    /// The application's own, which sees to its connections itself.
    Manager(ConnectionManager),
}

#[derive(Clone)]
struct Numbered {
    connection: MultiplexedConnection,
    number: u64,
}

impl Link {
    /// `limit` is for making a connection.
    pub(super) fn new(source: Source, limit: Duration) -> Self {
        Self { source, current: RwLock::default(), connecting: Mutex::new(0), limit }
    }

    /// Sends the commands at once and tells how each of them ended.
    pub(super) async fn run(&self, commands: &mut Pipeline) -> RedisResult<Vec<RedisResult<Value>>> {
        commands.ignore_errors();
        if let Source::Manager(manager) = &self.source {
            return commands.query_async(&mut manager.clone()).await;
        }
        let Numbered { mut connection, number } = self.connected().await?;
        let outcome: RedisResult<Vec<RedisResult<Value>>> = commands.query_async(&mut connection).await;
        let broken = match &outcome {
            Err(error) => breaks(error),
            Ok(replies) => replies.iter().any(|reply| reply.as_ref().is_err_and(breaks)),
        };
        if broken {
            self.forget(number);
        }
        outcome
    }

    /// A connection of its own, for commands that block.
    pub(super) async fn separate(&self) -> RedisResult<MultiplexedConnection> {
        // What blocks is limited by who asks.
        let config = self.config().set_response_timeout(None);
        match &self.source {
            Source::Client(client) => client.get_multiplexed_async_connection_with_config(&config).await,
            Source::Sentinel(client) => client.lock().await.get_async_connection_with_config(&config).await,
            Source::Manager(_) => Err((ErrorKind::Client, "an application's own connection cannot be doubled").into()),
        }
    }

    pub(super) fn is_own(&self) -> bool {
        !matches!(self.source, Source::Manager(_))
    }

    /// Gives the connection up; the next command makes a new one.
    pub(super) fn reset(&self) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn connected(&self) -> RedisResult<Numbered> {
        if let Some(current) = self.current() {
            return Ok(current);
        }
        let mut number = self.connecting.lock().await;
        if let Some(current) = self.current() {
            return Ok(current);
        }
        let config = self.config();
        let connection = match &self.source {
            Source::Client(client) => client.get_multiplexed_async_connection_with_config(&config).await?,
            Source::Sentinel(client) => client.lock().await.get_async_connection_with_config(&config).await?,
            Source::Manager(_) => return Err((ErrorKind::Client, "an application's own connection is not made here").into()),
        };
        *number += 1;
        let made = Numbered { connection, number: *number };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(made.clone());
        Ok(made)
    }

    fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new().set_connection_timeout(Some(self.limit)).set_response_timeout(None)
    }

    fn current(&self) -> Option<Numbered> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another may have made a new one meanwhile, which stays.
    fn forget(&self, number: u64) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| current.number == number) {
            *current = None;
        }
    }
}

/// Whether a connection is of no more use: it is broken, or leads to a server that is no primary any more.
fn breaks(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_unrecoverable_error()
        || matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown))
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.source {
            Source::Client(_) => "Link::Client",
            Source::Sentinel(_) => "Link::Sentinel",
            Source::Manager(_) => "Link::Manager",
        })
    }
}
