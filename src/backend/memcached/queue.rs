//! What is to be sent, and who waits for what.

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
    question::{Asked, Question, Questions},
};
use crate::error::Error;

/// What the end that asks and the end that moves bytes have in common.
pub(super) struct ConnectionState {
    pub(super) address: Arc<str>,
    pub(super) id: u16,
    queue: Mutex<Queue>,
    /// Rung when there is something to send where there was nothing.
    pub(super) wake: Notify,
}

#[derive(Default)]
pub(super) struct Queue {
    pub(super) outgoing: BytesMut,
    /// Whether the sender knows that there is something.
    pub(super) told: bool,
    /// The questions in `outgoing`, which others may join.
    pub(super) open: Questions,
    /// Those whose replies have not begun to come, in the order of their commands.
    waiting: VecDeque<Waiting>,
    /// Bytes of commands that have not been answered, sent or not.
    pub(super) unanswered: usize,
    pub(super) asked: u64,
    pub(super) answered: u64,
    pub(super) closed: Option<Closed>,
}

pub(super) struct Closed {
    reason: Arc<io::Error>,
    pub(super) at: Instant,
}

pub(super) struct Waiting {
    /// How many replies are to come.
    pub(super) commands: usize,
    bytes: usize,
    pub(super) to: Recipient,
}

/// Who gets what is answered.
pub(super) enum Recipient {
    One(Vec<Reply>, oneshot::Sender<Vec<Reply>>),
    All(Asked),
}

impl Queue {
    pub(super) fn ask(&mut self, commands: usize, write: impl FnOnce(&mut BytesMut), to: Recipient) {
        debug_assert_ne!(commands, 0, "nothing would ever be answered");
        let before = self.outgoing.len();
        write(&mut self.outgoing);
        let bytes = self.outgoing.len() - before;
        self.unanswered += bytes;
        self.asked += 1;
        self.waiting.push_back(Waiting { commands, bytes, to });
    }

    /// The question for an item, asked anew unless it is there and has not been sent yet.
    pub(super) fn join(&mut self, name: &ItemKey) -> Question {
        if let Some(question) = self.open.get(name) {
            return question;
        }
        let (question, asked) = self.open.add(name);
        self.ask(1, |into| get(into, name.as_bytes(), Cas::Omitted), Recipient::All(asked));
        question
    }

    /// Whose reply comes next. One reply is all that most wait for: they have been answered with it.
    pub(super) fn next(&mut self) -> Option<Waiting> {
        let waiting = self.waiting.pop_front()?;
        if waiting.commands == 1 {
            self.count(&waiting);
        }
        Some(waiting)
    }

    /// Counts one who has been answered in full.
    pub(super) fn count(&mut self, waiting: &Waiting) {
        self.unanswered -= waiting.bytes;
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

    /// The first reason stays; everybody who waits learns of it.
    pub(super) fn close(&self, reason: io::Error) {
        let mut queue = self.queue();
        queue.closed.get_or_insert_with(|| Closed { reason: Arc::new(reason), at: Instant::now() });
        queue.outgoing = BytesMut::new();
        let left = (mem::take(&mut queue.waiting), mem::take(&mut queue.open));
        drop(queue);
        drop(left);
        self.wake.notify_one();
    }

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
