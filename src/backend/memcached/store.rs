//! The store itself, which waits for as long as its servers take.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    item_key::ItemKey,
    meta_protocol::{Cas, Condition, MAX_TTL, Reply},
    notes::Notes,
    question::Question,
    registers::{MemcachedRegisters, ask_record, no_reply, records_in, refusal, value},
    servers::Command,
};
use crate::{
    backend::{
        contract::{Durability, Invalidation, PutOutcome, ReadOutcome, Receipt, Scope},
        remote::{
            RemoteStore,
            registers::{self, Reading, Registers as _},
            with_deadline,
        },
        validity::{Validity, worst},
    },
    clock::Clock,
    codec::{
        Head,
        compression::{Compression, DecodeLimits},
        decode, encode_whole,
    },
    entry::{epoch::Epoch, stored::Stored},
    error::Error,
    key::Key,
    tag::Tag,
};

/// Entries, and the [`MemcachedRegisters`] by which they are judged.
#[derive(Debug)]
pub(crate) struct Store {
    items: MemcachedRegisters,
    notes: Notes,
    options: Options,
    /// Values that were found and could not be used, and those that were not stored because of their size.
    corrupt: AtomicU64,
    refused: AtomicU64,
}

/// An entry, and the id by which this writing of it is known.
type Found = (Arc<Stored>, u64);

/// What may be set about entries.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) compression: Compression,
    /// The largest value, in bytes, that the servers are asked to keep.
    pub(crate) max_value: usize,
}

impl Store {
    pub(crate) fn new(items: MemcachedRegisters, options: Options) -> Self {
        Self { items, notes: Notes::new(), options, corrupt: AtomicU64::new(0), refused: AtomicU64::new(0) }
    }

