//! One connection to one server, shared by all callers.
//!
//! Commands are sent in the order in which they were queued. Commands that are queued at the same time are sent by one system call,
//! and replies are dispatched in the order of the commands. The reply to a caller that was dropped is skipped. After an error
//! of the protocol the connection is closed, and all of its callers receive an error.

use std::{
    fmt, io, mem,
    sync::{
        Arc, MutexGuard,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use tokio::{runtime::Handle, sync::oneshot, time::Instant};

use super::{
    driver::{Driver, drive},
    item_key::ItemKey,
    meta_protocol::Reply,
    queue::{ConnectionState, Queue, Recipient},
};
use crate::{
    backend::remote::shared_read::{AnsweredRead, SharedRead},
    error::Error,
};

/// A connection, established or not: commands wait until it is.
pub(crate) struct Connection {
    shared: Arc<ConnectionState>,
}

/// The replies to the commands of one caller, to be received.
#[derive(Debug)]
pub(crate) struct Pending {
    replies: oneshot::Receiver<Vec<Reply>>,
    shared: Arc<ConnectionState>,
}

/// Reads that other callers may share, to be received.
#[derive(Debug)]
pub(crate) struct SharedReads<const N: usize> {
    reads: [SharedRead<ItemKey, Reply>; N],
    shared: Arc<ConnectionState>,
}

/// The reply to a read that other callers may share.
pub(crate) type ItemRead = AnsweredRead<ItemKey, Reply>;

/// The status of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Open,
    /// It has ended after it received a reply.
    Lost,
    /// It has ended at this time, without any reply.
    Failed(Instant),
}

/// The maximum size of commands without replies, in bytes: bounds the memory that a stalled server costs.
pub(super) const MAX_UNANSWERED: usize = 64 << 20;

impl Connection {
    /// Begins to connect to `address`, `host:port`, and accepts commands.
    ///
    /// # Errors
    /// If there is no runtime for the connection's driver.
    pub(crate) fn open(address: Arc<str>, connect_limit: Duration) -> Result<Self, Error> {
        let runtime =
            Handle::try_current().map_err(|error| Error::unavailable("memcached needs a tokio runtime").with_source(error))?;
        static OPENED: AtomicU16 = AtomicU16::new(0);
        let id = OPENED.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::new(ConnectionState::new(address, id));
        runtime.spawn(drive(Driver::new(&shared), connect_limit));
        Ok(Self { shared })
    }

    pub(crate) fn status(&self) -> Status {
        let queue = self.shared.queue();
        match (&queue.closed, queue.answered) {
            (None, _) => Status::Open,
            (Some(closed), 0) => Status::Failed(closed.at),
            (Some(_), _) => Status::Lost,
        }
    }

    /// Returns whether the server has replied on this connection, and it is open; `None` before a reply.
    pub(crate) fn is_connected(&self) -> Option<bool> {
        let queue = self.shared.queue();
        match (&queue.closed, queue.answered) {
            (None, 0) => None,
            (closed, _) => Some(closed.is_none()),
        }
    }

    /// Returns the id of this connection, unique among the last 65,536.
    pub(crate) fn id(&self) -> u16 {
        self.shared.id
    }

    /// Sends `commands` commands, which `write` writes. Each has one reply.
    ///
    /// # Errors
    /// If the connection has ended, or the server does not keep up.
    pub(crate) fn send(&self, commands: usize, write: impl FnOnce(&mut BytesMut)) -> Result<Pending, Error> {
        let mut queue = self.queue()?;
        let pending = self.push(&mut queue, commands, write);
        self.notify(queue);
        Ok(pending)
    }

    /// Reads an item, shared with other callers, and sends further commands of one caller after it.
    pub(crate) fn send_after(
        &self,
        key: &ItemKey,
        commands: usize,
        write: impl FnOnce(&mut BytesMut),
    ) -> Result<(SharedReads<1>, Pending), Error> {
        let mut queue = self.queue()?;
        let reads = [queue.read(key)];
        let pending = self.push(&mut queue, commands, write);
        self.notify(queue);
        Ok((SharedReads { reads, shared: Arc::clone(&self.shared) }, pending))
    }

    /// Reads items. A read is shared with other callers that request the same item before its bytes are taken to be sent, so each
    /// reply is of after the call.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub(crate) fn read<const N: usize>(&self, keys: [&ItemKey; N]) -> Result<SharedReads<N>, Error> {
        let mut queue = self.queue()?;
        let reads = keys.map(|key| queue.read(key));
        self.notify(queue);
        Ok(SharedReads { reads, shared: Arc::clone(&self.shared) })
    }

    fn push(&self, queue: &mut Queue, commands: usize, write: impl FnOnce(&mut BytesMut)) -> Pending {
        let (answer, replies) = oneshot::channel();
        queue.push(commands, write, Recipient::One(Vec::with_capacity(commands), answer));
        Pending { replies, shared: Arc::clone(&self.shared) }
    }

    fn queue(&self) -> Result<MutexGuard<'_, Queue>, Error> {
        let queue = self.shared.queue();
        if queue.closed.is_some() {
            return Err(self.shared.ended(&queue));
        }
        if queue.unanswered > MAX_UNANSWERED {
            return Err(Error::unavailable(format!("memcached at {} does not keep up", self.shared.address)));
        }
        Ok(queue)
    }

    fn notify(&self, mut queue: MutexGuard<'_, Queue>) {
        let was_notified = mem::replace(&mut queue.is_notified, true);
        drop(queue);
        if !was_notified {
            self.shared.wake.notify_one();
        }
    }

    /// Closes the connection; all of its callers receive an error.
    pub(crate) fn close(&self) {
        self.shared.close(io::ErrorKind::ConnectionAborted.into());
    }

    /// Returns the error with the reason why the connection has ended.
    pub(crate) fn ended(&self) -> Error {
        self.shared.ended(&self.shared.queue())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.close(io::Error::other("the connection was dropped"));
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl Pending {
    /// Waits for the replies, one for each command and in their order. CAS numbers are scoped to this
    /// [connection](Connection::id).
    ///
    /// # Errors
    /// If the connection ended first; the commands may have been carried out or not.
    pub(crate) async fn replies(self) -> Result<Vec<Reply>, Error> {
        let Self { replies, shared } = self;
        let replies = replies.await.map_err(|_| shared.ended(&shared.queue()))?;
        Ok(replies.into_iter().map(|reply| reply.scoped_to(shared.id)).collect())
    }
}

impl<const N: usize> SharedReads<N> {
    /// Waits for the replies, in the order of the keys.
    ///
    /// # Errors
    /// If the connection ended first.
    pub(crate) async fn answered(self) -> Result<[ItemRead; N], Error> {
        let mut answered = [const { None }; N];
        // The last one first: the others usually have their replies by then, so the caller is woken once.
        for (read, slot) in self.reads.into_iter().zip(&mut answered).rev() {
            *slot = Some(read.answered().await.map_err(|_| self.shared.ended(&self.shared.queue()))?);
        }
        Ok(answered.map(|read| read.expect("the loop has filled every slot")))
    }
}
