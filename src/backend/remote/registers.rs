//! The clock and the invalidations of tags in a store in which one record changes atomically and several do not, such as Redis
//! Cluster and memcached.
//!
//! What the promise rests on, in a world where every record may be evicted at any moment and the clock may be lost:
//!
//! 1. The epoch is read before the handler runs. What has no record, or one that is pending, is dead.
//! 2. A fetch creates a missing record as pending, *then* reads the clock, *then* sets the record to what it read, if it is
//!    still its own pending one. A pending record that was left behind may be taken over.
//! 3. An invalidation takes the next epoch, raises each record that is there, and never creates one. What it cannot raise,
//!    such as a pending record, it replaces by a pending one of its own, so that rule 2 fails for whoever was about to set it.
//! 4. It then advances the clock once more, for those who judged by a record before it was raised and noted the epoch.
//! 5. A clock that is found missing begins as another incarnation. What is known of an incarnation says nothing about another.
//!
//! `tests/model` searches every order of the steps of this very file, and shows that it would notice each rule's absence.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use crate::backend::tag_record::{self, TagRecord};
use crate::{
    backend::{
        contract::Invalidation,
        validity::{Strength, Validity},
    },
    entry::epoch::Epoch,
    error::Error,
    tag::Tag,
};

/// What is asked of a store: the clock and each record change atomically, by themselves. No two do so together, not even
/// within one call, whose parts may take effect and be read in any order.
///
/// Every record may be lost at any moment, the clock included, but none may become again what it was before: a store that can go
/// back, by a failover or from its disk, has to know what it wrote before, and count it as lost.
///
/// An `Err` says that anything may have happened, or not.
#[async_trait]
pub(crate) trait Registers: Send + Sync + fmt::Debug + 'static {
    /// Reads the clock. One that is missing is created, with an incarnation that never was.
    async fn clock(&self) -> Result<Epoch, Error>;

    /// Takes the next epoch, greater than all before it in its incarnation. A missing clock is created as by
    /// [`clock`](Self::clock).
    async fn advance(&self) -> Result<Epoch, Error>;

    /// Begins a new incarnation: everything that is stored is dead.
    async fn renew(&self) -> Result<Epoch, Error>;

    /// Reads the record of each tag.
    async fn read(&self, tags: &[Tag]) -> Result<Vec<Option<Versioned>>, Error>;

    /// Reads the clock and the record of each tag, in one round trip and any order.
    async fn read_with_clock(&self, tags: &[Tag]) -> Result<Reading, Error>;

    /// Makes each change whose tag still has what was seen; returns what is there now, or `None` where something else was.
    ///
    /// A pending record is to live for some seconds, longer than a fetch takes to settle it; any other for longer than
    /// every entry. One that has expired counts as evicted: who was about to replace it sees that it is gone.
    async fn write(&self, changes: &[CompareAndSwap<'_>]) -> Result<Vec<Option<Versioned>>, Error>;

    /// Advances the clock, and tells near tiers, where there are any, what was invalidated at `at`.
    async fn publish(&self, at: Epoch, invalidation: &Invalidation) -> Result<(), Error>;

    /// A number that nobody else comes up with.
    fn nonce(&self) -> u64 {
        fastrand::u64(..)
    }
}

/// One record, to be written if what its tag has is still what was seen.
#[derive(Debug)]
pub(crate) struct CompareAndSwap<'t> {
    pub(crate) tag: &'t Tag,
    /// What is to be replaced; `None` if there must be no record.
    pub(crate) seen: Option<Versioned>,
    pub(crate) record: Record,
}

/// The clock and the records of some tags in their order, each as it was at some moment of the same call.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) clock: Epoch,
    pub(crate) records: Vec<Option<Versioned>>,
}

/// What stood at a tag's place, kept so that it can be replaced if it is still the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Versioned {
    bytes: Bytes,
    version: u64,
}

/// What is known of one tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// Somebody is about to find out: whatever has the tag is dead.
    Pending { nonce: u64 },
    /// The invalidations of the tag in one incarnation of the clock.
    Settled { incarnation: u64, record: TagRecord },
}

/// How often records are raised that somebody else replaces at the same time, before the invalidation fails: of many who do so at
/// once, half are done after each round.
const MAX_CAS_ROUNDS: usize = 64;

