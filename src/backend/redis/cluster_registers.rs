//! The clock and the tag records on a Redis Cluster.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::{join, try_join_all};
use redis::{
    Cmd, ErrorKind, RedisResult, ServerErrorKind, Value, aio::ConnectionLike as _, cluster::ClusterClient,
    cluster_async::ClusterConnection,
};
use tokio::sync::Mutex;

use super::{
    batch::ATTEMPTS,
    clock,
    error::{from_redis, malformed_reply, primary_keeps_changing},
    feed::{POLL_BYTES, STREAM_BYTES, parse_poll, position},
    key_names::KeyNames,
    leases::{LatestScope, millis},
    mode::mode_in,
    options::Options,
    script::{Script, ScriptForm, kind_of},
    seen::Latest,
    shards::Shards,
};
use crate::{
    backend::{
        FeedBatch,
        contract::{Invalidation, Scope},
        remote::{
            registers::{ClockAndRecords, CompareAndSwap, Record, Registers, Versioned},
            shared_mode::SharedMode,
        },
    },
    entry::epoch::Epoch,
    error::Error,
    tag::Tag,
};

/// The clock and the tag records in a Cluster. They are in different slots, so only a single one can be changed atomically.
pub(super) struct ClusterRegisters {
    client: ClusterClient,
    connection: Mutex<Option<(u64, ClusterConnection)>>,
    pub(super) shards: Shards,
    pub(super) names: KeyNames,
    pub(super) options: Options,
    scripts: Scripts,
    seen: Latest,
    mode: SharedMode,
    scope: LatestScope,
}

#[derive(Debug)]
struct Scripts {
    read_clock: Script,
    advance: Script,
    renew: Script,
    publish: Script,
    record: Script,
    swap: Script,
    poll: Script,
    announce: Script,
}

/// The time after which a pending record expires if its fetch does not settle it.
const PENDING: Duration = Duration::from_secs(5);

impl ClusterRegisters {
    pub(super) fn new(client: ClusterClient, shards: Shards, names: KeyNames, options: Options) -> Self {
        let scripts = Scripts {
            read_clock: Script::read_clock(),
            advance: Script::advance(),
            renew: Script::renew(),
            publish: Script::publish(),
            record: Script::record(),
            swap: Script::swap(),
            poll: Script::poll(),
            announce: Script::announce(),
        };
        Self {
            client,
            connection: Mutex::default(),
            shards,
            names,
            options,
            scripts,
            seen: Latest::default(),
            mode: SharedMode::default(),
            scope: LatestScope::default(),
        }
    }

    /// Sends one command to the node that has its key, and once more if the connection was broken. Every command may be repeated: a
    /// change of a record compares first.
    pub(super) async fn send(&self, command: Cmd) -> RedisResult<Value> {
        let (number, mut connection) = self.connected().await?;
        match connection.req_packed_command(&command).await.and_then(Value::extract_error) {
            Err(error) if error.is_io_error() || error.is_unrecoverable_error() => {
                self.forget(number).await;
                let (_, mut connection) = self.connected().await?;
                connection.req_packed_command(&command).await?.extract_error()
            }
            outcome => outcome,
        }
    }

    pub(super) async fn reading(&self) -> Result<clock::ClockReading, Error> {
        let keys = [self.names.clock.as_str(), &self.names.mode];
        let (reading, reply) = self.with_clock(&self.scripts.read_clock, &keys, |_| {}).await?;
        self.mode.observe_name(mode_in(&reply));
        clock::version(&reply).ok_or_else(malformed_reply)?.check().map_err(from_redis)?;
        Ok(reading)
    }

    pub(super) async fn invalidations_since(&self, last: u64) -> Result<FeedBatch, Error> {
        let arguments = |command: &mut Cmd| _ = command.arg(last).arg(POLL_BYTES).arg(STREAM_BYTES);
        let keys = [self.names.clock.as_str(), &self.names.stream, &self.names.mode];
        let (_, reply) = self.with_clock(&self.scripts.poll, &keys, arguments).await?;
        self.mode.observe_name(mode_in(&reply));
        parse_poll(last, &reply)
    }

    pub(super) async fn announce_lease(&self, span: Duration, hold: Duration) -> Result<(), Error> {
        let arguments = |command: &mut Cmd| _ = command.arg(millis(span)).arg(millis(hold));
        self.with_clock(&self.scripts.announce, &[&self.names.clock, &self.names.leases], arguments).await.map(drop)
    }

    /// Returns the scope of an invalidation that has just been published.
    pub(super) fn scope(&self) -> Scope {
        self.scope.get()
    }

    /// Returns the mode of all nodes, as of the last read of the clock.
    pub(super) fn mode(&self) -> &SharedMode {
        &self.mode
    }

    /// Reads the position of the end of the invalidation stream.
    pub(super) async fn position(&self) -> Result<FeedBatch, Error> {
        self.reading().await.map(position)
    }

    /// Drops the connections to all nodes.
    pub(super) fn reset(&self) {
        // If the lock is held, a new connection is being established.
        if let Ok(mut connection) = self.connection.try_lock() {
            *connection = None;
        }
    }

