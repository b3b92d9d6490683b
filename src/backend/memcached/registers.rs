//! The clock and the tag records on memcached servers.
//!
//! The clock is one number that `ma` increments: its incarnation in the upper 32 bits, random and never 0, the number of the epoch
//! in the lower. A counter that overflows becomes another incarnation, or an invalid clock, and either counts as a lost clock.
//! The number stays below 2⁶³: in a greater one memcached (at least 1.6.18) looks for a minus sign, reads past the end of the
//! number, and refuses to increment it if an earlier item has left one there.
//! Wall clocks are not used, since those of several nodes may differ.
//!
//! The flags of the clock's item are the mode of all nodes: every read of the clock returns them, and an increment leaves them as they are.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    item_key::{ItemKey, ItemKeys},
    meta_protocol::{Cas, Condition, MAX_TTL, Reply, Value, parse_number},
    servers::{Command, Servers},
};
use crate::{
    backend::{
        cache_mode::CacheMode,
        contract::Invalidation,
        remote::{
            registers::{ClockAndRecords, CompareAndSwap, Record, Registers, Versioned},
            shared_mode::SharedMode,
        },
    },
    entry::epoch::Epoch,
    error::Error,
    tag::Tag,
};

/// The clock and the tag records as items on the servers.
#[derive(Debug)]
pub(crate) struct MemcachedRegisters {
    pub(crate) servers: Servers,
    pub(crate) keys: ItemKeys,
    clock: ItemKey,
    mode: SharedMode,
}

/// How long a record stays pending if the fetch that created it does not settle it, in seconds.
const PENDING_TTL: u32 = 10;

/// The time to live of any other record. An expired record invalidates its tag like an evicted one: that costs each entry with the
/// tag one miss a month, and frees the records of tags that are no longer used.
const RECORD_TTL: u32 = MAX_TTL;

/// One bit less than half of the clock's number, which stays below 2⁶³.
const INCARNATION_BITS: u32 = 31;

/// The maximum number of attempts to start the clock while the server loses it.
const MAX_CLOCK_ATTEMPTS: usize = 8;

impl MemcachedRegisters {
    pub(crate) fn new(addresses: &[Arc<str>], key_prefix: &str, connect_limit: Duration) -> Self {
        let keys = ItemKeys::new(key_prefix);
        Self { servers: Servers::new(addresses, connect_limit), clock: keys.clock(), keys, mode: SharedMode::default() }
    }

    /// Returns the keys of the records of these tags.
    pub(crate) fn record_keys(&self, tags: &[Tag]) -> Vec<ItemKey> {
        tags.iter().map(|tag| self.keys.tag(tag.as_str())).collect()
    }

    pub(crate) const fn clock_key(&self) -> &ItemKey {
        &self.clock
    }

    /// Returns the epoch from the reply to a read of the clock; starts the clock if it is missing or malformed.
    pub(crate) async fn epoch_in(&self, reply: &Reply) -> Result<Epoch, Error> {
        let (clock, flags) = match reply {
            Reply::Value { data, flags, .. } => (parse_clock(data), *flags),
            Reply::Miss => (None, 0),
            reply => return Err(refusal(reply)),
        };
        self.mode.observe(u8::try_from(flags).ok().and_then(CacheMode::from_number));
        match clock {
            Some(epoch) => Ok(epoch),
            None => self.start_clock().await,
        }
    }

    /// Returns the mode of all nodes, as of the last read of the clock.
    pub(crate) const fn mode(&self) -> &SharedMode {
        &self.mode
    }

    /// Sets the mode of all nodes: stores the clock as it is with other flags, unless it has changed meanwhile.
    pub(crate) async fn set_mode(&self, mode: CacheMode) -> Result<(), Error> {
        for _ in 0..MAX_CLOCK_ATTEMPTS {
            let reply = self.servers.send_one(Command::Get { key: &self.clock, cas: Cas::Wanted }).await?;
            let Some((data, cas)) = value(reply)?.filter(|(data, _)| parse_clock(data).is_some()) else {
                self.start_clock().await?;
                continue;
            };
            let value = Value { data: data.trim_ascii_end(), flags: mode.number().into() };
            let condition = Condition::Unchanged(checked(cas)?);
            if is_stored(&self.servers.send_one(Command::Set { key: &self.clock, value, ttl: 0, condition }).await?)? {
                return Ok(());
            }
        }
        Err(Error::unavailable("the clock kept changing while the mode of all nodes was set: try again"))
    }

