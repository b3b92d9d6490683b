//! The store on a Redis Cluster.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join;
use redis::{Value, cmd};

use super::{cluster_registers::ClusterRegisters, error::from_redis, fetch_lock::FetchLockCommands, options::Options};
use crate::{
    backend::{
        contract::{Durability, FetchLock, Invalidation, PutOutcome, ReadOutcome, Receipt, Scope},
        remote::{
            FetchLocks, RemoteStore,
            registers::{self, Registers as _},
            with_deadline,
        },
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
    fetch_locks: FetchLockCommands,
}

impl Cluster {
    pub(super) fn new(registers: ClusterRegisters) -> Self {
        Self { registers, fetch_locks: FetchLockCommands::default() }
    }

    pub(super) fn registers(&self) -> &ClusterRegisters {
        &self.registers
    }

    pub(super) fn options(&self) -> &Options {
        &self.registers.options
    }

    async fn entry(&self, key: &Key) -> Result<Option<Stored>, Error> {
        let mut command = cmd("GET");
        command.arg(self.registers.names.entry(&key.storage_digest()));
        let entry = match self.registers.send(command).await {
            Ok(Value::BulkString(entry)) => Bytes::from(entry),
            // The key has a value of another type.
            Err(error) if error.code() == Some("WRONGTYPE") => return Ok(self.options().note_corrupt()),
            Err(error) => return Err(from_redis(error)),
            Ok(_) => return Ok(None),
        };
        let stored = codec::decode_whole(key, &entry, self.options().decoding);
        Ok(stored.ok().or_else(|| self.options().note_corrupt()))
    }

    /// Reads an entry: in one round trip if its tags are known before, otherwise in two.
    async fn lookup(&self, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        let (entry, reading) = join(self.entry(key), self.registers.read_with_clock(known)).await;
        let (entry, reading) = (entry?, reading?);
        if let Some(stored) = entry {
            let validity = match stored.tags() == known {
                true => reading.validity(stored.born()),
                false => registers::validity(&self.registers, stored.born(), stored.tags()).await?,
            };
            if let Some(validity) = validity {
                return Ok(ReadOutcome { found: Some((Arc::new(stored), validity)), epoch: Some(reading.clock) });
            }
        }
        // Prepares the fetch: the records that decide about its response must exist before the handler runs.
        let reading = registers::ensure_records(&self.registers, known, reading).await?;
        Ok(ReadOutcome { found: None, epoch: Some(reading.clock) })
    }
}

impl RemoteStore for Cluster {
    async fn get(&self, key: &Key, known: &[Tag], limit: Duration) -> Result<ReadOutcome, Error> {
        with_deadline(limit, self.lookup(key, known)).await
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        let life = self.options().life(&stored);
        let Some(entry) = codec::encode_whole(key, &stored, self.options().compression) else { return Ok(PutOutcome::TooLarge) };
        match registers::check_for_put(&self.registers, stored.born(), stored.tags()).await? {
            None => return Ok(PutOutcome::Invalidated),
            // Expired while its handler ran: it is stored, but does not replace a newer response. A response of another incarnation is
            // dead and does not prevent this one from being stored.
            Some(Validity::Stale { .. }) if self.entry(key).await?.is_some_and(|present| stored.born() < present.born()) => {
                return Ok(PutOutcome::Invalidated);
            }
            Some(_) => {}
        }
        let mut command = cmd("SET");
        command.arg(self.registers.names.entry(&key.storage_digest())).arg(entry).arg("PX").arg(life.as_millis().to_string());
        self.registers.send(command).await.map_err(from_redis)?;
        Ok(PutOutcome::Stored)
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        Ok(registers::validity(&self.registers, born, tags).await? == Some(Validity::Valid))
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        let epoch = registers::invalidate(&self.registers, invalidation).await?;
        Ok(Receipt::new(epoch, invalidation.tags().len(), Scope::Nodes, Durability::Volatile))
    }

    async fn epoch(&self) -> Result<Epoch, Error> {
        self.registers.clock().await
    }

    fn reset(&self) {
        self.registers.reset();
    }
}

impl FetchLocks for Cluster {
    async fn lock_fetch(&self, key: &Key, life: Duration) -> Result<FetchLock, Error> {
        let command = self.fetch_locks.lock_fetch(&self.registers.names.fetch_lock(&key.storage_digest()), life);
        let reply = self.registers.send(command).await.map_err(from_redis)?;
        Ok(self.fetch_locks.outcome(&reply))
    }

    async fn unlock_fetch(&self, key: &Key) {
        let command = self.fetch_locks.unlock_fetch(&self.registers.names.fetch_lock(&key.storage_digest()));
        // An error is ignored: a lock that cannot be released expires.
        let _ = self.registers.send(command).await;
    }
}
