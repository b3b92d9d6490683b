//! The memcached servers, and which one holds an item.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::BytesMut;

use super::{
    connection::{Connection, ItemRead, Pending, SharedReads, Status},
    item_key::ItemKey,
    meta_protocol::{self, Cas, Condition, Reply, Value},
    rendezvous::Rendezvous,
};
use crate::{backend::store_stats::StoreServer, error::Error};

/// All servers, each with a connection once it is needed.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(super) servers: Box<[Server]>,
    rendezvous: Rendezvous,
}

/// A command about one item.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Command<'c> {
    Get {
        key: &'c ItemKey,
        cas: Cas,
    },
    Set {
        key: &'c ItemKey,
        value: Value<'c>,
        ttl: u32,
        condition: Condition,
    },
    Increment {
        key: &'c ItemKey,
    },
    /// Deletes the item if it has this CAS number.
    Delete {
        key: &'c ItemKey,
        cas: u64,
    },
}

impl Servers {
    /// Creates the servers at these addresses, `host:port`, without connecting to them.
    pub(crate) fn new(addresses: &[Arc<str>], connect_limit: Duration) -> Self {
        let rendezvous = Rendezvous::new(addresses.iter().map(|address| &**address));
        let servers = addresses.iter().map(|address| Server::new(address, connect_limit)).collect();
        Self { servers, rendezvous }
    }

    /// Sends all commands together, and returns their replies in order.
    ///
    /// # Errors
    /// If any of their servers is unreachable; some of the commands may have been carried out.
    pub(crate) async fn send(&self, commands: &[Command<'_>]) -> Result<Vec<Reply>, Error> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        if let [server] = &*self.servers {
            return server.send(commands.iter().copied())?.replies().await;
        }
        let holders: Vec<usize> = commands.iter().map(|command| self.rendezvous.server(command.key().hash())).collect();
        let mut pending: Vec<(usize, Pending)> = Vec::new();
        for (index, server) in self.servers.iter().enumerate() {
            let its = commands.iter().zip(&holders).filter(|(_, holder)| **holder == index).map(|(command, _)| *command);
            if its.clone().next().is_some() {
                pending.push((index, server.send(its)?));
            }
        }
        let mut replies: Vec<_> = self.servers.iter().map(|_| Vec::new().into_iter()).collect();
        for (index, pending) in pending {
            replies[index] = pending.replies().await?.into_iter();
        }
        Ok(holders.iter().filter_map(|holder| replies[*holder].next()).collect())
    }

    /// Sends one command and returns its reply.
    pub(crate) async fn send_one(&self, command: Command<'_>) -> Result<Reply, Error> {
        let replies = self.holder(command.key()).send(std::iter::once(command))?.replies().await?;
        replies.into_iter().next().ok_or_else(missing_reply)
    }

    /// Reads an item, shared with concurrent callers, and sends further commands. With one server, the item is read before the
    /// commands are carried out; with several, in any order.
    pub(crate) async fn send_after(&self, key: &ItemKey, commands: &[Command<'_>]) -> Result<(ItemRead, Vec<Reply>), Error> {
        let (read, replies) = match &*self.servers {
            [server] if !commands.is_empty() => {
                let (read, pending) = server.send_after(key, commands)?;
                (read, pending.replies().await?)
            }
            _ => {
                let read = self.holder(key).read([key])?;
                (read, self.send(commands).await?)
            }
        };
        let [item] = read.answered().await?;
        Ok((item, replies))
    }

    /// Reads two items in one round trip, each shared with concurrent callers.
    pub(crate) async fn read(&self, keys: [&ItemKey; 2]) -> Result<[ItemRead; 2], Error> {
        if let [server] = &*self.servers {
            return server.read(keys)?.answered().await;
        }
        let [one, other] = keys.map(|key| self.holder(key).read([key]));
        let (one, other) = (one?, other?);
        let ([one], [other]) = (one.answered().await?, other.answered().await?);
        Ok([one, other])
    }

    /// Returns whether commands are carried out in the order in which they are sent.
    pub(crate) fn are_ordered(&self) -> bool {
        self.servers.len() == 1
    }

    fn holder(&self, key: &ItemKey) -> &Server {
        &self.servers[self.rendezvous.server(key.hash())]
    }

    /// Waits until every server has replied.
    pub(crate) async fn ping(&self) -> Result<(), Error> {
        let pending: Vec<_> = self.servers.iter().map(Server::ping).collect::<Result<_, _>>()?;
        for pending in pending {
            pending.replies().await?;
        }
        Ok(())
    }

    /// Returns the servers, each with the state of its connection.
    pub(crate) fn known(&self) -> Vec<StoreServer> {
        let known = |server: &Server| {
            let connected = server.slot().connection.as_ref().and_then(|connection| connection.is_connected());
            StoreServer::new(&*server.address, "server", connected)
        };
        self.servers.iter().map(known).collect()
    }

    /// Closes all connections; the next commands open new ones.
    pub(crate) fn reset(&self) {
        self.servers.iter().for_each(Server::reset);
    }
}

/// The error for fewer replies than commands.
pub(super) fn missing_reply() -> Error {
    Error::unavailable("memcached sent fewer replies than commands")
}

impl<'c> Command<'c> {
    const fn key(&self) -> &'c ItemKey {
        match self {
            Self::Get { key, .. } | Self::Set { key, .. } | Self::Increment { key } | Self::Delete { key, .. } => key,
        }
    }

