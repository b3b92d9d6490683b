//! The batching of concurrent reads into one Redis command.

use std::{
    iter, mem,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use redis::{Cmd, Value};
use smallvec::SmallVec;
use tokio::{
    task::yield_now,
    time::{Instant, timeout},
};

use super::{
    clock::ClockReading,
    connection::Connection,
    error::{from_redis, malformed_reply, primary_keeps_changing},
    key_names::KeyNames,
    snapshot::Snapshot,
};
use crate::{
    backend::remote::{
        TimeLimit, deadline_exceeded,
        shared_mode::SharedMode,
        shared_read::{AnsweredRead, JoinableReads, PendingRead, SharedRead},
    },
    error::Error,
};

/// The names of the keys of one read: usually the entry's alone.
pub(super) type Keys = SmallVec<[String; 1]>;

/// What a read returns, shared with the callers that read the same keys at the same time.
pub(super) type Read = AnsweredRead<Keys, Snapshot>;

/// Reads keys together with the clock and the mode of all nodes. Concurrent reads are sent in one command, and equal reads only once.
///
/// Each command passes through the client, the kernel and the server; one more key costs a fraction of that. Reads that are ready
/// at the same time are sent as one batch; a read is never delayed to fill it. A full batch is sent immediately, so that the
/// server works while further reads are prepared.
#[derive(Debug)]
pub(super) struct ReadBatcher {
    connection: Arc<Connection>,
    clock: String,
    mode_name: String,
    mode: SharedMode,
    limit: Duration,
    batch: Mutex<ReadBatch>,
    /// The moving average of the reply size per read, in bytes.
    typical: AtomicUsize,
}

/// The reads that have not been sent yet.
#[derive(Debug, Default)]
struct ReadBatch {
    joinable: JoinableReads<Keys, Snapshot>,
    reads: Vec<PendingRead<Keys, Snapshot>>,
}

/// The effect of adding a read to the current batch.
enum Enqueued {
    Opens,
    Joins,
    /// The batch is full and must be sent.
    Fills(Vec<PendingRead<Keys, Snapshot>>),
}

/// The maximum number of reads in one command. With larger batches the server would idle for longer between commands.
const MAX_BATCH: usize = 16;
/// The target size of a reply. The first read of a batch waits for the last, so a long reply delays all of them.
const MAX_REPLY_BYTES: usize = 64 << 10;
/// The maximum number of attempts at a read while the term of the clock keeps primary_keeps_changing.
pub(super) const ATTEMPTS: usize = 4;

impl ReadBatcher {
    /// Creates a batcher; `limit` applies to each command.
    pub(super) fn new(connection: Arc<Connection>, names: &KeyNames, limit: Duration) -> Arc<Self> {
        Arc::new(Self {
            connection,
            clock: names.clock.clone(),
            mode_name: names.mode.clone(),
            mode: SharedMode::default(),
            limit,
            batch: Mutex::default(),
            typical: AtomicUsize::new(1),
        })
    }

    /// Returns the mode of all nodes, as of the last read.
    pub(super) fn mode(&self) -> &SharedMode {
        &self.mode
    }

    /// Reads the keys with these names. The read starts after this call, and fails if it takes longer than the limit.
    pub(super) async fn read(self: &Arc<Self>, names: Keys) -> Result<Read, Error> {
        let (read, enqueued) = self.join(names);
        // Spawned: if one caller is dropped, the others must still receive the reply.
        match enqueued {
            Enqueued::Opens => _ = tokio::spawn(BatchTask(Some(Arc::clone(self))).run()),
            Enqueued::Fills(reads) => _ = tokio::spawn(Arc::clone(self).send(reads, Instant::now())),
            Enqueued::Joins => {}
        }
        read.answered().await
    }

    fn join(&self, names: Keys) -> (SharedRead<Keys, Snapshot>, Enqueued) {
        let mut batch = self.lock();
        let (read, number) = batch.join(names);
        let enqueued = match number {
            Some(1) => Enqueued::Opens,
            Some(MAX_BATCH) => Enqueued::Fills(batch.take()),
            _ => Enqueued::Joins,
        };
        (read, enqueued)
    }

    async fn send(self: Arc<Self>, mut reads: Vec<PendingRead<Keys, Snapshot>>, began: Instant) {
        let most = (MAX_REPLY_BYTES / self.typical.load(Ordering::Relaxed).max(1)).clamp(1, MAX_BATCH);
        while reads.len() > most {
            let rest = reads.split_off(reads.len() - most);
            let this = Arc::clone(&self);
            tokio::spawn(async move { this.answer(rest, began).await });
        }
        self.answer(reads, began).await;
    }

    async fn answer(&self, mut reads: Vec<PendingRead<Keys, Snapshot>>, began: Instant) {
        reads.retain(PendingRead::is_wanted);
        if reads.is_empty() {
            return;
        }
        let command = self.command(reads.iter().flat_map(names));
        let mut reading = pin!(self.read_together(&command));
        match timeout(self.limit.saturating_sub(began.elapsed()), reading.as_mut()).await {
            Ok(Ok((clock, values))) => {
                self.note_size(&values, reads.len());
                let mut values = values.into_iter();
                reads.into_iter().for_each(|read| answer(read, clock, &mut values));
            }
            Ok(Err(error)) => fail(reads, &error),
            Err(elapsed) => {
                fail(reads, &deadline_exceeded(TimeLimit::of_reads(self.limit), elapsed));
                // Awaited even so: later reads use the connection that it may be establishing.
                let _ = reading.await;
            }
        }
    }

    /// Reads the clock alone, without a time limit. This is the cheapest command that larder sends to Redis.
    pub(super) async fn clock(&self) -> Result<ClockReading, Error> {
        Ok(self.read_together(&self.command(iter::empty())).await?.0)
    }

    fn command<'n>(&self, names: impl Iterator<Item = &'n str> + Clone) -> Cmd {
        let (count, length) = names.clone().fold((0, 0), |(count, length), name| (count + 1, length + name.len()));
        let mut command = Cmd::with_capacity(count + 3, length + self.clock.len() + self.mode_name.len() + 4);
        command.arg("MGET").arg(&self.clock).arg(&self.mode_name);
        names.for_each(|name| _ = command.arg(name));
        command
    }

    async fn read_together(&self, command: &Cmd) -> Result<(ClockReading, Vec<Option<Bytes>>), Error> {
        for _ in 0..ATTEMPTS {
            let (value, sent_on) = self.connection.send(command).await.map_err(from_redis)?;
            let Value::Array(values) = value else { return Err(malformed_reply()) };
            let mut values = values.into_iter().map(bytes);
            let clock = values.next().flatten().and_then(|clock| Some(ClockReading::split(&clock)?.0));
            let mode = values.next().flatten();
            if let Some(clock) = self.connection.accept_read(sent_on, clock) {
                self.mode.observe_name(mode.as_deref());
                return Ok((clock, values.collect()));
            }
        }
        Err(primary_keeps_changing())
    }

    fn note_size(&self, values: &[Option<Bytes>], count: usize) {
        let bytes: usize = values.iter().flatten().map(Bytes::len).sum();
        let typical = self.typical.load(Ordering::Relaxed);
        self.typical.store((typical * 7 + bytes / count.max(1)).div_ceil(8), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, ReadBatch> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadBatch {
    /// Adds a read, or joins an equal one. Returns the position of the read if it was added.
    fn join(&mut self, names: Keys) -> (SharedRead<Keys, Snapshot>, Option<usize>) {
        if let Some(read) = self.joinable.join(&names) {
            return (read, None);
        }
        let (read, pending) = self.joinable.add(names);
        self.reads.push(pending);
        (read, Some(self.reads.len()))
    }

    /// Removes and returns all reads, to be sent.
    fn take(&mut self) -> Vec<PendingRead<Keys, Snapshot>> {
        self.joinable.close();
        mem::take(&mut self.reads)
    }
}

/// Collects a batch. If its runtime shuts down first, dropping it fails the reads of the batch, and the next read opens another.
struct BatchTask(Option<Arc<ReadBatcher>>);

impl BatchTask {
    async fn run(mut self) {
        let Some(batcher) = &self.0 else { return };
        let began = Instant::now();
        // Tasks that are ready run first, and may add their reads. The timeout bounds the wait for a task that blocks its thread.
        let _ = timeout(batcher.limit, yield_now()).await;
        // Later reads are sent with another command. Earlier ones may already have been sent as a full batch.
        let reads = batcher.lock().take();
        if let Some(batcher) = self.0.take() {
            batcher.send(reads, began).await;
        }
    }
}

impl Drop for BatchTask {
    fn drop(&mut self) {
        if let Some(batcher) = &self.0 {
            let left = batcher.lock().take();
            drop(left);
        }
    }
}

fn names(read: &PendingRead<Keys, Snapshot>) -> impl Iterator<Item = &str> + Clone {
    read.key().iter().map(String::as_str)
}

/// Takes this read's values and sends them to its callers.
fn answer(read: PendingRead<Keys, Snapshot>, clock: ClockReading, values: &mut impl Iterator<Item = Option<Bytes>>) {
    let values = values.take(read.key().len()).collect();
    read.answer(Snapshot { clock, values });
}

fn fail(reads: Vec<PendingRead<Keys, Snapshot>>, error: &Error) {
    reads.into_iter().for_each(|read| read.fail(error.clone()));
}

/// Returns the value of a key, if larder can have written it.
fn bytes(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(bytes) => Some(bytes.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use redis::Client;
    use smallvec::smallvec;

    use super::*;
    use crate::{
        backend::redis::{clock::Term, connection::Source},
        entry::epoch::Epoch,
    };

    fn batcher() -> Arc<ReadBatcher> {
        let nowhere = Source::Client(Box::new(Client::open("redis://127.0.0.1:1").unwrap()));
        let limit = Duration::from_secs(1);
        ReadBatcher::new(Arc::new(Connection::new(nowhere, "clock", limit)), &KeyNames::new("larder").unwrap(), limit)
    }

    fn join(batcher: &ReadBatcher, number: usize) -> (SharedRead<Keys, Snapshot>, Enqueued) {
        batcher.join(smallvec![format!("entry {number}")])
    }

    #[test]
    fn a_full_batch_is_sent_and_the_next_read_opens_another() {
        let batcher = batcher();
        assert!(matches!(join(&batcher, 0).1, Enqueued::Opens));
        for number in 1..MAX_BATCH - 1 {
            assert!(matches!(join(&batcher, number).1, Enqueued::Joins));
            // An equal read does not enlarge the batch.
            assert!(matches!(join(&batcher, number).1, Enqueued::Joins));
        }
        let Enqueued::Fills(reads) = join(&batcher, MAX_BATCH).1 else { panic!("the batch is not full") };
        assert_eq!(reads.len(), MAX_BATCH);
        assert!(matches!(join(&batcher, 0).1, Enqueued::Opens));
    }

    #[tokio::test]
    async fn each_read_receives_the_values_of_its_own_keys() {
        const CLOCK: ClockReading = ClockReading { term: Term([0; 8]), epoch: Epoch::new(7), sequence: 0 };
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        let mut batch = ReadBatch::default();
        let (first, number_of_first) = batch.join(keys(&["entry", "tag"]));
        let (other, number_of_other) = batch.join(keys(&["entry"]));
        let (again, number_of_again) = batch.join(keys(&["entry", "tag"]));
        assert_eq!([number_of_first, number_of_other, number_of_again], [Some(1), Some(2), None]);

        let asked = batch.take();
        assert_eq!(asked.iter().flat_map(names).collect::<Vec<_>>(), ["entry", "tag", "entry"]);
        let mut values = ["a", "b", "c"].map(|value| Some(Bytes::from_static(value.as_bytes()))).into_iter();
        asked.into_iter().for_each(|read| answer(read, CLOCK, &mut values));

        for read in [first, again] {
            assert_eq!(read.answered().await.unwrap().values[..], [Some("a".into()), Some("b".into())]);
        }
        assert_eq!(other.answered().await.unwrap().values[..], [Some(Bytes::from("c"))]);
    }

    #[tokio::test]
    async fn a_dropped_batch_fails_its_reads_and_the_next_read_opens_another() {
        let batcher = batcher();
        let (first, _) = join(&batcher, 1);
        let (other, enqueued) = join(&batcher, 2);
        assert!(matches!(enqueued, Enqueued::Joins));
        drop(BatchTask(Some(Arc::clone(&batcher))).run());
        assert!(first.answered().await.is_err() && other.answered().await.is_err());
        assert!(matches!(join(&batcher, 1).1, Enqueued::Opens));
    }
}
