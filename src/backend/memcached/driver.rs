//! The task that sends the commands of a connection and dispatches its replies.

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
    meta_protocol::{Decoded, Reply, take_reply},
    queue::{ConnectionState, Recipient, Waiting},
};
use crate::backend::remote::shared_read::JoinableReads;

/// How long a server may owe a reply without sending anything before the connection is closed.
const STALL_LIMIT: Duration = Duration::from_secs(5);

/// The size of a read in bytes, unless a longer value is being received.
const READ_SIZE: usize = 32 << 10;

/// The maximum size of a read in bytes: a server that announces a long value gets memory for it as it arrives.
const MAX_READ_SIZE: usize = 1 << 20;

/// Closes the connection however its task ends, also when the runtime shuts down.
pub(super) struct Driver(Arc<ConnectionState>);

impl Driver {
    pub(super) fn new(shared: &Arc<ConnectionState>) -> Self {
        Self(Arc::clone(shared))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.close(io::Error::other("the runtime of the connection has shut down"));
    }
}

pub(super) async fn drive(driver: Driver, connect_limit: Duration) {
    let shared = &*driver.0;
    let mut stream = match timeout(connect_limit, TcpStream::connect(&*shared.address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return shared.close(error),
        Err(_) => return shared.close(io::ErrorKind::TimedOut.into()),
    };
    // The queue batches commands already.
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.split();
    let reason = first(send_all(shared, writer), receive_all(shared, reader), watch(shared)).await;
    shared.close(reason);
}

/// Returns the output of the future that ends first.
async fn first<T>(a: impl Future<Output = T>, b: impl Future<Output = T>, c: impl Future<Output = T>) -> T {
    let (mut a, mut b, mut c) = (pin!(a), pin!(b), pin!(c));
    poll_fn(|cx| {
        let polls = [a.as_mut().poll(cx), b.as_mut().poll(cx), c.as_mut().poll(cx)];
        polls.into_iter().find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
}

async fn send_all(shared: &ConnectionState, mut writer: WriteHalf<'_>) -> io::Error {
    let (mut batch, mut sent) = (BytesMut::new(), JoinableReads::default());
    loop {
        {
            let mut queue = shared.queue();
            if queue.closed.is_some() {
                return io::Error::other("the connection was closed");
            }
            mem::swap(&mut queue.outgoing, &mut batch);
            queue.is_notified = !batch.is_empty();
            // Under the same lock as the bytes: a read is never joined after it may have been sent.
            mem::swap(&mut queue.joinable, &mut sent);
        }
        sent.close();
        if batch.is_empty() {
            shared.wake.notified().await;
            // Tasks that are ready run first, and may queue their commands: one system call for all of them.
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
    let mut missing = READ_SIZE;
    loop {
        received.reserve(missing.clamp(READ_SIZE, MAX_READ_SIZE));
        match reader.read_buf(&mut received).await {
            Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
            Ok(_) => {}
            Err(error) => return error,
        }
        missing = match dispatch(shared, &mut received, &mut current) {
            Ok(missing) => missing,
            Err(reason) => return io::Error::new(io::ErrorKind::InvalidData, reason),
        };
    }
}

/// Sends each complete reply to its recipient; returns how many more bytes the next reply needs.
fn dispatch(shared: &ConnectionState, received: &mut BytesMut, current: &mut Option<Waiting>) -> Result<usize, &'static str> {
    loop {
        let reply = match take_reply(received).map_err(|error| error.0)? {
            Decoded::Reply(reply) => reply,
            Decoded::NeedMore(missing) => return Ok(missing),
        };
        let is_misunderstood = matches!(&reply, Reply::Rejected(text) if !text.ends_with(b"non-numeric value"));
        let waiting = match current.take() {
            Some(waiting) => waiting,
            None => shared.queue().next().ok_or("the server sent a reply without a command")?,
        };
        *current = deliver(shared, waiting, reply);
        if is_misunderstood {
            // The server may have read a part of a value as commands.
            return Err("the server did not understand a command: larder needs memcached 1.6 or later");
        }
    }
}

/// Hands a reply to its recipient; returns the recipient if it expects further replies.
fn deliver(shared: &ConnectionState, mut waiting: Waiting, reply: Reply) -> Option<Waiting> {
    let (mut replies, answer) = match waiting.to {
        Recipient::All(read) => {
            read.answer(reply);
            return None;
        }
        Recipient::One(replies, answer) => (replies, answer),
    };
    replies.push(reply);
    waiting.commands -= 1;
    if waiting.commands > 0 {
        waiting.to = Recipient::One(replies, answer);
        return Some(waiting);
    }
    // A recipient of one reply was counted when it was taken from the queue.
    if replies.len() > 1 {
        shared.queue().count(waiting.bytes);
    }
    // An error is ignored: the caller was dropped.
    let _ = answer.send(replies);
    None
}

/// Ends when the server has owed a reply for the stall limit without sending one.
async fn watch(shared: &ConnectionState) -> io::Error {
    let (mut queued, mut answered) = (0, 0);
    loop {
        sleep(STALL_LIMIT).await;
        let queue = shared.queue();
        if queue.answered == answered && queued > answered {
            return io::ErrorKind::TimedOut.into();
        }
        (queued, answered) = (queue.queued, queue.answered);
    }
}
