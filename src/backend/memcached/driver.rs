//! The end of a connection that moves bytes.

use std::{future::poll_fn, io, mem, pin::pin, sync::Arc, task::Poll, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    task::yield_now,
    time::{sleep, timeout},
};

use super::{
    meta_protocol::{Reply, take_reply},
    question::Questions,
    queue::{ConnectionState, Recipient, Waiting},
};

/// How long a server may owe an answer and say nothing at all before the connection is given up.
const STALL_LIMIT: Duration = Duration::from_secs(5);

/// How much is read at once, unless a longer value is on its way.
const READ: usize = 32 << 10;

/// However it ends, also with its runtime, the connection is closed.
pub(super) struct Driver(Arc<ConnectionState>);

impl Driver {
    pub(super) fn new(shared: &Arc<ConnectionState>) -> Self {
        Self(Arc::clone(shared))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.close(io::Error::other("its runtime is gone"));
    }
}

pub(super) async fn drive(driver: Driver, connect_limit: Duration) {
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

async fn send_all(shared: &ConnectionState, mut writer: WriteHalf<'_>) -> io::Error {
    let (mut batch, mut questions) = (BytesMut::new(), Questions::default());
    loop {
        {
            let mut queue = shared.queue();
            if queue.closed.is_some() {
                return io::Error::other("it was closed");
            }
            mem::swap(&mut queue.outgoing, &mut batch);
            queue.told = !batch.is_empty();
            // Who asks from now on wants to know how things are from now on.
            mem::swap(&mut queue.open, &mut questions);
        }
        questions.clear();
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

async fn receive_all(shared: &ConnectionState, mut reader: ReadHalf<'_>) -> io::Error {
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
        missing = match dispatch(shared, &mut received, &mut current) {
            Ok(missing) => missing,
            Err(what) => return io::Error::new(io::ErrorKind::InvalidData, what),
        };
    }
}

/// A server that announces a long value gets room for it as it comes, not as it says.
const MAX_VALUE_READ: usize = 1 << 20;

/// Gives every reply that is whole to who waits for it; tells how many more bytes the next one needs.
fn dispatch(shared: &ConnectionState, received: &mut BytesMut, current: &mut Option<Waiting>) -> Result<usize, &'static str> {
    loop {
        let reply = match take_reply(received).map_err(|error| error.0)? {
            Ok(reply) => reply,
            Err(missing) => return Ok(missing),
        };
        let misunderstood = matches!(&reply, Reply::Rejected(text) if !text.ends_with(b"non-numeric value"));
        let mut waiting = match current.take() {
            Some(waiting) => waiting,
            None => shared.queue().next().ok_or("a reply came to nothing that was asked")?,
        };
        match &mut waiting.to {
            Recipient::All(asked) => asked.answer(reply),
            Recipient::One(replies, _) => {
                replies.push(reply);
                let is_long = replies.len() > 1;
                waiting.commands -= 1;
                if waiting.commands == 0 && is_long {
                    shared.queue().count(&waiting);
                }
            }
        }
        match waiting.to {
            // Who has given up waiting is not there to take it.
            Recipient::One(replies, answer) if waiting.commands == 0 => _ = answer.send(replies),
            Recipient::One(..) => *current = Some(waiting),
            Recipient::All(_) => {}
        }
        if misunderstood {
            // The server may have taken part of a value for commands.
            return Err("a command was not understood: larder needs memcached 1.6 or later");
        }
    }
}

/// Ends when the server has owed an answer for long, and given none.
async fn watch(shared: &ConnectionState) -> io::Error {
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
