//! What is kept on the servers beside entries: the clock and the records of tags.
//!
//! The clock is one number that `ma` counts up: its incarnation in the upper 32 bits, a random one that is never 0, the
//! epoch's number in the lower. A count that overflows ends up as another incarnation, or as none, as a clock that was lost
//! would. It stays below 2⁶³: in a greater number memcached (at least 1.6.18) looks for a minus sign, does not stop at the number's
//! end, and refuses to count if an item that was there before has left one behind.
//! No wall clock has a part in it: those of several nodes may differ.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    item_key::{ItemKey, ItemKeys},
    meta_protocol::{Cas, Condition, MAX_TTL, Reply, parse_number},
    servers::{Command, Servers},
};
use crate::{
    backend::{
        contract::Invalidation,
        remote::registers::{CompareAndSwap, Reading, Record, Registers, Versioned},
    },
    entry::epoch::Epoch,
    error::Error,
    tag::Tag,
};

/// The servers, and what larder's items on them are called.
#[derive(Debug)]
pub(crate) struct MemcachedRegisters {
    pub(crate) servers: Servers,
    pub(crate) names: ItemKeys,
    clock: ItemKey,
}

/// How long a record waits for the fetch that is about to settle it, in seconds.
const PENDING_TTL: u32 = 10;

/// How long any other record lives after it was written. A record that has ended is dead like one that was evicted: it
/// costs everything that has the tag one miss a month, and the server need not keep what nobody asks for.
const RECORD_TTL: u32 = MAX_TTL;

/// Incarnations are shorter than half of the clock's number, which stays below 2⁶³.
const INCARNATION_BITS: u32 = 31;

/// How often the clock is begun while others begin and lose it at the same time.
const MAX_CLOCK_ATTEMPTS: usize = 8;

impl MemcachedRegisters {
    pub(crate) fn new(addresses: &[Arc<str>], namespace: &str, connect_limit: Duration) -> Self {
        let names = ItemKeys::new(namespace);
        Self { servers: Servers::new(addresses, connect_limit), clock: names.clock(), names }
    }

    /// What the records of these tags are called.
    pub(crate) fn records_of(&self, tags: &[Tag]) -> Vec<ItemKey> {
        tags.iter().map(|tag| self.names.tag(tag.as_str())).collect()
    }

    /// What the clock is called.
    pub(crate) const fn clock_name(&self) -> &ItemKey {
        &self.clock
    }

    /// The clock in a reply; a new one if there was none.
    pub(crate) async fn clock_in(&self, reply: &Reply) -> Result<Epoch, Error> {
        let clock = match reply {
            Reply::Value { data, .. } => parse_clock(data),
            Reply::Miss => None,
            reply => return Err(refusal(reply.clone())),
        };
        match clock {
            Some(epoch) => Ok(epoch),
            None => self.begin_clock().await,
        }
    }

    /// Begins a clock if there is none, or if there is something else in its place.
    async fn begin_clock(&self) -> Result<Epoch, Error> {
        for _ in 0..MAX_CLOCK_ATTEMPTS {
            let reply = self.servers.ask_one(Command::Get { name: &self.clock, cas: Cas::Wanted }).await?;
            let condition = match value(reply)? {
                None => Condition::Absent,
                Some((data, cas)) => match parse_clock(&data) {
                    Some(epoch) => return Ok(epoch),
                    None => Condition::Unchanged(version(cas)?),
                },
            };
            if let Some(epoch) = self.set_clock(condition).await? {
                return Ok(epoch);
            }
        }
        Err(Error::unavailable("memcached keeps losing larder's clock"))
    }

    /// Begins a new incarnation; `None` if the condition was not met.
    async fn set_clock(&self, condition: Condition) -> Result<Option<Epoch>, Error> {
        let number = new_incarnation() << 32 | 1;
        let digits = number.to_string();
        let set = Command::Set { name: &self.clock, data: digits.as_bytes(), ttl: 0, condition };
        let done = is_done(&self.servers.ask_one(set).await?)?;
        Ok(done.then(|| epoch(number)).flatten())
    }
}

#[async_trait]
impl Registers for MemcachedRegisters {
    async fn clock(&self) -> Result<Epoch, Error> {
        let (reply, _) = self.servers.ask_behind(&self.clock, &[]).await?;
        self.clock_in(&reply).await
    }

    async fn advance(&self) -> Result<Epoch, Error> {
        for _ in 0..MAX_CLOCK_ATTEMPTS {
            match self.servers.ask_one(Command::Increment { name: &self.clock }).await? {
                Reply::Value { data, .. } => match parse_clock(&data) {
                    Some(epoch) => return Ok(epoch),
                    None => self.begin_clock().await?,
                },
                // Missing, or not a number.
                Reply::Miss | Reply::Rejected(_) => self.begin_clock().await?,
                reply => return Err(refusal(reply)),
            };
        }
        Err(Error::unavailable("memcached keeps losing larder's clock"))
    }

    async fn renew(&self) -> Result<Epoch, Error> {
        let begun = self.set_clock(Condition::Always).await?;
        begun.ok_or_else(|| Error::unavailable("memcached did not take a new clock"))
    }

    async fn read(&self, tags: &[Tag]) -> Result<Vec<Option<Versioned>>, Error> {
        let names = self.records_of(tags);
        let replies = self.servers.ask(&names.iter().map(ask_record).collect::<Vec<_>>()).await?;
        records_in(&names, replies)
    }