    async fn connected(&self) -> RedisResult<(u64, ClusterConnection)> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let mut current = self.connection.lock().await;
        if let Some(connection) = &*current {
            return Ok(connection.clone());
        }
        let connection = self.client.get_async_connection().await?;
        Ok(current.insert((NUMBER.fetch_add(1, Ordering::Relaxed), connection)).clone())
    }

    /// Drops a connection. A newer one that a concurrent caller established is kept.
    async fn forget(&self, number: u64) {
        let mut current = self.connection.lock().await;
        if current.as_ref().is_some_and(|(current, _)| *current == number) {
            *current = None;
        }
    }

    /// Runs a script on the node that has its first key.
    async fn script(&self, script: &Script, keys: &[&str], arguments: impl Fn(&mut Cmd)) -> Result<Value, Error> {
        let command = |form| {
            let mut command = script.command(form, keys);
            arguments(&mut command);
            command
        };
        match self.send(command(ScriptForm::Sha)).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.send(command(ScriptForm::Source)).await.map_err(from_redis)
            }
            outcome => outcome.map_err(from_redis),
        }
    }

    /// Runs a script that returns the clock. Its first argument is the latest clock that this node observed.
    async fn with_clock(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: impl Fn(&mut Cmd),
    ) -> Result<(clock::ClockReading, Value), Error> {
        for _ in 0..ATTEMPTS {
            let sent = self.seen.get();
            let answer = self
                .script(script, keys, |command| {
                    command.arg(&sent.to_bytes(0)[..]);
                    arguments(command);
                })
                .await?;
            let reading = clock::of(&answer).ok_or_else(malformed_reply)?;
            if self.seen.observe(sent, &reading) {
                return Ok((reading, answer));
            }
        }
        Err(primary_keeps_changing())
    }

    async fn record(&self, tag: &Tag) -> Result<Option<Versioned>, Error> {
        match self.script(&self.scripts.record, &[&self.names.record(tag)], |_| {}).await? {
            Value::BulkString(record) => Ok(Some(Versioned::new(Bytes::from(record), 0))),
            Value::Nil => Ok(None),
            _ => Err(malformed_reply()),
        }
    }

    async fn swap(&self, change: &CompareAndSwap<'_>) -> Result<Option<Versioned>, Error> {
        let record = change.record.to_bytes();
        let life = match &change.record {
            Record::Pending { .. } => PENDING,
            Record::Marks(marks) if marks.is_empty() => PENDING,
            // Long: entries do not renew it, only another fetch does.
            Record::Settled { .. } | Record::Marks(_) => self.options.settled_life(),
        };
        let arguments = |command: &mut Cmd| {
            command.arg(change.seen.as_ref().map_or(&b""[..], |seen| seen.bytes()));
            command.arg(&record[..]).arg(life.as_millis().to_string());
        };
        match self.script(&self.scripts.swap, &[&self.names.record(change.tag)], arguments).await? {
            Value::Int(1) => Ok(Some(Versioned::new(record, 0))),
            Value::Int(0) => Ok(None),
            _ => Err(malformed_reply()),
        }
    }
}

#[async_trait]
impl Registers for ClusterRegisters {
    async fn clock(&self) -> Result<Epoch, Error> {
        Ok(self.reading().await?.epoch)
    }

    async fn advance(&self) -> Result<Epoch, Error> {
        Ok(self.with_clock(&self.scripts.advance, &[&self.names.clock], |_| {}).await?.0.epoch)
    }

    async fn renew(&self) -> Result<Epoch, Error> {
        Ok(self.with_clock(&self.scripts.renew, &[&self.names.clock], |_| {}).await?.0.epoch)
    }

    async fn read(&self, tags: &[Tag]) -> Result<Vec<Option<Versioned>>, Error> {
        try_join_all(tags.iter().map(|tag| self.record(tag))).await
    }

    async fn read_with_clock(&self, tags: &[Tag]) -> Result<ClockAndRecords, Error> {
        let (clock, records) = join(self.clock(), self.read(tags)).await;
        Ok(ClockAndRecords { clock: clock?, records: records? })
    }

    async fn write(&self, changes: &[CompareAndSwap<'_>]) -> Result<Vec<Option<Versioned>>, Error> {
        try_join_all(changes.iter().map(|change| self.swap(change))).await
    }

    async fn publish(&self, _at: Epoch, invalidation: &Invalidation) -> Result<(), Error> {
        let arguments = |command: &mut Cmd| {
            command.arg(kind_of(invalidation)).arg(STREAM_BYTES).arg(self.options.stream_life().as_secs());
            invalidation.tags().iter().for_each(|tag| _ = command.arg(tag.as_str()));
        };
        let keys = [self.names.clock.as_str(), &self.names.stream, &self.names.leases];
        let (reading, reply) = self.with_clock(&self.scripts.publish, &keys, arguments).await?;
        self.scope.note(&reading, &reply);
        Ok(())
    }
}

impl fmt::Debug for ClusterRegisters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterRegisters").field("names", &self.names).finish_non_exhaustive()
    }
}
