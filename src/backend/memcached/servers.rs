//! The servers, and who is asked what.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::BytesMut;

use super::{
    connection::{Connection, Joined, Pending, Status},
    item_key::ItemKey,
    meta_protocol::{self, Cas, Condition, Reply},
    question::Question,
    rendezvous::Rendezvous,
};
use crate::error::Error;

/// All servers, each with a connection when it is needed.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(super) servers: Box<[Server]>,
    ring: Rendezvous,
}

/// What one item's server is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Command<'c> {
    Get { name: &'c ItemKey, cas: Cas },
    Set { name: &'c ItemKey, data: &'c [u8], ttl: u32, condition: Condition },
    Increment { name: &'c ItemKey },
}

impl Servers {
    /// Servers at these addresses, `host:port`, none of which is asked anything yet.
    pub(crate) fn new(addresses: &[Arc<str>], connect_limit: Duration) -> Self {
        let ring = Rendezvous::new(addresses.iter().map(|address| &**address));
        let servers = addresses.iter().map(|address| Server::new(address, connect_limit)).collect();
        Self { servers, ring }
    }

    /// The replies to all commands, which are sent at once.
    ///
    /// # Errors
    /// If any of the servers concerned cannot be reached; some of the commands may have been carried out.
    pub(crate) async fn ask(&self, commands: &[Command<'_>]) -> Result<Vec<Reply>, Error> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        if let [server] = &*self.servers {
            return server.send(commands.iter().copied())?.replies().await;
        }
        let holders: Vec<usize> = commands.iter().map(|command| self.ring.server(command.name().hash())).collect();
        let mut asked: Vec<(usize, Pending)> = Vec::new();
        for (index, server) in self.servers.iter().enumerate() {
            let its = commands.iter().zip(&holders).filter(|(_, holder)| **holder == index).map(|(command, _)| *command);
            if its.clone().next().is_some() {
                asked.push((index, server.send(its)?));
            }
        }
        let mut answers: Vec<_> = self.servers.iter().map(|_| Vec::new().into_iter()).collect();
        for (index, pending) in asked {
            answers[index] = pending.replies().await?.into_iter();
        }
        Ok(holders.iter().filter_map(|holder| answers[*holder].next()).collect())
    }

    /// The same, behind the question for an item, asked once for all who ask it at the same time. With one server it is answered
    /// before the commands; with several, in any order.
    pub(crate) async fn ask_behind(&self, common: &ItemKey, commands: &[Command<'_>]) -> Result<(Reply, Vec<Reply>), Error> {
        if let [server] = &*self.servers
            && !commands.is_empty()
        {
            let (common, pending) = server.send_behind(common, commands)?;
            let replies = pending.replies().await?;
            // It was asked before them.
            return Ok((common.reply().cloned().ok_or_else(no_reply)?, replies));
        }
        let common = self.holder(common).join([common])?;
        let replies = self.ask(commands).await?;
        let [common] = common.answered().await?;
        Ok((common.reply().cloned().ok_or_else(no_reply)?, replies))
    }

    /// Questions for two items, answered; each is asked once for all who ask it at the same time.
    pub(crate) async fn ask_together(&self, names: [&ItemKey; 2]) -> Result<[Question; 2], Error> {
        if let [server] = &*self.servers {
            return server.join(names)?.answered().await;
        }
        let [one, other] = names.map(|name| self.holder(name).join([name]));
        let (one, other) = (one?, other?);
        let ([one], [other]) = (one.answered().await?, other.answered().await?);
        Ok([one, other])
    }

    /// Whether replies come in the order of commands.
    pub(crate) fn answer_in_order(&self) -> bool {
        self.servers.len() == 1
    }

    /// The reply to one command.
    pub(crate) async fn ask_one(&self, command: Command<'_>) -> Result<Reply, Error> {
        let replies = self.holder(command.name()).send(std::iter::once(command))?.replies().await?;
        replies.into_iter().next().ok_or_else(no_reply)
    }

    fn holder(&self, name: &ItemKey) -> &Server {
        &self.servers[self.ring.server(name.hash())]
    }

    /// Waits until every server has answered.
    pub(crate) async fn ping(&self) -> Result<(), Error> {
        let asked: Vec<_> = self.servers.iter().map(Server::ping).collect::<Result<_, _>>()?;
        for pending in asked {
            pending.replies().await?;
        }
        Ok(())
    }

    /// Gives up all connections.
    pub(crate) fn reset(&self) {
        self.servers.iter().for_each(Server::reset);
    }
}

fn no_reply() -> Error {
    Error::unavailable("memcached gave no reply")
}

impl<'c> Command<'c> {
    const fn name(&self) -> &'c ItemKey {
        match self {
            Self::Get { name, .. } | Self::Set { name, .. } | Self::Increment { name } => name,
        }
    }

    fn write(&self, into: &mut BytesMut, connection: u16) {
        match *self {
            Self::Get { name, cas } => meta_protocol::get(into, name.as_bytes(), cas),
            Self::Set { name, data, ttl, condition } => {
                meta_protocol::set(into, name.as_bytes(), data, ttl, condition.scoped_to(connection))
            }
            Self::Increment { name } => meta_protocol::increment(into, name.as_bytes()),
        }
    }
}

#[derive(Debug)]
pub(super) struct Server {
    address: Arc<str>,
    connect_limit: Duration,
    slot: Mutex<ConnectionSlot>,
}

/// The way to a server.
#[derive(Debug, Default)]
pub(super) struct ConnectionSlot {
    pub(super) connection: Option<Arc<Connection>>,
    /// How often in a row nothing came of connecting.
    failures: u32,
}

/// How long a server that could not be reached is left alone, at first and at most.
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

    fn send_behind(&self, common: &ItemKey, commands: &[Command<'_>]) -> Result<(Question, Pending), Error> {
        let connection = self.connection()?;
        let id = connection.id();
        connection.send_behind(common, commands.len(), |into| commands.iter().for_each(|command| command.write(into, id)))
    }

    fn join<const N: usize>(&self, names: [&ItemKey; N]) -> Result<Joined<N>, Error> {
        self.connection()?.join(names)
    }

    fn ping(&self) -> Result<Pending, Error> {
        self.connection()?.send(1, meta_protocol::no_op)
    }

    /// Gives up a connection on which nothing may come any more. One that never was there is left to its rest.
    fn reset(&self) {
        let connection = self.slot().connection.clone();
        connection.filter(|connection| connection.status() == Status::Open).inspect(|connection| connection.close());
    }

    /// The connection, a new one if the last has ended.
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
    /// How long the server is left alone after one more failure.
    fn backoff(&self) -> Duration {
        FIRST_BACKOFF.saturating_mul(1 << self.failures.min(10)).min(LONGEST_BACKOFF)
    }
}