    async fn read_with_clock(&self, tags: &[Tag]) -> Result<Reading, Error> {
        let names = self.records_of(tags);
        let ask: Vec<_> = names.iter().map(ask_record).collect();
        let (clock, replies) = self.servers.ask_behind(&self.clock, &ask).await?;
        Ok(Reading { clock: self.clock_in(&clock).await?, records: records_in(&names, replies)? })
    }

    async fn write(&self, changes: &[CompareAndSwap<'_>]) -> Result<Vec<Option<Versioned>>, Error> {
        let items: Vec<_> = changes.iter().map(|change| self.item(change)).collect();
        let commands: Vec<_> = items.iter().map(RecordItem::command).collect();
        let replies = self.servers.ask(&commands).await?;
        let written = items.into_iter().zip(replies).map(|(item, reply)| item.written(&reply));
        written.collect()
    }

    async fn publish(&self, _at: Epoch, _invalidation: &Invalidation) -> Result<(), Error> {
        // Near tiers ask for the clock each time: there is no stream to tell them by.
        self.advance().await.map(drop)
    }
}

/// A record on its way to a server.
struct RecordItem {
    name: ItemKey,
    record: Bytes,
    data: Vec<u8>,
    ttl: u32,
    condition: Condition,
}

impl MemcachedRegisters {
    fn item(&self, change: &CompareAndSwap<'_>) -> RecordItem {
        let name = self.names.tag(change.tag.as_str());
        let record = change.record.to_bytes();
        let data = [&record[..], &name.hash().to_le_bytes()].concat();
        let ttl = match change.record {
            Record::Pending { .. } => PENDING_TTL,
            Record::Settled { .. } => RECORD_TTL,
        };
        let condition = change.seen.as_ref().map_or(Condition::Absent, |seen| Condition::Unchanged(seen.version()));
        RecordItem { name, record, data, ttl, condition }
    }
}

impl RecordItem {
    fn command(&self) -> Command<'_> {
        Command::Set { name: &self.name, data: &self.data, ttl: self.ttl, condition: self.condition }
    }

    fn written(self, reply: &Reply) -> Result<Option<Versioned>, Error> {
        match (is_done(reply)?, reply) {
            (true, Reply::Done { cas }) => Ok(Some(Versioned::new(self.record, version(*cas)?))),
            _ => Ok(None),
        }
    }
}

/// Asks for the record of a tag.
pub(crate) const fn ask_record(name: &ItemKey) -> Command<'_> {
    Command::Get { name, cas: Cas::Wanted }
}

/// The record in the reply to [`ask_record`]. Behind it stands the hash of its name: what belongs to another item means
/// nothing here.
fn record_in(name: &ItemKey, reply: Reply) -> Result<Option<Versioned>, Error> {
    let Some((data, cas)) = value(reply)? else { return Ok(None) };
    let record = data.strip_suffix(&name.hash().to_le_bytes()).map(|record| data.slice_ref(record));
    Ok(Some(Versioned::new(record.unwrap_or_default(), version(cas)?)))
}

pub(crate) fn records_in(names: &[ItemKey], replies: impl IntoIterator<Item = Reply>) -> Result<Vec<Option<Versioned>>, Error> {
    names.iter().zip(replies).map(|(name, reply)| record_in(name, reply)).collect()
}

/// The value and the version in the reply to a question, if there is something.
pub(crate) fn value(reply: Reply) -> Result<Option<(Bytes, u64)>, Error> {
    match reply {
        Reply::Value { data, cas } => Ok(Some((data, cas))),
        Reply::Miss => Ok(None),
        reply => Err(refusal(reply)),
    }
}

/// Whether something was stored; not so if its condition was not met.
fn is_done(reply: &Reply) -> Result<bool, Error> {
    match reply {
        Reply::Done { .. } => Ok(true),
        Reply::NotStored | Reply::Changed | Reply::Miss => Ok(false),
        reply => Err(refusal(reply.clone())),
    }
}

/// A version by which something can be replaced: without one it would be replaced whatever stands there.
fn version(cas: u64) -> Result<u64, Error> {
    match cas {
        0 => Err(Error::unavailable("memcached tells no versions: start it without `-C`, which larder cannot work with")),
        cas => Ok(cas),
    }
}

pub(crate) fn refusal(reply: Reply) -> Error {
    match reply {
        Reply::Refused(text) | Reply::Rejected(text) => {
            Error::unavailable(format!("memcached refused: {}", String::from_utf8_lossy(&text)))
        }
        _ => Error::unavailable("memcached gave a reply to something else"),
    }
}

pub(crate) fn no_reply() -> Error {
    Error::unavailable("memcached gave fewer replies than it was asked for")
}

/// Shorter numbers are padded with spaces when they replace longer ones.
fn parse_clock(data: &[u8]) -> Option<Epoch> {
    epoch(parse_number(data.trim_ascii_end())?)
}

fn epoch(number: u64) -> Option<Epoch> {
    let (incarnation, number) = (number >> 32, number & u64::from(u32::MAX));
    (1..1 << INCARNATION_BITS).contains(&incarnation).then(|| Epoch::of(incarnation, number))
}

/// Drawn by the operating system: other nodes, and earlier lives of this one, must not come up with the same.
fn new_incarnation() -> u64 {
    let random = RandomState::new().hash_one(());
    (random >> (u64::BITS - INCARNATION_BITS)).max(1)
}