    pub(crate) fn corrupt(&self) -> u64 {
        self.corrupt.load(Ordering::Relaxed)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Reads the clock.
    pub(crate) async fn clock(&self) -> Result<Epoch, Error> {
        self.items.clock().await
    }

    /// What is usable under `name` by what this node has noted, and the clock; both are read together with all who read them at
    /// the same time.
    async fn noted(&self, key: &Key, name: &ItemKey, known: &[Tag]) -> Result<Option<ReadOutcome>, Error> {
        if !self.notes.expect(name.hash(), self.notes.latest()) {
            return Ok(None);
        }
        let [clock, entry] = self.items.servers.ask_together([self.items.clock_name(), name]).await?;
        let clock = self.items.clock_in(clock.reply().ok_or_else(no_reply)?).await?;
        self.notes.set_latest(clock);
        let Some((stored, id)) = self.entry_in_common(key, known, &entry)? else { return Ok(None) };
        let is_usable = self.notes.prove(name.hash(), id, clock);
        Ok(is_usable.then(|| ReadOutcome { found: Some((stored, Validity::Valid)), epoch: Some(clock) }))
    }

    /// What is usable under `name` by the records of its tags, the `known` ones of which are read with it.
    async fn judged(&self, key: &Key, name: &ItemKey, known: &[Tag]) -> Result<ReadOutcome, Error> {
        let before = self.notes.latest();
        let names = self.items.records_of(known);
        let mut ask = vec![Command::Get { name, cas: Cas::Omitted }];
        ask.extend(names.iter().map(ask_record));
        let (clock, replies) = self.items.servers.ask_behind(self.items.clock_name(), &ask).await?;
        let clock = self.items.clock_in(&clock).await?;
        self.notes.set_latest(clock);
        let mut replies = replies.into_iter();
        let entry = self.entry_in(key, known, replies.next().ok_or_else(no_reply)?)?;
        let reading = Reading { clock, records: records_in(&names, replies)? };
        if let Some((stored, id)) = entry
            && let Some(standing) = self.standing(&stored, known, &reading).await?
        {
            // The records were read when the clock stood there, if not before: it did so when they were asked for.
            if standing == Validity::Valid && (self.items.servers.answer_in_order() || before == clock) {
                self.notes.add(name.hash(), id, clock);
            }
            return Ok(ReadOutcome { found: Some((stored, standing)), epoch: Some(clock) });
        }
        // A fetch is about to begin: what it stores will be judged by records, which have to be there before it begins.
        let reading = registers::ensure_records(&self.items, known, reading).await?;
        Ok(ReadOutcome { found: None, epoch: Some(reading.clock) })
    }

    /// Returns the validity of `stored`, of whose tags `reading` has the records of those that are `known`; `None` if it is dead.
    async fn standing(&self, stored: &Stored, known: &[Tag], reading: &Reading) -> Result<Option<Validity>, Error> {
        if stored.tags() == known {
            return Ok(reading.validity(stored.born()));
        }
        let unknown: Vec<Tag> = stored.tags().iter().filter(|tag| !known.contains(tag)).cloned().collect();
        // Most entries that are dead are so by what is known already.
        let shared = known.iter().zip(&reading.records).filter(|(tag, _)| stored.tags().contains(tag));
        let shared = Reading { clock: reading.clock, records: shared.map(|(_, record)| record.clone()).collect() };
        let by_known = shared.validity(stored.born());
        if by_known.is_none() || unknown.is_empty() {
            return Ok(by_known);
        }
        Ok(worst([by_known, self.items.read_with_clock(&unknown).await?.validity(stored.born())]))
    }

    /// The entry that several have asked for, of whom the first reads it.
    fn entry_in_common(&self, key: &Key, known: &[Tag], entry: &Question) -> Result<Option<Found>, Error> {
        // ItemKeys are digests of keys: only the keys tell for certain.
        if let Some((_, found)) = entry.made::<(Key, Found)>().filter(|(other, _)| other == key) {
            return Ok(Some(found.clone()));
        }
        let found = self.entry_in(key, known, entry.reply().cloned().ok_or_else(no_reply)?)?;
        if let Some(found) = &found {
            entry.leave(|| (key.clone(), found.clone()));
        }
        Ok(found)
    }

    /// The entry in a reply; none if it is not what it should be.
    fn entry_in(&self, key: &Key, known: &[Tag], reply: Reply) -> Result<Option<Found>, Error> {
        let Some((data, _)) = value(reply)? else { return Ok(None) };
        let decoded = Head::split_with_hint(&data, known).and_then(|(head, body)| {
            let id = head.id;
            Ok((Arc::new(decode(key, head, &data.slice_ref(body), DecodeLimits::default())?), id))
        });
        if let Err(corrupt) = &decoded {
            self.corrupt.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(?corrupt, "what memcached had under a key of larder's was none of its entries");
        }
        Ok(decoded.ok())
    }

    /// Stores what is not dead, unless it is too large.
    async fn set(&self, key: &Key, stored: &Stored) -> Result<PutOutcome, Error> {
        let data = encode_whole(key, stored, self.options.compression).filter(|data| data.len() <= self.options.max_value);
        let Some(data) = data else { return Ok(self.refuse()) };
        let name = self.items.names.entry(key.as_bytes());
        let set = Command::Set { name: &name, data: &data, ttl: ttl(stored), condition: Condition::Always };
        match self.items.servers.ask_one(set).await? {
            Reply::Done { .. } => Ok(PutOutcome::Stored),
            // What stood there before is gone, too.
            Reply::Refused(_) => Ok(self.refuse()),
            reply => Err(refusal(reply)),
        }
    }

    fn refuse(&self) -> PutOutcome {
        self.refused.fetch_add(1, Ordering::Relaxed);
        PutOutcome::TooLarge
    }

    /// Returns whether the entry that is there now was fetched later. One of another incarnation is dead, and not later than any other.
    async fn has_newer(&self, key: &Key, born: Epoch) -> Result<bool, Error> {
        let name = self.items.names.entry(key.as_bytes());
        let reply = self.items.servers.ask_one(Command::Get { name: &name, cas: Cas::Omitted }).await?;
        let present = self.entry_in(key, &[], reply)?;
        Ok(present.is_some_and(|(present, _)| born < present.born()))
    }

    async fn lookup(&self, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        let name = self.items.names.entry(key.as_bytes());
        match self.noted(key, &name, known).await? {
            Some(read) => Ok(read),
            // Rare, and large: it would make every look-up large.
            None => Box::pin(self.judged(key, &name, known)).await,
        }
    }
}

impl RemoteStore for Store {
    async fn get(&self, key: &Key, known: &[Tag], limit: Duration) -> Result<ReadOutcome, Error> {
        with_deadline(limit, self.lookup(key, known)).await
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        match registers::check_for_put(&self.items, stored.born(), stored.tags()).await? {
            None => Ok(PutOutcome::Invalidated),
            // Expired on its way: better than nothing, but not than what was fetched since.
            Some(Validity::Stale { .. }) if self.has_newer(key, stored.born()).await? => Ok(PutOutcome::Invalidated),
            Some(_) => self.set(key, &stored).await,
        }
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        Ok(registers::validity(&self.items, born, tags).await? == Some(Validity::Valid))
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        let epoch = registers::invalidate(&self.items, invalidation).await?;
        // Durable: a server that restarts has lost its records, or the entries, or both; without a record nothing is used.
        Ok(Receipt::new(epoch, invalidation.tags().len(), Scope::Nodes, Durability::Durable))
    }

    /// With a sign of life from every server: with one of them away, hardly anything could be used.
    async fn epoch(&self) -> Result<Epoch, Error> {
        self.items.servers.ping().await?;
        self.items.clock().await
    }

    fn reset(&self) {
        self.items.servers.reset();
    }
}

/// For how many seconds an entry is kept: up to a twentieth less than it could be used, so that what was stored together does
/// not end together.
fn ttl(stored: &Stored) -> u32 {
    let life = stored.expires().since(Clock::default().now()).min(Duration::from_secs(MAX_TTL.into()));
    let seconds = life.mul_f64(1.0 - 0.05 * fastrand::f64()).as_secs();
    // What says that nothing is to be used replaces what was; it need not stay.
    u32::try_from(seconds).unwrap_or(MAX_TTL).max(1)
}
