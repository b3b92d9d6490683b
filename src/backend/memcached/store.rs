//! The store on memcached servers, without time limits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    connection::ItemRead,
    fetch_lock::FetchLockItems,
    item_key::ItemKey,
    meta_protocol::{Cas, Condition, MAX_TTL, Reply, Value},
    registers::{MemcachedRegisters, checked, get_record, records_in, refusal, value},
    servers::{Command, missing_reply},
};
use crate::{
    backend::{
        cache_mode::CacheMode,
        contract::{Durability, FetchLock, Invalidation, PutOutcome, ReadOutcome, Receipt, Scope},
        remote::{
            FetchLocks, RemoteStore, TimeLimit,
            decoded::DecodedEntries,
            registers::{self, ClockAndRecords, Registers as _},
            shared_mode::SharedMode,
            shared_read::DecodedEntry,
            validated::{ValidAt, Validation, ValidationCache},
            with_deadline, write_marks,
        },
        store_stats::StoreServer,
        validity::{Validity, worst},
    },
    clock::Clock,
    codec::{
        compression::{Compression, DecodeLimits},
        encode_whole,
    },
    entry::{epoch::Epoch, stored::Stored},
    error::Error,
    key::Key,
    tag::Tag,
};

/// Entries, and the clock and records that decide about their validity.
#[derive(Debug)]
pub(crate) struct Store {
    registers: MemcachedRegisters,
    validated: ValidationCache,
    decoded: DecodedEntries,
    fetch_locks: FetchLockItems,
    compression: Compression,
    /// The largest value to be stored, in bytes.
    max_value: usize,
    /// The number of values that could not be decoded, and of entries that were too large.
    corrupt: AtomicU64,
    refused: AtomicU64,
}

impl Store {
    pub(crate) fn new(registers: MemcachedRegisters, compression: Compression, max_value: usize) -> Self {
        let (validated, decoded, fetch_locks, corrupt, refused) = Default::default();
        Self { registers, validated, decoded, fetch_locks, compression, max_value, corrupt, refused }
    }

