//! The commands that a connection has not sent, and the replies that it expects.

use std::{
    collections::VecDeque,
    fmt, io, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::BytesMut;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::{
    item_key::ItemKey,
    meta_protocol::{Cas, Reply, get},
};
use crate::{
    backend::remote::shared_read::{JoinableReads, PendingRead, SharedRead},
    error::Error,
};

/// The state that the callers of a connection share with its driver.
pub(super) struct ConnectionState {
    pub(super) address: Arc<str>,
    pub(super) id: u16,
    queue: Mutex<Queue>,
    /// Notified when commands are queued while the driver has none to send.
    pub(super) wake: Notify,
}

#[derive(Default)]
pub(super) struct Queue {
    pub(super) outgoing: BytesMut,
    /// Whether the driver was notified of the commands in `outgoing`.
    pub(super) is_notified: bool,
    /// The shared reads in `outgoing`, which further callers may join.
    pub(super) joinable: JoinableReads<ItemKey, Reply>,
    /// The recipients of the next replies, in the order of their commands.
    waiting: VecDeque<Waiting>,
    /// The bytes of commands without a reply, whether sent or not.
    pub(super) unanswered: usize,
    /// The number of recipients that were added, and of those that have received all of their replies.
    pub(super) queued: u64,
    pub(super) answered: u64,
    pub(super) closed: Option<Closed>,
}

pub(super) struct Closed {
    reason: Arc<io::Error>,
    pub(super) at: Instant,
}

/// Commands without a reply, and the recipient of their replies.
pub(super) struct Waiting {
    /// The number of replies that are missing.
    pub(super) commands: usize,
    pub(super) bytes: usize,
    pub(super) to: Recipient,
}

/// The recipient of one or more replies.
pub(super) enum Recipient {
    /// One caller, with the replies received so far.
    One(Vec<Reply>, oneshot::Sender<Vec<Reply>>),
    /// All callers of a shared read.
    All(PendingRead<ItemKey, Reply>),
}

impl Queue {
    /// Queues `commands` commands, which `write` writes, at least one.
    pub(super) fn push(&mut self, commands: usize, write: impl FnOnce(&mut BytesMut), to: Recipient) {
        debug_assert_ne!(commands, 0, "the recipient would wait for the reply to a later command");
        let before = self.outgoing.len();
        write(&mut self.outgoing);
        let bytes = self.outgoing.len() - before;
        self.unanswered += bytes;
        self.queued += 1;
        self.waiting.push_back(Waiting { commands, bytes, to });
    }

    /// Joins the read of an item, or queues one if there is none that has not been sent.
    pub(super) fn read(&mut self, key: &ItemKey) -> SharedRead<ItemKey, Reply> {
        if let Some(read) = self.joinable.join(key) {
            return read;
        }
        let (read, pending) = self.joinable.add(key.clone());
        self.push(1, |into| get(into, key.as_bytes(), Cas::Omitted), Recipient::All(pending));
        read
    }

    /// Removes the recipient of the next reply. Most expect one reply, and are counted as answered here.
    pub(super) fn next(&mut self) -> Option<Waiting> {
        let waiting = self.waiting.pop_front()?;
        if waiting.commands == 1 {
            self.count(waiting.bytes);
        }
        Some(waiting)
    }

    /// Counts a recipient as answered, whose commands have this size.
    pub(super) fn count(&mut self, bytes: usize) {
        self.unanswered -= bytes;
        self.answered += 1;
    }
}

impl ConnectionState {
    pub(super) fn new(address: Arc<str>, id: u16) -> Self {
        Self { address, id, queue: Mutex::default(), wake: Notify::new() }
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connection; every recipient receives an error. The first reason is kept.
    pub(super) fn close(&self, reason: io::Error) {
        let mut queue = self.queue();
        queue.closed.get_or_insert_with(|| Closed { reason: Arc::new(reason), at: Instant::now() });
        queue.outgoing = BytesMut::new();
        let left = (mem::take(&mut queue.waiting), mem::take(&mut queue.joinable));
        // Callers that are woken by the drop look at the queue.
        drop(queue);
        drop(left);
        self.wake.notify_one();
    }

    /// Returns the error for callers of a connection that has ended.
    pub(super) fn ended(&self, queue: &Queue) -> Error {
        let error = Error::unavailable(format!("no connection to memcached at {}", self.address));
        match &queue.closed {
            Some(closed) => error.with_source(Arc::clone(&closed.reason)),
            None => error,
        }
    }
}

impl fmt::Debug for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("address", &self.address).finish_non_exhaustive()
    }
}