/// Creates the records that `reading` lacks, so that what is fetched next can be used; returns what is known then.
///
/// Its clock is what the next fetch is born at: no record that was created is later, and the handler has not been called yet.
/// Costs nothing if all records are there, else three round trips, and one more if others do the same at the same time. The
/// last of them creates the record; one that an invalidation has interfered with is left to the next fetch.
pub(crate) async fn ensure_records(registers: &dyn Registers, tags: &[Tag], reading: Reading) -> Result<Reading, Error> {
    if reading.unsettled().is_empty() {
        return Ok(reading);
    }
    let settled = settle_missing(registers, tags, reading).await?;
    if settled.unsettled().is_empty() {
        return Ok(settled);
    }
    // Whoever has taken over what is lacking is done by now, most likely.
    registers.read_with_clock(tags).await
}

/// Returns the validity that a read would find, and creates the records that are missing; `None` if the response is dead.
///
/// For a response that is about to be stored: its handler may have named tags that have no record yet. It is stored with the same
/// `born` unless it is dead, and every read checks it again.
pub(crate) async fn check_for_put(registers: &dyn Registers, born: Epoch, tags: &[Tag]) -> Result<Option<Validity>, Error> {
    let reading = registers.read_with_clock(tags).await?;
    Ok(ensure_records(registers, tags, reading).await?.validity(born))
}

/// Returns the validity of a response that was born at `born`; `None` if it is dead.
pub(crate) async fn validity(registers: &dyn Registers, born: Epoch, tags: &[Tag]) -> Result<Option<Validity>, Error> {
    Ok(registers.read_with_clock(tags).await?.validity(born))
}

/// Invalidates, and returns the epoch of it.
///
/// # Errors
/// If the store fails, or if others replace a record all the time. The invalidation may have taken effect in part; it has to be
/// repeated from its beginning.
pub(crate) async fn invalidate(registers: &dyn Registers, invalidation: &Invalidation) -> Result<Epoch, Error> {
    let (tags, force) = match invalidation {
        Invalidation::Tags(tags) => (tags, Strength::Hard),
        Invalidation::ExpireTags { tags, at } => (tags, Strength::Soft { at: *at }),
        Invalidation::Everything => return invalidate_everything(registers).await,
    };
    let at = registers.advance().await?;
    raise(registers, tags, at, force).await?;
    registers.publish(at, invalidation).await?;
    Ok(at)
}

async fn invalidate_everything(registers: &dyn Registers) -> Result<Epoch, Error> {
    let at = registers.renew().await?;
    registers.publish(at, &Invalidation::Everything).await?;
    Ok(at)
}

/// Creates the records that `reading` lacks; those that somebody else has replaced meanwhile are still lacking afterwards.
async fn settle_missing(registers: &dyn Registers, tags: &[Tag], reading: Reading) -> Result<Reading, Error> {
    let unsettled = reading.unsettled();
    let mut records = reading.records;
    let claims = unsettled.iter().map(|&at| {
        let record = Record::Pending { nonce: registers.nonce() };
        CompareAndSwap { tag: &tags[at], seen: records[at].take(), record }
    });
    let claims: Vec<_> = claims.collect();
    let claimed = registers.write(&claims).await?;
    // Read after the claims: an invalidation that has found no record to raise has taken an epoch that is in this one.
    let clock = registers.clock().await?;
    let claimed = unsettled.iter().zip(claimed).filter_map(|(&at, seen)| Some((at, seen?)));
    let (unsettled, changes): (Vec<_>, Vec<_>) = claimed
        .map(|(at, seen)| (at, CompareAndSwap { tag: &tags[at], seen: Some(seen), record: Record::settled(clock) }))
        .unzip();
    for (at, seen) in unsettled.into_iter().zip(registers.write(&changes).await?) {
        records[at] = seen;
    }
    Ok(Reading { clock, records })
}

/// Makes sure that whatever has one of the tags and was born before `at` is not used.
async fn raise(registers: &dyn Registers, tags: &[Tag], at: Epoch, force: Strength) -> Result<(), Error> {
    let mut tags = tags.to_vec();
    for again in (0..MAX_CAS_ROUNDS).map(|round| round > 0) {
        let records = registers.read(&tags).await?;
        let changes = tags.iter().zip(records).filter_map(|(tag, seen)| {
            // No record: whatever has the tag is dead. Creating one now could undo a later invalidation.
            let seen = seen?;
            // Written since this epoch was taken, or it would not have been in the way: who settles it reads a later clock.
            if again && seen.is_pending() {
                return None;
            }
            let record = seen.raised(at, force, registers.nonce())?;
            Some(CompareAndSwap { tag, seen: Some(seen), record })
        });
        let changes: Vec<_> = changes.collect();
        if changes.is_empty() {
            return Ok(());
        }
        let written = registers.write(&changes).await?;
        let lost = changes.iter().zip(written).filter(|(_, written)| written.is_none());
        tags = lost.map(|(change, _)| change.tag.clone()).collect();
        if tags.is_empty() {
            return Ok(());
        }
    }
    Err(Error::unavailable("the records of the tags kept changing while they were invalidated: try again"))
}