    pub(crate) fn corrupt(&self) -> u64 {
        self.corrupt.load(Ordering::Relaxed)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Reads the clock.
    pub(crate) async fn clock(&self) -> Result<Epoch, Error> {
        self.registers.clock().await
    }

    async fn lookup(&self, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        let item = self.registers.keys.entry(key.as_bytes());
        let validation = self.validated.get(item.hash());
        let current = match validation.as_ref().filter(|validation| self.validated.maybe_current(validation)) {
            Some(validation) => self.by_validation(key, &item, validation).await?,
            None => None,
        };
        match current {
            Some(read) => Ok(read),
            // Boxed: rare, and otherwise part of every lookup's future.
            None => Box::pin(self.by_records(key, &item, known, validation)).await,
        }
    }

    /// Returns the entry if the remembered validation is current: while nothing is invalidated, the clock and the entry are enough.
    /// Both reads are shared with concurrent lookups.
    async fn by_validation(&self, key: &Key, item: &ItemKey, validation: &Validation) -> Result<Option<ReadOutcome>, Error> {
        let [clock, entry] = self.registers.servers.read([self.registers.clock_key(), item]).await?;
        let epoch = self.registers.epoch_in(&clock).await?;
        self.validated.observe_epoch(epoch);
        let Some(DecodedEntry { stored, id }) = self.shared_entry(key, &validation.tags, &entry)? else { return Ok(None) };
        let is_valid = validation.holds(ValidAt { id, epoch });
        Ok(is_valid.then(|| ReadOutcome { found: Some((stored, Validity::Valid)), epoch: Some(epoch) }))
    }

    /// Returns the entry if the records of its tags allow it. The records of known tags are read together with the entry.
    async fn by_records(
        &self,
        key: &Key,
        item: &ItemKey,
        known: &[Tag],
        validation: Option<Validation>,
    ) -> Result<ReadOutcome, Error> {
        let before = self.validated.latest_epoch();
        let asked = validation.as_ref().map_or(known, |validation| &validation.tags);
        let records = self.registers.record_keys(asked);
        let mut commands = vec![Command::Get { key: item, cas: Cas::Omitted }];
        commands.extend(records.iter().map(get_record));
        let (clock, replies) = self.registers.servers.send_after(self.registers.clock_key(), &commands).await?;
        let epoch = self.registers.epoch_in(&clock).await?;
        self.validated.observe_epoch(epoch);
        let mut replies = replies.into_iter();
        let entry = self.entry_in(key, asked, replies.next().ok_or_else(missing_reply)?)?;
        let reading = ClockAndRecords { clock: epoch, records: records_in(&records, replies)? };
        if let Some(DecodedEntry { stored, id }) = entry {
            let validity = self.validity(&stored, asked, &reading).await?;
            // The clock had reached this epoch before the records were read: with several servers, in any order, only if it had
            // been observed before they were sent.
            let is_proven = validity == Some(Validity::Valid) && (self.registers.servers.are_ordered() || before == Some(epoch));
            self.validated.remember(item.hash(), stored.tags(), is_proven.then_some(ValidAt { id, epoch }));
            if let Some(validity) = validity {
                return Ok(ReadOutcome { found: Some((stored, validity)), epoch: Some(epoch) });
            }
        }
        self.missing(known, part(&reading, asked, known)).await
    }

    /// Prepares a fetch: the records that decide about its response must exist before the handler runs.
    async fn missing(&self, known: &[Tag], reading: Option<ClockAndRecords>) -> Result<ReadOutcome, Error> {
        let reading = match reading {
            Some(reading) => reading,
            None => self.registers.read_with_clock(known).await?,
        };
        let reading = registers::ensure_records(&self.registers, known, reading).await?;
        Ok(ReadOutcome { found: None, epoch: Some(reading.clock) })
    }

    /// Returns the validity of an entry by the records of the tags `asked`, and by those of its other tags, which are read if
    /// necessary; `None` if it is dead.
    async fn validity(&self, stored: &Stored, asked: &[Tag], reading: &ClockAndRecords) -> Result<Option<Validity>, Error> {
        if stored.tags() == asked {
            return Ok(reading.validity(stored.born()));
        }
        let (read, unread): (Vec<Tag>, Vec<Tag>) = stored.tags().iter().cloned().partition(|tag| asked.contains(tag));
        let by_read = part(reading, asked, &read).and_then(|reading| reading.validity(stored.born()));
        // The records that were read usually decide about a dead entry.
        if unread.is_empty() || by_read.is_none() {
            return Ok(by_read);
        }
        let by_unread = self.registers.read_with_clock(&unread).await?.validity(stored.born());
        Ok(worst([by_read, by_unread]))
    }

    /// Returns the entry in a reply that concurrent lookups share; the first of them decodes it.
    fn shared_entry(&self, key: &Key, tags: &[Tag], read: &ItemRead) -> Result<Option<DecodedEntry>, Error> {
        if let Some(decoded) = read.decoded(key) {
            return Ok(Some(decoded));
        }
        let decoded = self.entry_in(key, tags, Reply::clone(read))?;
        decoded.iter().for_each(|decoded| read.memoize(key, decoded));
        Ok(decoded)
    }

    /// Decodes the entry in a reply, unless it belongs to another key or is damaged; `tags` are those that it may have.
    fn entry_in(&self, key: &Key, tags: &[Tag], reply: Reply) -> Result<Option<DecodedEntry>, Error> {
        let Some((data, _)) = value(reply)? else { return Ok(None) };
        let decoded = self.decoded.decode(key, tags, &data, DecodeLimits::default());
        if let Err(corrupt) = &decoded {
            self.corrupt.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(?corrupt, "a value in memcached under one of larder's keys is not an entry of larder");
        }
        Ok(decoded.ok())
    }

    /// Stores the entry, unless it is too large, or the condition is not met.
    async fn set(&self, key: &Key, stored: &Stored, condition: Condition) -> Result<PutOutcome, Error> {
        let data = encode_whole(key, stored, self.compression).filter(|data| data.len() <= self.max_value);
        let Some(data) = data else { return Ok(self.refuse()) };
        let item = self.registers.keys.entry(key.as_bytes());
        let value = Value { data: &data, flags: 0 };
        let set = Command::Set { key: &item, value, ttl: ttl(stored), condition };
        match self.registers.servers.send_one(set).await? {
            Reply::Done { .. } => {
                self.validated.remember(item.hash(), stored.tags(), None);
                Ok(PutOutcome::Stored)
            }
            // Another entry is there, or none.
            Reply::Changed | Reply::Miss => Ok(PutOutcome::Invalidated),
            // The server has deleted the previous value.
            Reply::Refused(_) => Ok(self.refuse()),
            reply => Err(refusal(&reply)),
        }
    }

    fn refuse(&self) -> PutOutcome {
        self.refused.fetch_add(1, Ordering::Relaxed);
        PutOutcome::TooLarge
    }

    /// Returns whether the stored entry was fetched later than `born`. An entry of another incarnation is dead, and not later.
    async fn has_newer(&self, key: &Key, born: Epoch) -> Result<bool, Error> {
        let item = self.registers.keys.entry(key.as_bytes());
        let reply = self.registers.servers.send_one(Command::Get { key: &item, cas: Cas::Omitted }).await?;
        let present = self.entry_in(key, &[], reply)?;
        Ok(present.is_some_and(|present| born < present.stored.born()))
    }
}

impl RemoteStore for Store {
    async fn get(&self, key: &Key, known: &[Tag], limit: Duration) -> Result<ReadOutcome, Error> {
        with_deadline(TimeLimit::of_reads(limit), self.lookup(key, known)).await
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        let now = Clock::default().now();
        match write_marks::check_for_put(&self.registers, stored.born(), stored.tags(), now).await? {
            Err(refused) => Ok(refused),
            // A response that expired before it was stored must not replace a newer one.
            Ok(Validity::Stale { .. }) if self.has_newer(key, stored.born()).await? => Ok(PutOutcome::Invalidated),
            Ok(_) => self.set(key, &stored, Condition::Always).await,
        }
    }

