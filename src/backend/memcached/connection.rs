//! One connection to one server, shared by all who ask it something.
//!
//! Commands are sent in the order in which they were given, together with all that others gave meanwhile, and replies are handed
//! out in that order. Who no longer waits for a reply leaves a gap that is skipped when it comes. A connection on which anything
//! is out of order is given up whole, with everything that waits on it.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    io,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    runtime::Handle,
    sync::{Notify, oneshot},
    task::yield_now,
    time::{Instant, sleep, timeout},
};

use super::wire::{Reply, take_reply};
use crate::error::Error;

/// A connection that is there, or on its way: what is sent before it is there goes out when it is.
pub(crate) struct Connection {
    shared: Arc<Shared>,
}

/// Replies that are to come.
#[derive(Debug)]
pub(crate) struct Pending {
    replies: oneshot::Receiver<Vec<Reply>>,
    shared: Arc<Shared>,
}

/// How a connection is doing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    /// It has ended, after it had been of use.
    Lost,
    /// It has ended at that moment, and nothing ever came of it.
    Failed(Instant),
}

/// How long a server may owe an answer and say nothing at all before the connection is given up.
const STALL_LIMIT: Duration = Duration::from_secs(5);

/// How many bytes of commands may wait for their replies: a server that stands still must not fill our memory.
pub(super) const MAX_UNANSWERED: usize = 64 << 20;

/// How much is read at once, unless a longer value is on its way.
const READ: usize = 32 << 10;

impl Connection {
    /// Begins to connect to `address`, `host:port`, and takes commands from now on.
    ///
    /// # Errors
    /// If there is no runtime to do it on.
    pub(crate) fn open(address: Arc<str>, connect_limit: Duration) -> Result<Self, Error> {
        let runtime =
            Handle::try_current().map_err(|error| Error::unavailable("memcached needs a tokio runtime").with_source(error))?;
        static OPENED: AtomicU16 = AtomicU16::new(0);
        let line = OPENED.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::new(Shared { address, line, queue: Mutex::default(), wake: Notify::new() });
        runtime.spawn(drive(Driver(Arc::clone(&shared)), connect_limit));
        Ok(Self { shared })
    }

    pub(crate) fn state(&self) -> State {
        let queue = self.shared.queue();
        match (&queue.closed, queue.answered) {
            (None, _) => State::Open,
            (Some(closed), 0) => State::Failed(closed.at),
            (Some(_), _) => State::Lost,
        }
    }

    /// Which connection this is, among those of the last minutes.
    pub(crate) fn line(&self) -> u16 {
        self.shared.line
    }

    /// Sends `commands` commands, which `write` writes; each is going to have one reply.
    ///
    /// # Errors
    /// If the connection has ended, or so much waits on it that it takes no more.
    pub(crate) fn send(&self, commands: usize, write: impl FnOnce(&mut BytesMut)) -> Result<Pending, Error> {
        let (answer, replies) = oneshot::channel();
        let to = To::One(Vec::with_capacity(commands), answer);
        let mut queue = self.queue()?;
        queue.ask(commands, write, to);
        self.notify(queue);
        Ok(Pending { replies, shared: Arc::clone(&self.shared) })
    }