impl Reading {
    /// Returns the validity of a response with these tags that was born at `born`; `None` if it is dead.
    pub(crate) fn validity(&self, born: Epoch) -> Option<Validity> {
        tag_record::validity(born, self.clock, 0, self.records.iter().map(|seen| self.known(seen.as_ref()?)))
    }

    /// Which of the records say nothing, by their places.
    fn unsettled(&self) -> Vec<usize> {
        let says_nothing = |at: &usize| self.records[*at].as_ref().and_then(|seen| self.known(seen)).is_none();
        (0..self.records.len()).filter(says_nothing).collect()
    }

    fn known(&self, seen: &Versioned) -> Option<TagRecord> {
        match seen.record()? {
            Record::Settled { incarnation, record } if incarnation == self.clock.incarnation() => Some(record),
            Record::Settled { .. } | Record::Pending { .. } => None,
        }
    }
}

impl Versioned {
    /// What the store has, byte for byte; `version` is for stores that tell which writing of it this was.
    pub(crate) fn new(bytes: Bytes, version: u64) -> Self {
        Self { bytes, version }
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// `None` for bytes that mean nothing here: they count as no record, and can be replaced like one.
    fn record(&self) -> Option<Record> {
        Record::parse(&self.bytes)
    }

    fn is_pending(&self) -> bool {
        matches!(self.record(), Some(Record::Pending { .. }))
    }

    /// The record that has to replace this one when its tag is invalidated at `at`; `None` if nothing has to.
    fn raised(&self, at: Epoch, force: Strength, nonce: u64) -> Option<Record> {
        let present = self.record();
        let record = match &present {
            Some(Record::Settled { incarnation, record }) if *incarnation == at.incarnation() => {
                let mut record = record.clone();
                record.raise(at.get(), force);
                Record::Settled { incarnation: *incarnation, record }
            }
            // Pending, of another incarnation, or of another version of larder.
            _ => Record::Pending { nonce },
        };
        (present.as_ref() != Some(&record)).then_some(record)
    }
}

/// Says which form the rest has; another form of another version has another mark, and says nothing to this one.
const PENDING: [u8; 2] = *b"p\x01";
const SETTLED: [u8; 2] = *b"s\x02";

impl Record {
    pub(crate) fn settled(at: Epoch) -> Self {
        Self::Settled { incarnation: at.incarnation(), record: TagRecord::invalidated_at(at.get()) }
    }

    /// A mark, the numbers, the least significant byte first, and a checksum. Of each expiry the epoch and the milliseconds.
    pub(crate) fn to_bytes(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(30);
        match self {
            Self::Pending { nonce } => write(&mut bytes, PENDING, *nonce),
            Self::Settled { incarnation, record } => {
                write(&mut bytes, SETTLED, *incarnation);
                bytes.extend(record.to_bytes());
            }
        }
        bytes.extend(checksum(&bytes).to_le_bytes());
        bytes.into()
    }

    /// The record in these bytes; `None` if they are not one, whole and sound.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (bytes, sum) = bytes.split_last_chunk()?;
        if u32::from_le_bytes(*sum) != checksum(bytes) {
            return None;
        }
        let (&mark, bytes) = bytes.split_first_chunk()?;
        let (&number, rest) = bytes.split_first_chunk()?;
        let number = u64::from_le_bytes(number);
        match (mark, rest) {
            (PENDING, []) => Some(Self::Pending { nonce: number }),
            (SETTLED, record) => Some(Self::Settled { incarnation: number, record: TagRecord::from_bytes(record)? }),
            _ => None,
        }
    }
}

fn write(bytes: &mut Vec<u8>, mark: [u8; 2], number: u64) {
    bytes.extend(mark);
    bytes.extend(number.to_le_bytes());
}

