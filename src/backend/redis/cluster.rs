//! The store on a Redis Cluster.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join;
use redis::{Value, cmd};

use super::{cluster_registers::Slots, error::failed, fetch_lock::Claims, options::Options};
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

/// A Redis Cluster: clock, records and entries each have a slot of their own, and change one by one.
#[derive(Debug)]
pub(super) struct Cluster {
    slots: Slots,
    claims: Claims,
}

impl Cluster {
    pub(super) fn new(slots: Slots) -> Self {
        Self { slots, claims: Claims::default() }
    }

    pub(super) fn slots(&self) -> &Slots {
        &self.slots
    }

    pub(super) fn options(&self) -> &Options {
        &self.slots.options
    }

    async fn entry(&self, key: &Key) -> Result<Option<Stored>, Error> {
        let mut command = cmd("GET");
        command.arg(self.slots.names.entry(&key.storage_digest()));
        let entry = match self.slots.send(command).await {
            Ok(Value::BulkString(entry)) => Bytes::from(entry),
            // Something else stands there.
            Err(error) if error.code() == Some("WRONGTYPE") => return Ok(self.options().note_corrupt()),
            Err(error) => return Err(failed(error)),
            Ok(_) => return Ok(None),
        };
        let stored = codec::decode_whole(key, &entry, self.options().decoding);
        Ok(stored.ok().or_else(|| self.options().note_corrupt()))
    }

    /// One round trip if all tags are known beforehand, else two.
    async fn lookup(&self, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        let (entry, reading) = join(self.entry(key), self.slots.read_with_clock(known)).await;
        let (entry, reading) = (entry?, reading?);
        if let Some(stored) = entry {
            let validity = match stored.tags() == known {
                true => reading.validity(stored.born()),
                false => registers::validity(&self.slots, stored.born(), stored.tags()).await?,
            };
            if let Some(validity) = validity {
                return Ok(ReadOutcome { found: Some((Arc::new(stored), validity)), epoch: Some(reading.clock) });
            }
        }
        // A fetch is about to begin: what it stores will be judged by records, which have to be there before it begins.
        let reading = registers::ensure_records(&self.slots, known, reading).await?;
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
        match registers::check_for_put(&self.slots, stored.born(), stored.tags()).await? {
            None => return Ok(PutOutcome::Invalidated),
            // Expired while its handler ran: stored unless a response that was fetched since is there. One of another incarnation is
            // dead, and no reason to refuse this one.
            Some(Validity::Stale { .. }) if self.entry(key).await?.is_some_and(|present| stored.born() < present.born()) => {
                return Ok(PutOutcome::Invalidated);
            }
            Some(_) => {}
        }
        let mut command = cmd("SET");
        command.arg(self.slots.names.entry(&key.storage_digest())).arg(entry).arg("PX").arg(life.as_millis().to_string());
        self.slots.send(command).await.map_err(failed)?;
        Ok(PutOutcome::Stored)
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        Ok(registers::validity(&self.slots, born, tags).await? == Some(Validity::Valid))
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        let epoch = registers::invalidate(&self.slots, invalidation).await?;
        Ok(Receipt::new(epoch, invalidation.tags().len(), Scope::Nodes, Durability::Volatile))
    }

    async fn epoch(&self) -> Result<Epoch, Error> {
        self.slots.clock().await
    }

    fn reset(&self) {
        self.slots.reset();
    }
}

impl FetchLocks for Cluster {
    async fn lock_fetch(&self, key: &Key, life: Duration) -> Result<FetchLock, Error> {
        let command = self.claims.lock_fetch(&self.slots.names.lock_fetch(&key.storage_digest()), life);
        let reply = self.slots.send(command).await.map_err(failed)?;
        Ok(self.claims.outcome(&reply))
    }

    async fn unlock_fetch(&self, key: &Key) {
        let command = self.claims.unlock_fetch(&self.slots.names.lock_fetch(&key.storage_digest()));
        // If it cannot be given back, it ends by itself.
        let _ = self.slots.send(command).await;
    }
}