    fn write(&self, into: &mut BytesMut, connection: u16) {
        match *self {
            Self::Get { key, cas } => meta_protocol::get(into, key.as_bytes(), cas),
            Self::Set { key, value, ttl, condition } => {
                meta_protocol::set(into, key.as_bytes(), value, ttl, condition.scoped_to(connection));
            }
            Self::Increment { key } => meta_protocol::increment(into, key.as_bytes()),
            Self::Delete { key, cas } => meta_protocol::delete(into, key.as_bytes(), meta_protocol::cas_on(connection, cas)),
        }
    }
}

#[derive(Debug)]
pub(super) struct Server {
    address: Arc<str>,
    connect_limit: Duration,
    slot: Mutex<ConnectionSlot>,
}

/// The current connection to a server.
#[derive(Debug, Default)]
pub(super) struct ConnectionSlot {
    pub(super) connection: Option<Arc<Connection>>,
    /// The number of consecutive connections that failed.
    failures: u32,
}

/// The shortest and the longest pause between two attempts to connect to a server.
pub(super) const FIRST_BACKOFF: Duration = Duration::from_millis(10);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

impl Server {
    fn new(address: &Arc<str>, connect_limit: Duration) -> Self {
        Self { address: Arc::clone(address), connect_limit, slot: Mutex::default() }
    }

    fn send<'c>(&self, commands: impl Iterator<Item = Command<'c>> + Clone) -> Result<Pending, Error> {
        let connection = self.connection()?;
        connection.send(commands.clone().count(), |into| commands.for_each(|command| command.write(into, connection.id())))
    }

    fn send_after(&self, key: &ItemKey, commands: &[Command<'_>]) -> Result<(SharedReads<1>, Pending), Error> {
        let connection = self.connection()?;
        let id = connection.id();
        connection.send_after(key, commands.len(), |into| commands.iter().for_each(|command| command.write(into, id)))
    }

    fn read<const N: usize>(&self, keys: [&ItemKey; N]) -> Result<SharedReads<N>, Error> {
        self.connection()?.read(keys)
    }

    fn ping(&self) -> Result<Pending, Error> {
        self.connection()?.send(1, meta_protocol::no_op)
    }

    /// Closes the connection if it is open. The backoff of a failed one is kept.
    fn reset(&self) {
        let connection = self.slot().connection.clone();
        connection.filter(|connection| connection.status() == Status::Open).inspect(|connection| connection.close());
    }

    /// Returns the connection, or a new one if it has ended.
    fn connection(&self) -> Result<Arc<Connection>, Error> {
        let mut slot = self.slot();
        if let Some(connection) = &slot.connection {
            match connection.status() {
                Status::Open => return Ok(Arc::clone(connection)),
                Status::Lost => slot.failures = 0,
                Status::Failed(at) if at.elapsed() < slot.backoff() => return Err(connection.ended()),
                Status::Failed(_) => slot.failures = slot.failures.saturating_add(1),
            }
        }
        let connection = Arc::new(Connection::open(Arc::clone(&self.address), self.connect_limit)?);
        slot.connection = Some(Arc::clone(&connection));
        Ok(connection)
    }

    pub(super) fn slot(&self) -> MutexGuard<'_, ConnectionSlot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionSlot {
    /// Returns the pause before the next attempt to connect.
    fn backoff(&self) -> Duration {
        FIRST_BACKOFF.saturating_mul(1 << self.failures.min(10)).min(LONGEST_BACKOFF)
    }
}