    /// The same, behind a question that all have in common, which `common` writes: it is asked once for all who send while it
    /// has not been sent yet. It is answered before their other commands, and after they have begun.
    pub(crate) fn send_behind(
        &self,
        common: impl FnOnce(&mut BytesMut),
        commands: usize,
        write: impl FnOnce(&mut BytesMut),
    ) -> Result<(Common, Pending), Error> {
        let (answer, replies) = oneshot::channel();
        let to = To::One(Vec::with_capacity(commands), answer);
        let mut queue = self.queue()?;
        let common = match &queue.common {
            Some(asked) => asked.clone(),
            None => {
                let asked = Common::default();
                queue.ask(1, common, To::All(asked.clone()));
                queue.common.insert(asked).clone()
            }
        };
        queue.ask(commands, write, to);
        self.notify(queue);
        Ok((common, Pending { replies, shared: Arc::clone(&self.shared) }))
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
        let was_told = std::mem::replace(&mut queue.told, true);
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
    /// The replies, as many as there were commands, and in their order. Versions are those of this [connection](Connection::line).
    ///
    /// # Errors
    /// If the connection ended first; the commands may have been carried out or not.
    pub(crate) async fn replies(self) -> Result<Vec<Reply>, Error> {
        let Self { replies, shared } = self;
        let replies = replies.await.map_err(|_| shared.ended(&shared.queue()))?;
        Ok(replies.into_iter().map(|reply| reply.on(shared.line)).collect())
    }
}

/// The answer to a question that several had in common.
#[derive(Debug, Clone, Default)]
pub(crate) struct Common(Arc<OnceLock<Reply>>);

impl Common {
    /// What was answered, once what was sent behind it has been.
    pub(crate) fn reply(&self) -> Option<Reply> {
        self.0.get().cloned()
    }
}

struct Shared {
    address: Arc<str>,
    line: u16,
    queue: Mutex<Queue>,
    /// Rung when there is something to send where there was nothing.
    wake: Notify,
}

#[derive(Default)]
struct Queue {
    outgoing: BytesMut,
    /// Whether the sender knows that there is something.
    told: bool,
    /// The question in `outgoing` that others may join.
    common: Option<Common>,
    /// Those whose replies have not begun to come, in the order of their commands.
    waiting: VecDeque<Waiting>,
    /// Bytes of commands that have not been answered, sent or not.
    unanswered: usize,
    asked: u64,
    answered: u64,
    closed: Option<Closed>,
}

struct Closed {
    reason: Arc<io::Error>,
    at: Instant,
}

struct Waiting {
    commands: usize,
    bytes: usize,
    to: To,
}

/// Who gets what is answered.
enum To {
    One(Vec<Reply>, oneshot::Sender<Vec<Reply>>),
    All(Common),
}

impl Queue {
    fn ask(&mut self, commands: usize, write: impl FnOnce(&mut BytesMut), to: To) {
        debug_assert_ne!(commands, 0, "nothing would ever be answered");
        let before = self.outgoing.len();
        write(&mut self.outgoing);
        let bytes = self.outgoing.len() - before;
        self.unanswered += bytes;
        self.asked += 1;
        self.waiting.push_back(Waiting { commands, bytes, to });
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first reason stays; everybody who waits learns of it.
    fn close(&self, reason: io::Error) {
        let mut queue = self.queue();
        queue.closed.get_or_insert_with(|| Closed { reason: Arc::new(reason), at: Instant::now() });
        queue.outgoing = BytesMut::new();
        let waiting = std::mem::take(&mut queue.waiting);
        drop(queue);
        drop(waiting);
        self.wake.notify_one();
    }

    fn ended(&self, queue: &Queue) -> Error {
        let error = Error::unavailable(format!("no connection to memcached at {}", self.address));
        match &queue.closed {
            Some(closed) => error.with_source(Arc::clone(&closed.reason)),
            None => error,
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The end of a connection that moves bytes. However it ends, also with its runtime, the connection is closed.
struct Driver(Arc<Shared>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.close(io::Error::other("its runtime is gone"));
    }
}

async fn drive(driver: Driver, connect_limit: Duration) {
    let shared = &*driver.0;
    let mut stream = match timeout(connect_limit, TcpStream::connect(&*shared.address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return shared.close(error),
        Err(_) => return shared.close(io::ErrorKind::TimedOut.into()),
    };
    // Commands that wait are sent together anyway.
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.split();
    let reason = first(send_all(shared, writer), receive_all(shared, reader), watch(shared)).await;
    shared.close(reason);
}

/// What ends first of three that go on until something is wrong.
async fn first<T>(a: impl Future<Output = T>, b: impl Future<Output = T>, c: impl Future<Output = T>) -> T {
    let (mut a, mut b, mut c) = (pin!(a), pin!(b), pin!(c));
    poll_fn(|cx| {
        let polls = [a.as_mut().poll(cx), b.as_mut().poll(cx), c.as_mut().poll(cx)];
        polls.into_iter().find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
}

async fn send_all(shared: &Shared, mut writer: WriteHalf<'_>) -> io::Error {
    let mut batch = BytesMut::new();
    loop {
        {
            let mut queue = shared.queue();
            if queue.closed.is_some() {
                return io::Error::other("it was closed");
            }
            std::mem::swap(&mut queue.outgoing, &mut batch);
            queue.told = !batch.is_empty();
            // Who asks from now on wants to know how things are from now on.
            queue.common = None;
        }
        if batch.is_empty() {
            shared.wake.notified().await;
            // Let all who are about to send something do so first: one system call for all of them.
            yield_now().await;
            continue;
        }
        if let Err(error) = writer.write_all(&batch).await {
            return error;
        }
        batch.clear();
    }
}

async fn receive_all(shared: &Shared, mut reader: ReadHalf<'_>) -> io::Error {
    let mut received = BytesMut::new();
    let mut current = None;
    let mut missing = READ;
    loop {
        received.reserve(missing.clamp(READ, MAX_VALUE_READ));
        match reader.read_buf(&mut received).await {
            Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
            Ok(_) => {}
            Err(error) => return error,
        }
        missing = match hand_out(shared, &mut received, &mut current) {
            Ok(missing) => missing,
            Err(what) => return io::Error::new(io::ErrorKind::InvalidData, what),
        };
    }
}

/// A server that announces a long value gets room for it as it comes, not as it says.
const MAX_VALUE_READ: usize = 1 << 20;

/// Gives every reply that is whole to who waits for it; tells how many more bytes the next one needs.
fn hand_out(shared: &Shared, received: &mut BytesMut, current: &mut Option<Waiting>) -> Result<usize, &'static str> {
    loop {
        let reply = match take_reply(received).map_err(|error| error.0)? {
            Ok(reply) => reply,
            Err(missing) => return Ok(missing),
        };
        let misunderstood = matches!(&reply, Reply::Rejected(text) if !text.ends_with(b"non-numeric value"));
        let mut waiting = match current.take() {
            Some(waiting) => waiting,
            None => shared.queue().waiting.pop_front().ok_or("a reply came to nothing that was asked")?,
        };
        waiting.commands -= 1;
        let is_whole = waiting.commands == 0;
        if is_whole {
            let mut queue = shared.queue();
            queue.unanswered -= waiting.bytes;
            queue.answered += 1;
        }
        match &mut waiting.to {
            To::One(replies, _) => replies.push(reply),
            To::All(common) => _ = common.0.set(reply),
        }
        match waiting.to {
            // Who has given up waiting is not there to take it.
            To::One(replies, answer) if is_whole => _ = answer.send(replies),
            To::One(..) => *current = Some(waiting),
            To::All(_) => {}
        }
        if misunderstood {
            // The server may have taken part of a value for commands.
            return Err("a command was not understood: larder needs memcached 1.6 or later");
        }
    }
}

/// Ends when the server has owed an answer for long, and given none.
async fn watch(shared: &Shared) -> io::Error {
    let (mut asked, mut answered) = (0, 0);
    loop {
        sleep(STALL_LIMIT).await;
        let queue = shared.queue();
        if queue.answered == answered && asked > answered {
            return io::ErrorKind::TimedOut.into();
        }
        (asked, answered) = (queue.asked, queue.answered);
    }
}