    async fn replace(&self, key: &Key, present: &Stored, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        let item = self.registers.keys.entry(key.as_bytes());
        let reply = self.registers.servers.send_one(Command::Get { key: &item, cas: Cas::Wanted }).await?;
        let cas = match &reply {
            Reply::Value { cas, .. } => checked(*cas)?,
            Reply::Miss => return Ok(PutOutcome::Invalidated),
            reply => return Err(refusal(reply)),
        };
        let found = self.entry_in(key, present.tags(), reply)?;
        if !found.is_some_and(|found| found.stored.is_same_response(present)) {
            return Ok(PutOutcome::Invalidated);
        }
        self.set(key, &stored, Condition::Unchanged(cas)).await
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        Ok(registers::validity(&self.registers, born, tags).await? == Some(Validity::Valid))
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        let epoch = registers::invalidate(&self.registers, invalidation).await?;
        // Durable: a server that restarts has lost records or entries or both, and an entry without a record is not used.
        Ok(Receipt::new(epoch, invalidation.tags().len(), Scope::Nodes, Durability::Durable))
    }

    async fn hold_tags(&self, tags: &[Tag], writer: u64, life: Duration) -> Result<(), Error> {
        write_marks::hold(&self.registers, tags, writer, Clock::default().now() + life).await
    }

    async fn release_tags(&self, tags: &[Tag], writer: u64) -> Result<(), Error> {
        write_marks::release(&self.registers, tags, writer).await
    }

    /// Waits for a reply from every server: with one of them unreachable, almost no entry could be used.
    async fn epoch(&self) -> Result<Epoch, Error> {
        self.registers.servers.ping().await?;
        self.registers.clock().await
    }

    async fn set_mode(&self, mode: CacheMode) -> Result<(), Error> {
        self.registers.set_mode(mode).await
    }

    fn mode(&self) -> &SharedMode {
        self.registers.mode()
    }

    fn reset(&self) {
        self.registers.servers.reset();
    }

    fn servers(&self) -> Vec<StoreServer> {
        self.registers.servers.known()
    }

    /// An invalidation takes its epoch before it raises the records.
    fn reads_are_exact(&self) -> bool {
        false
    }
}

impl FetchLocks for Store {
    async fn lock_fetch(&self, key: &Key, life: Duration) -> Result<FetchLock, Error> {
        let item = self.registers.keys.fetch_lock(key.as_bytes());
        self.fetch_locks.lock(&self.registers.servers, &item, life).await
    }

    async fn unlock_fetch(&self, key: &Key) -> Result<(), Error> {
        let item = self.registers.keys.fetch_lock(key.as_bytes());
        self.fetch_locks.unlock(&self.registers.servers, &item).await
    }
}

/// Returns the records of `tags` out of those that were read for the tags `asked`; `None` if one was not read.
fn part(reading: &ClockAndRecords, asked: &[Tag], tags: &[Tag]) -> Option<ClockAndRecords> {
    let record = |tag| Some(reading.records.get(asked.iter().position(|asked| asked == tag)?)?.clone());
    Some(ClockAndRecords { clock: reading.clock, records: tags.iter().map(record).collect::<Option<_>>()? })
}

/// Returns the time to live of an entry in seconds: up to a twentieth shorter than the entry is usable, so that entries that were
/// stored together do not expire together.
fn ttl(stored: &Stored) -> u32 {
    let life = stored.expires().since(Clock::default().now()).min(Duration::from_secs(MAX_TTL.into()));
    let seconds = life.mul_f64(1.0 - 0.05 * fastrand::f64()).as_secs();
    // An expired entry still replaces the previous one; 0 would mean that it does not expire.
    u32::try_from(seconds).unwrap_or(MAX_TTL).max(1)
}
