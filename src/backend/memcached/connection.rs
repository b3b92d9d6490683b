//! One connection to one server, shared by all who ask it something.
//!
//! Commands are sent in the order in which they were given, together with all that others gave meanwhile, and replies are handed
//! out in that order. Who no longer waits for a reply leaves a gap that is skipped when it comes. A connection on which anything
//! is out of order is given up whole, with everything that waits on it.

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
    question::Question,
    queue::{ConnectionState, Queue, Recipient},
};
use crate::error::Error;

/// A connection that is there, or on its way: what is sent before it is there goes out when it is.
pub(crate) struct Connection {
    shared: Arc<ConnectionState>,
}

/// Replies that are to come.
#[derive(Debug)]
pub(crate) struct Pending {
    replies: oneshot::Receiver<Vec<Reply>>,
    shared: Arc<ConnectionState>,
}

/// Answers that are to come, to questions that others may be asking too.
#[derive(Debug)]
pub(crate) struct Joined<const N: usize> {
    questions: [Question; N],
    shared: Arc<ConnectionState>,
}

/// How a connection is doing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Open,
    /// It has ended, after it had been of use.
    Lost,
    /// It has ended at that moment, and nothing ever came of it.
    Failed(Instant),
}

/// How many bytes of commands may wait for their replies: a server that stands still must not fill our memory.
pub(super) const MAX_UNANSWERED: usize = 64 << 20;

impl Connection {
    /// Begins to connect to `address`, `host:port`, and takes commands from now on.
    ///
    /// # Errors
    /// If there is no runtime to do it on.
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

    /// Which connection this is, among those of the last minutes.
    pub(crate) fn id(&self) -> u16 {
        self.shared.id
    }

    /// Sends `commands` commands, which `write` writes; each is going to have one reply.
    ///
    /// # Errors
    /// If the connection has ended, or so much waits on it that it takes no more.
    pub(crate) fn send(&self, commands: usize, write: impl FnOnce(&mut BytesMut)) -> Result<Pending, Error> {
        let (answer, replies) = oneshot::channel();
        let to = Recipient::One(Vec::with_capacity(commands), answer);
        let mut queue = self.queue()?;
        queue.ask(commands, write, to);
        self.notify(queue);
        Ok(Pending { replies, shared: Arc::clone(&self.shared) })
    }

    /// The same, behind the question for an item that all have in common, which is answered before the other commands.
    pub(crate) fn send_behind(
        &self,
        common: &ItemKey,
        commands: usize,
        write: impl FnOnce(&mut BytesMut),
    ) -> Result<(Question, Pending), Error> {
        let (answer, replies) = oneshot::channel();
        let to = Recipient::One(Vec::with_capacity(commands), answer);
        let mut queue = self.queue()?;
        let common = queue.join(common);
        queue.ask(commands, write, to);
        self.notify(queue);
        Ok((common, Pending { replies, shared: Arc::clone(&self.shared) }))
    }

    /// Asks for items; together with all who ask for the same one before that is sent, so that nobody is told how it was before
    /// he asked.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub(crate) fn join<const N: usize>(&self, names: [&ItemKey; N]) -> Result<Joined<N>, Error> {
        let mut queue = self.queue()?;
        let questions = names.map(|name| queue.join(name));
        self.notify(queue);
        Ok(Joined { questions, shared: Arc::clone(&self.shared) })
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
        let was_told = mem::replace(&mut queue.told, true);
        drop(queue);
        if !was_told {
            self.shared.wake.notify_one();
        }
    }

    /// Gives it up; who waits on it is told so.
    pub(crate) fn close(&self) {
        self.shared.close(io::ErrorKind::ConnectionAborted.into());
    }

    /// Why it has ended, as an error for those who would have used it.
    pub(crate) fn ended(&self) -> Error {
        self.shared.ended(&self.shared.queue())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.close(io::Error::other("nobody needs it any more"));
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl Pending {
    /// The replies, as many as there were commands, and in their order. Versions are those of this [connection](Connection::id).
    ///
    /// # Errors
    /// If the connection ended first; the commands may have been carried out or not.
    pub(crate) async fn replies(self) -> Result<Vec<Reply>, Error> {
        let Self { replies, shared } = self;
        let replies = replies.await.map_err(|_| shared.ended(&shared.queue()))?;
        Ok(replies.into_iter().map(|reply| reply.scoped_to(shared.id)).collect())
    }
}

impl<const N: usize> Joined<N> {
    /// The questions, each with its reply.
    ///
    /// # Errors
    /// If the connection ended first.
    pub(crate) async fn answered(self) -> Result<[Question; N], Error> {
        // The last one first, with which the others are there, most likely: one waking for all.
        for question in self.questions.iter().rev() {
            question.answered().await;
            if question.reply().is_none() {
                return Err(self.shared.ended(&self.shared.queue()));
            }
        }
        Ok(self.questions)
    }
}