    /// Starts the clock if it is missing or malformed; returns its epoch.
    async fn start_clock(&self) -> Result<Epoch, Error> {
        for _ in 0..MAX_CLOCK_ATTEMPTS {
            let reply = self.servers.send_one(Command::Get { key: &self.clock, cas: Cas::Wanted }).await?;
            let condition = match value(reply)? {
                None => Condition::Absent,
                Some((data, cas)) => match parse_clock(&data) {
                    Some(epoch) => return Ok(epoch),
                    None => Condition::Unchanged(checked(cas)?),
                },
            };
            // The mode was lost with the clock.
            if let Some(epoch) = self.set_clock(condition, CacheMode::Enabled).await? {
                return Ok(epoch);
            }
        }
        Err(clock_lost())
    }

    /// Starts a new incarnation; returns `None` if the condition was not met.
    async fn set_clock(&self, condition: Condition, mode: CacheMode) -> Result<Option<Epoch>, Error> {
        let number = new_incarnation() << 32 | 1;
        let digits = number.to_string();
        let value = Value { data: digits.as_bytes(), flags: mode.number().into() };
        let set = Command::Set { key: &self.clock, value, ttl: 0, condition };
        let is_stored = is_stored(&self.servers.send_one(set).await?)?;
        Ok(is_stored.then(|| epoch(number)).flatten())
    }
}

#[async_trait]
impl Registers for MemcachedRegisters {
    async fn clock(&self) -> Result<Epoch, Error> {
        let (clock, _) = self.servers.send_after(&self.clock, &[]).await?;
        self.epoch_in(&clock).await
    }

    async fn advance(&self) -> Result<Epoch, Error> {
        for _ in 0..MAX_CLOCK_ATTEMPTS {
            match self.servers.send_one(Command::Increment { key: &self.clock }).await? {
                Reply::Value { data, .. } => match parse_clock(&data) {
                    Some(epoch) => return Ok(epoch),
                    None => self.start_clock().await?,
                },
                // Missing, or not a number.
                Reply::Miss | Reply::Rejected(_) => self.start_clock().await?,
                reply => return Err(refusal(&reply)),
            };
        }
        Err(clock_lost())
    }

    async fn renew(&self) -> Result<Epoch, Error> {
        let started = self.set_clock(Condition::Always, self.mode.get()).await?;
        started.ok_or_else(|| Error::unavailable("memcached did not store the new clock"))
    }

    async fn read(&self, tags: &[Tag]) -> Result<Vec<Option<Versioned>>, Error> {
        let keys = self.record_keys(tags);
        let replies = self.servers.send(&keys.iter().map(get_record).collect::<Vec<_>>()).await?;
        records_in(&keys, replies)
    }

    async fn read_with_clock(&self, tags: &[Tag]) -> Result<ClockAndRecords, Error> {
        let keys = self.record_keys(tags);
        let commands: Vec<_> = keys.iter().map(get_record).collect();
        let (clock, replies) = self.servers.send_after(&self.clock, &commands).await?;
        Ok(ClockAndRecords { clock: self.epoch_in(&clock).await?, records: records_in(&keys, replies)? })
    }

    async fn write(&self, changes: &[CompareAndSwap<'_>]) -> Result<Vec<Option<Versioned>>, Error> {
        let items: Vec<_> = changes.iter().map(|change| self.item(change)).collect();
        let commands: Vec<_> = items.iter().map(RecordItem::command).collect();
        let replies = self.servers.send(&commands).await?;
        let written = items.into_iter().zip(replies).map(|(item, reply)| item.written(&reply));
        written.collect()
    }

    async fn publish(&self, _at: Epoch, _invalidation: &Invalidation) -> Result<(), Error> {
        // There is no feed of invalidations: near tiers read the clock before each use of a copy.
        self.advance().await.map(drop)
    }
}

/// A record that will be written.
struct RecordItem {
    key: ItemKey,
    record: Bytes,
    data: Vec<u8>,
    ttl: u32,
    condition: Condition,
}

impl MemcachedRegisters {
    fn item(&self, change: &CompareAndSwap<'_>) -> RecordItem {
        let key = self.keys.tag(change.tag.as_str());
        let record = change.record.to_bytes();
        let data = [&record[..], &key.hash().to_le_bytes()].concat();
        let ttl = match change.record {
            Record::Pending { .. } => PENDING_TTL,
            Record::Marks(ref marks) if marks.is_empty() => PENDING_TTL,
            Record::Settled { .. } | Record::Marks(_) => RECORD_TTL,
        };
        let condition = change.seen.as_ref().map_or(Condition::Absent, |seen| Condition::Unchanged(seen.version()));
        RecordItem { key, record, data, ttl, condition }
    }
}

impl RecordItem {
    fn command(&self) -> Command<'_> {
        let value = Value { data: &self.data, flags: 0 };
        Command::Set { key: &self.key, value, ttl: self.ttl, condition: self.condition }
    }

