//! The store on a Redis Cluster.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join;
use redis::{Value, cmd};

use super::{
    cluster_registers::ClusterRegisters, error::from_redis, fetch_lock::FetchLockCommands, mode::set_mode, options::Options,
    replace::ReplaceCommands, shards,
};
use crate::{
    backend::{
        cache_mode::CacheMode,
        contract::{Durability, FetchLock, Invalidation, PutOutcome, ReadOutcome, Receipt},
        remote::{
            FetchLocks, RemoteStore, TimeLimit,
            decoded::DecodedEntries,
            registers::{self, Registers as _},
            shared_mode::SharedMode,
            with_deadline, write_marks,
        },
        store_stats::StoreServer,
        validity::Validity,
    },
    codec,
    entry::{epoch::Epoch, stored::Stored},
    error::Error,
    key::Key,
    tag::Tag,
};

/// A Redis Cluster: the clock, the records and the entries are in different slots, so each key is changed separately.
pub(super) struct Cluster {
    registers: ClusterRegisters,
    decoded: DecodedEntries,
    fetch_locks: FetchLockCommands,
    replacing: ReplaceCommands,
}

impl Cluster {
    pub(super) fn new(registers: ClusterRegisters) -> Self {
        let (decoded, fetch_locks, replacing) = Default::default();
        Self { registers, decoded, fetch_locks, replacing }
    }

    pub(super) fn registers(&self) -> &ClusterRegisters {
        &self.registers
    }

    pub(super) fn options(&self) -> &Options {
        &self.registers.options
    }

    async fn entry(&self, key: &Key, known: &[Tag]) -> Result<Option<Arc<Stored>>, Error> {
        let mut command = cmd("GET");
        command.arg(self.registers.names.entry(&key.storage_digest()));
        let entry = match self.registers.send(command).await {
            Ok(Value::BulkString(entry)) => Bytes::from(entry),
            // The key has a value of another type.
            Err(error) if error.code() == Some("WRONGTYPE") => return Ok(self.options().note_corrupt()),
            Err(error) => return Err(from_redis(error)),
            Ok(_) => return Ok(None),
        };
        let decoded = self.decoded.decode(key, known, &entry, self.options().decoding);
        Ok(decoded.ok().map(|decoded| decoded.stored).or_else(|| self.options().note_corrupt()))
    }

    /// Reads an entry: in one round trip if its tags are known before, otherwise in two.
    async fn lookup(&self, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        let (entry, reading) = join(self.entry(key, known), self.registers.read_with_clock(known)).await;
        let (entry, reading) = (entry?, reading?);
        if let Some(stored) = entry {
            let validity = match stored.tags() == known {
                true => reading.validity(stored.born()),
                false => registers::validity(&self.registers, stored.born(), stored.tags()).await?,
            };
            if let Some(validity) = validity {
                return Ok(ReadOutcome { found: Some((stored, validity)), epoch: Some(reading.clock) });
            }
        }
        // Prepares the fetch: the records that decide about its response must exist before the handler runs.
        let reading = registers::ensure_records(&self.registers, known, reading).await?;
        Ok(ReadOutcome { found: None, epoch: Some(reading.clock) })
    }
}

impl RemoteStore for Cluster {
    async fn get(&self, key: &Key, known: &[Tag], limit: Duration) -> Result<ReadOutcome, Error> {
        with_deadline(TimeLimit::of_reads(limit), self.lookup(key, known)).await
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        let life = self.options().life(&stored);
        let Some(entry) = codec::encode_whole(key, &stored, self.options().compression) else { return Ok(PutOutcome::TooLarge) };
        let now = self.options().clock.now();
        match write_marks::check_for_put(&self.registers, stored.born(), stored.tags(), now).await? {
            Err(refused) => return Ok(refused),
            // Expired while its handler ran: it is stored, but does not replace a newer response. A response of another incarnation is
            // dead and does not prevent this one from being stored.
            Ok(Validity::Stale { .. })
                if self.entry(key, stored.tags()).await?.is_some_and(|present| stored.born() < present.born()) =>
            {
                return Ok(PutOutcome::Invalidated);
            }
            Ok(_) => {}
        }
        let mut command = cmd("SET");
        command.arg(self.registers.names.entry(&key.storage_digest())).arg(entry).arg("PX").arg(life.as_millis().to_string());
        self.registers.send(command).await.map_err(from_redis)?;
        Ok(PutOutcome::Stored)
    }

    async fn replace(&self, key: &Key, present: &Stored, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        let name = self.registers.names.entry(&key.storage_digest());
        let read = match self.registers.send(self.replacing.read(&name)).await {
            Ok(read) => read,
            // The key has a value of another type.
            Err(error) if error.code() == Some("WRONGTYPE") => return Ok(PutOutcome::Invalidated),
            Err(error) => return Err(from_redis(error)),
        };
        match self.replacing.swap((key, &name), read, present, &stored, self.options()) {
            Ok(swap) => self.replacing.outcome(&self.registers.send(swap).await.map_err(from_redis)?),
            Err(outcome) => Ok(outcome),
        }
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        Ok(registers::validity(&self.registers, born, tags).await? == Some(Validity::Valid))
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        let epoch = registers::invalidate(&self.registers, invalidation).await?;
        Ok(Receipt::new(epoch, invalidation.tags().len(), self.registers.scope(), Durability::Volatile))
    }

    async fn hold_tags(&self, tags: &[Tag], writer: u64, life: Duration) -> Result<(), Error> {
        write_marks::hold(&self.registers, tags, writer, self.options().clock.now() + life).await
    }

    async fn release_tags(&self, tags: &[Tag], writer: u64) -> Result<(), Error> {
        write_marks::release(&self.registers, tags, writer).await
    }

    async fn set_mode(&self, mode: CacheMode) -> Result<(), Error> {
        self.registers.send(set_mode(&self.registers.names, mode)).await.map(drop).map_err(from_redis)
    }

    fn mode(&self) -> &SharedMode {
        self.registers.mode()
    }

    async fn epoch(&self) -> Result<Epoch, Error> {
        self.registers.clock().await
    }

    fn reset(&self) {
        self.registers.reset();
    }

    fn servers(&self) -> Vec<StoreServer> {
        self.registers.shards.known()
    }

    async fn find_servers(&self) -> Result<(), Error> {
        self.registers.shards.note(&self.registers.send(shards::command()).await.map_err(from_redis)?);
        Ok(())
    }

    /// An invalidation takes its epoch before it raises the records.
    fn reads_are_exact(&self) -> bool {
        false
    }
}

impl FetchLocks for Cluster {
    async fn lock_fetch(&self, key: &Key, life: Duration) -> Result<FetchLock, Error> {
        let command = self.fetch_locks.lock_fetch(&self.registers.names.fetch_lock(&key.storage_digest()), life);
        let reply = self.registers.send(command).await.map_err(from_redis)?;
        Ok(self.fetch_locks.outcome(&reply))
    }

    async fn unlock_fetch(&self, key: &Key) -> Result<(), Error> {
        let command = self.fetch_locks.unlock_fetch(&self.registers.names.fetch_lock(&key.storage_digest()));
        self.registers.send(command).await.map(drop).map_err(from_redis)
    }
}