/// FNV-1a: against bytes that were damaged, not against those who would write their own.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, &byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;

    const NOON: Timestamp = Timestamp::from_millis(43_200_000);

    fn settled(incarnation: u64, hard: u64, expired: &[u64]) -> Record {
        let mut record = TagRecord::invalidated_at(hard);
        expired.iter().for_each(|&epoch| record.expire(epoch, NOON + Duration::from_secs(epoch)));
        Record::Settled { incarnation, record }
    }

    /// What was expired at `epoch` is stale since then.
    fn stale_since(epoch: u64) -> Option<Validity> {
        Some(Validity::Stale { since: NOON + Duration::from_secs(epoch) })
    }

    fn seen(record: Record) -> Versioned {
        Versioned::new(record.to_bytes(), 0)
    }

    fn reading(records: Vec<Option<Versioned>>) -> Reading {
        Reading { clock: Epoch::of(1, 9), records }
    }

    #[test]
    fn a_record_comes_back_from_its_bytes() {
        for record in [settled(u64::MAX, 1 << 63, &[]), settled(1, 7, &[9, 17]), Record::Pending { nonce: 0x0123_4567_89ab_cdef }]
        {
            assert_eq!(Record::parse(&record.to_bytes()), Some(record));
        }
    }

    #[test]
    fn damaged_bytes_are_no_record() {
        for record in [settled(1, 7, &[9]), Record::Pending { nonce: 7 }] {
            let whole = record.to_bytes();
            for length in 0..whole.len() {
                assert_eq!(Record::parse(&whole[..length]), None);
            }
            for bit in 0..whole.len() * 8 {
                let mut damaged = whole.to_vec();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Record::parse(&damaged), None);
            }
        }
    }

    #[test]
    fn a_sound_record_of_another_form_is_none() {
        for (mark, numbers) in [(*b"s\x01", &[1_u64, 7, 7][..]), (SETTLED, &[1]), (SETTLED, &[1, 7, 7]), (PENDING, &[])] {
            let mut bytes = mark.to_vec();
            numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
            bytes.extend(checksum(&bytes).to_le_bytes());
            assert_eq!(Record::parse(&bytes), None);
        }
    }

    #[test]
    fn what_was_born_when_its_record_was_settled_is_alive() {
        let read = reading(vec![Some(seen(settled(1, 7, &[])))]);
        assert_eq!(read.validity(Epoch::of(1, 7)), Some(Validity::Valid));
        assert_eq!(read.validity(Epoch::of(1, 6)), None);
    }

    #[test]
    fn the_worst_record_decides() {
        let expired = settled(1, 2, &[8]);
        let read = reading(vec![Some(seen(settled(1, 7, &[]))), Some(seen(expired))]);
        assert_eq!(read.validity(Epoch::of(1, 7)), stale_since(8));
        assert_eq!(read.validity(Epoch::of(1, 8)), Some(Validity::Valid));
    }

    #[test]
    fn what_was_expired_by_several_tags_is_stale_since_the_first() {
        let read = reading(vec![Some(seen(settled(1, 2, &[8]))), Some(seen(settled(1, 2, &[4, 9])))]);
        assert_eq!(read.validity(Epoch::of(1, 3)), stale_since(4));
        assert_eq!(read.validity(Epoch::of(1, 5)), stale_since(8));
        assert_eq!(read.validity(Epoch::of(1, 8)), stale_since(9));
    }

    #[test]
    fn what_is_unknown_is_dead() {
        let of_another = settled(2, 7, &[]);
        let foreign = Versioned::new(Bytes::from_static(b"7"), 0);
        for unknown in [None, Some(seen(Record::Pending { nonce: 7 })), Some(seen(of_another)), Some(foreign)] {
            let read = reading(vec![Some(seen(settled(1, 7, &[]))), unknown]);
            assert_eq!(read.validity(Epoch::of(1, 9)), None);
            assert_eq!(read.unsettled(), [1]);
        }
        assert_eq!(reading(vec![]).validity(Epoch::of(2, 9)), None);
    }

    #[test]
    fn a_record_is_raised_and_never_lowered() {
        let at = Epoch::of(1, 8);
        let raised = |record: Record, force| seen(record).raised(at, force, 0);
        let softly = |at| Strength::Soft { at: NOON + Duration::from_secs(at) };
        assert_eq!(raised(settled(1, 7, &[]), Strength::Hard), Some(settled(1, 8, &[])));
        assert_eq!(raised(settled(1, 7, &[]), softly(8)), Some(settled(1, 7, &[8])));
        assert_eq!(raised(settled(1, 7, &[9]), softly(8)), Some(settled(1, 7, &[8, 9])));
        assert_eq!(raised(settled(1, 5, &[7, 9]), Strength::Hard), Some(settled(1, 8, &[9])));
        assert_eq!(raised(settled(1, 9, &[]), Strength::Hard), None);
        assert_eq!(raised(settled(1, 9, &[]), softly(8)), None);
        assert_eq!(raised(settled(1, 7, &[8]), softly(8)), None);
    }

    #[test]
    fn what_cannot_be_raised_becomes_pending_anew() {
        let of_another = settled(2, 7, &[]);
        let foreign = Versioned::new(Bytes::from_static(b"7"), 0);
        for seen in [seen(Record::Pending { nonce: 1 }), seen(of_another), foreign] {
            assert_eq!(seen.raised(Epoch::of(1, 8), Strength::Hard, 5), Some(Record::Pending { nonce: 5 }));
        }
    }
}