    /// Returns the record as it is now, or `None` if its condition was not met.
    fn written(self, reply: &Reply) -> Result<Option<Versioned>, Error> {
        match (is_stored(reply)?, reply) {
            (true, Reply::Done { cas }) => Ok(Some(Versioned::new(self.record, checked(*cas)?))),
            _ => Ok(None),
        }
    }
}

/// The command that reads a record.
pub(crate) const fn get_record(key: &ItemKey) -> Command<'_> {
    Command::Get { key, cas: Cas::Wanted }
}

/// Returns the records from the replies to [`get_record`].
pub(crate) fn records_in(keys: &[ItemKey], replies: impl IntoIterator<Item = Reply>) -> Result<Vec<Option<Versioned>>, Error> {
    keys.iter().zip(replies).map(|(key, reply)| record_in(key, reply)).collect()
}

/// A record ends with the hash of its key: the value of another item counts as malformed.
fn record_in(key: &ItemKey, reply: Reply) -> Result<Option<Versioned>, Error> {
    let Some((data, cas)) = value(reply)? else { return Ok(None) };
    let record = data.strip_suffix(&key.hash().to_le_bytes()).map(|record| data.slice_ref(record));
    Ok(Some(Versioned::new(record.unwrap_or_default(), checked(cas)?)))
}

/// Returns the value and its CAS number from the reply to a read, if there is a value.
pub(crate) fn value(reply: Reply) -> Result<Option<(Bytes, u64)>, Error> {
    match reply {
        Reply::Value { data, cas, .. } => Ok(Some((data, cas))),
        Reply::Miss => Ok(None),
        reply => Err(refusal(&reply)),
    }
}

/// Returns whether a value was stored, or `false` if its condition was not met.
pub(crate) fn is_stored(reply: &Reply) -> Result<bool, Error> {
    match reply {
        Reply::Done { .. } => Ok(true),
        Reply::NotStored | Reply::Changed | Reply::Miss => Ok(false),
        reply => Err(refusal(reply)),
    }
}

/// Returns an error for a server without CAS numbers: values would be replaced unconditionally.
pub(crate) fn checked(cas: u64) -> Result<u64, Error> {
    match cas {
        0 => Err(Error::unavailable("memcached sends no CAS numbers, which larder needs: start it without `-C`")),
        cas => Ok(cas),
    }
}

/// The error for a reply that the command cannot have.
pub(crate) fn refusal(reply: &Reply) -> Error {
    match reply {
        Reply::Refused(text) | Reply::Rejected(text) => {
            Error::unavailable(format!("memcached refused the command: {}", String::from_utf8_lossy(text)))
        }
        _ => Error::unavailable("memcached sent the reply to another command"),
    }
}

fn clock_lost() -> Error {
    Error::unavailable("memcached keeps losing larder's clock")
}

/// memcached pads a number with spaces when it replaces a longer one.
fn parse_clock(data: &[u8]) -> Option<Epoch> {
    epoch(parse_number(data.trim_ascii_end())?)
}

fn epoch(number: u64) -> Option<Epoch> {
    let (incarnation, number) = (number >> 32, number & u64::from(u32::MAX));
    (1..1 << INCARNATION_BITS).contains(&incarnation).then(|| Epoch::of(incarnation, number))
}

/// Draws an incarnation from the operating system, so that no other node or process draws the same.
fn new_incarnation() -> u64 {
    let random = RandomState::new().hash_one(());
    (random >> (u64::BITS - INCARNATION_BITS)).max(1)
}
