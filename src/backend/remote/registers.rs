//! Tag records by compare-and-swap, for stores in which single records change atomically and several do not, such as Redis Cluster
//! and memcached.
//!
//! The promise follows from these rules, although every record may be evicted at any time and the clock may be lost:
//!
//! 1. The epoch is read before the handler runs. An entry is dead if one of its tags has no record, or a pending one.
//! 2. A fetch creates a missing record as pending, *then* reads the clock, *then* replaces the record by the epoch that it read,
//!    if the record is still its own pending one. Another fetch may take over a pending record that was abandoned.
//! 3. An invalidation takes the next epoch, raises each existing record, and never creates one. A record that it cannot raise, such
//!    as a pending one, it replaces by a pending one of its own, so that rule 2 fails for the fetch that was about to settle it.
//! 4. It then advances the clock again, for near tiers that validated an entry at the first epoch by a record that was raised later.
//! 5. A missing clock starts as another incarnation. Epochs of different incarnations are not comparable.
//!
//! `tests/model` searches every order of the steps of this file, and shows that it would notice the absence of each rule.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use crate::backend::tag_record::{self, TagRecord};
use crate::{
    backend::{
        contract::Invalidation,
        validity::{Strength, Validity},
        write_marks::WriteMarks,
    },
    entry::epoch::Epoch,
    error::Error,
    tag::Tag,
};

/// The clock and the tag records of a store. The clock and each record change atomically, but never together: the parts of one call
/// may take effect, and be read, in any order.
///
/// The store may lose any record at any time, and the clock. But no record may return to an earlier state: a store that can go back,
/// by a failover or from its disk, must recognize what it wrote before, and treat it as lost.
///
/// After an `Err`, the call may have taken effect, in part or not at all.
#[async_trait]
pub(crate) trait Registers: Send + Sync + fmt::Debug + 'static {
    /// Reads the clock. A missing clock is created, with an incarnation that was never used.
    async fn clock(&self) -> Result<Epoch, Error>;

    /// Takes the next epoch, greater than all before it in its incarnation. A missing clock is created as by
    /// [`clock`](Self::clock).
    async fn advance(&self) -> Result<Epoch, Error>;

    /// Starts a new incarnation: all stored entries are dead.
    async fn renew(&self) -> Result<Epoch, Error>;

    /// Reads the record of each tag.
    async fn read(&self, tags: &[Tag]) -> Result<Vec<Option<Versioned>>, Error>;

    /// Reads the clock and the record of each tag, in one round trip and any order.
    async fn read_with_clock(&self, tags: &[Tag]) -> Result<ClockAndRecords, Error>;

    /// Makes each change whose tag still has the expected record; returns the new record of each tag, or `None` for a change that was
    /// not made.
    ///
    /// A pending record must live for some seconds, longer than a fetch takes to settle it; any other record for longer than every
    /// entry. Marks without a writer live for some seconds, longer than the reads of a response that is being stored take. An expired
    /// record counts as evicted: a change that expects it is not made.
    async fn write(&self, changes: &[CompareAndSwap<'_>]) -> Result<Vec<Option<Versioned>>, Error>;

    /// Advances the clock, and publishes the invalidation of the epoch `at` to near tiers, if the store has a feed for them.
    async fn publish(&self, at: Epoch, invalidation: &Invalidation) -> Result<(), Error>;

    /// Draws a number that no other node draws.
    fn nonce(&self) -> u64 {
        fastrand::u64(..)
    }
}

/// The change of one record, made if its tag still has the expected one.
#[derive(Debug)]
pub(crate) struct CompareAndSwap<'t> {
    pub(crate) tag: &'t Tag,
    /// The expected record; `None` if there must be none.
    pub(crate) seen: Option<Versioned>,
    pub(crate) record: Record,
}

/// The clock and the records of some tags, in order. Each was read during the same call, but not at the same time.
#[derive(Debug, Clone)]
pub(crate) struct ClockAndRecords {
    pub(crate) clock: Epoch,
    pub(crate) records: Vec<Option<Versioned>>,
}

/// The value of a record as it was read, so that it can be replaced if it is still the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Versioned {
    bytes: Bytes,
    version: u64,
}

/// The record of one tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// A fetch is about to settle it: all entries with the tag are dead.
    Pending { nonce: u64 },
    /// The invalidations of the tag in one incarnation of the clock.
    Settled { incarnation: u64, record: TagRecord },
    /// The writers that hold a tag, under a name of their own: see `write_marks.rs`.
    Marks(WriteMarks),
}

/// The maximum number of attempts to raise records that concurrent calls replace, before the invalidation fails. Of many concurrent
/// invalidations, half succeed in each round.
pub(crate) const MAX_CAS_ROUNDS: usize = 64;

/// Creates the records that `reading` lacks, so that the response of the next fetch can be used; returns the reading afterwards.
///
/// Its clock is the epoch at which the fetch is born: no created record is later, and the handler has not been called yet. This costs
/// nothing if all records exist, else three round trips, and one more if concurrent fetches create the same records. The last of
/// them settles the record; a record that an invalidation has replaced is left to the next fetch.
pub(crate) async fn ensure_records(
    registers: &dyn Registers,
    tags: &[Tag],
    reading: ClockAndRecords,
) -> Result<ClockAndRecords, Error> {
    if reading.unsettled().is_empty() {
        return Ok(reading);
    }
    let settled = settle_missing(registers, tags, reading).await?;
    if settled.unsettled().is_empty() {
        return Ok(settled);
    }
    // A concurrent fetch has taken over the other records, and has probably settled them by now.
    registers.read_with_clock(tags).await
}

/// Returns the validity that a read would find, and creates the records that `reading` lacks; `None` if the response is dead.
///
/// For a response that is about to be stored: its handler may have named tags that have no record yet. It is stored with the same
/// `born` unless it is dead, and every read checks it again.
pub(crate) async fn check_for_put(
    registers: &dyn Registers,
    born: Epoch,
    tags: &[Tag],
    reading: ClockAndRecords,
) -> Result<Option<Validity>, Error> {
    Ok(ensure_records(registers, tags, reading).await?.validity(born))
}

/// Returns the validity of a response that was born at `born`; `None` if it is dead.
pub(crate) async fn validity(registers: &dyn Registers, born: Epoch, tags: &[Tag]) -> Result<Option<Validity>, Error> {
    Ok(registers.read_with_clock(tags).await?.validity(born))
}

/// Carries out an invalidation, and returns its epoch.
///
/// # Errors
/// If the store fails, or if concurrent calls keep replacing a record. The invalidation may have taken effect in part, and must be
/// repeated from the beginning.
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

/// Creates the records that `reading` lacks, except those that a concurrent call replaces meanwhile.
async fn settle_missing(registers: &dyn Registers, tags: &[Tag], reading: ClockAndRecords) -> Result<ClockAndRecords, Error> {
    let unsettled = reading.unsettled();
    let mut records = reading.records;
    let claims = unsettled.iter().map(|&at| {
        let record = Record::Pending { nonce: registers.nonce() };
        CompareAndSwap { tag: &tags[at], seen: records[at].take(), record }
    });
    let claims: Vec<_> = claims.collect();
    let claimed = registers.write(&claims).await?;
    // Read after the records were claimed: an invalidation that found no record to raise has an epoch that this clock includes.
    let clock = registers.clock().await?;
    let claimed = unsettled.iter().zip(claimed).filter_map(|(&at, seen)| Some((at, seen?)));
    let (unsettled, changes): (Vec<_>, Vec<_>) = claimed
        .map(|(at, seen)| (at, CompareAndSwap { tag: &tags[at], seen: Some(seen), record: Record::settled(clock) }))
        .unzip();
    for (at, seen) in unsettled.into_iter().zip(registers.write(&changes).await?) {
        records[at] = seen;
    }
    Ok(ClockAndRecords { clock, records })
}

/// Raises the records of the tags, so that no entry with one of them that was born before `at` is used.
async fn raise(registers: &dyn Registers, tags: &[Tag], at: Epoch, force: Strength) -> Result<(), Error> {
    let mut tags = tags.to_vec();
    for again in (0..MAX_CAS_ROUNDS).map(|round| round > 0) {
        let records = registers.read(&tags).await?;
        let changes = tags.iter().zip(records).filter_map(|(tag, seen)| {
            // Without a record, all entries with the tag are dead. Creating one now could undo a later invalidation.
            let seen = seen?;
            // It was written after this epoch was taken, since it prevented the first attempt: the fetch that settles it reads a later
            // clock.
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

impl ClockAndRecords {
    /// Returns the validity of a response with these tags that was born at `born`; `None` if it is dead.
    pub(crate) fn validity(&self, born: Epoch) -> Option<Validity> {
        tag_record::validity(born, self.clock, 0, self.records.iter().map(|seen| self.known(seen.as_ref()?)))
    }

    /// Returns the positions of the records that are missing, pending, malformed, or of another incarnation.
    fn unsettled(&self) -> Vec<usize> {
        let is_unsettled = |at: &usize| self.records[*at].as_ref().and_then(|seen| self.known(seen)).is_none();
        (0..self.records.len()).filter(is_unsettled).collect()
    }

    fn known(&self, seen: &Versioned) -> Option<TagRecord> {
        match seen.record()? {
            Record::Settled { incarnation, record } if incarnation == self.clock.incarnation() => Some(record),
            Record::Settled { .. } | Record::Pending { .. } | Record::Marks(_) => None,
        }
    }
}

impl Versioned {
    /// Creates the value from its bytes; `version` is for stores that number the writes of a record.
    pub(crate) fn new(bytes: Bytes, version: u64) -> Self {
        Self { bytes, version }
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Returns `None` for malformed bytes: they count as no record, but are replaced like one.
    fn record(&self) -> Option<Record> {
        Record::parse(&self.bytes)
    }

    /// Returns the writers that hold a tag, if this is the record of them.
    pub(crate) fn marks(&self) -> Option<WriteMarks> {
        match self.record()? {
            Record::Marks(marks) => Some(marks),
            Record::Pending { .. } | Record::Settled { .. } => None,
        }
    }

    fn is_pending(&self) -> bool {
        matches!(self.record(), Some(Record::Pending { .. }))
    }

    /// Returns the record that replaces this one when its tag is invalidated at `at`; `None` if it stays.
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
const MARKS: [u8; 2] = *b"w\x01";

impl Record {
    pub(crate) fn settled(at: Epoch) -> Self {
        Self::Settled { incarnation: at.incarnation(), record: TagRecord::invalidated_at(at.get()) }
    }

    /// Encodes the record: a mark, the numbers in little-endian order, of each expiry the epoch and the milliseconds, and a checksum.
    pub(crate) fn to_bytes(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(30);
        match self {
            Self::Pending { nonce } => write(&mut bytes, PENDING, *nonce),
            Self::Settled { incarnation, record } => {
                write(&mut bytes, SETTLED, *incarnation);
                bytes.extend(record.to_bytes());
            }
            Self::Marks(marks) => {
                bytes.extend(MARKS);
                bytes.extend(marks.to_bytes());
            }
        }
        bytes.extend(checksum(&bytes).to_le_bytes());
        bytes.into()
    }

    /// Decodes a record; returns `None` if the bytes are malformed.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (bytes, sum) = bytes.split_last_chunk()?;
        if u32::from_le_bytes(*sum) != checksum(bytes) {
            return None;
        }
        let (&mark, bytes) = bytes.split_first_chunk()?;
        if mark == MARKS {
            return WriteMarks::from_bytes(bytes).map(Self::Marks);
        }
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

/// FNV-1a: detects damaged bytes, but not forged ones.
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

    fn marks(writers: u64) -> Record {
        let mut marks = WriteMarks::default();
        (1..=writers).for_each(|writer| marks.hold(writer, NOON));
        Record::Marks(marks)
    }

    /// What was expired at `epoch` is stale since then.
    fn stale_since(epoch: u64) -> Option<Validity> {
        Some(Validity::Stale { since: NOON + Duration::from_secs(epoch) })
    }

    fn seen(record: Record) -> Versioned {
        Versioned::new(record.to_bytes(), 0)
    }

    fn reading(records: Vec<Option<Versioned>>) -> ClockAndRecords {
        ClockAndRecords { clock: Epoch::of(1, 9), records }
    }

    #[test]
    fn a_record_is_decoded_from_its_bytes() {
        let pending = Record::Pending { nonce: 0x0123_4567_89ab_cdef };
        for record in [settled(u64::MAX, 1 << 63, &[]), settled(1, 7, &[9, 17]), pending, marks(2), marks(0)] {
            assert_eq!(Record::parse(&record.to_bytes()), Some(record));
        }
    }

    #[test]
    fn damaged_bytes_are_malformed() {
        for record in [settled(1, 7, &[9]), Record::Pending { nonce: 7 }, marks(2)] {
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
    fn a_response_born_when_its_record_was_settled_is_alive() {
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
    fn a_response_is_stale_since_the_first_expiry_of_its_tags() {
        let read = reading(vec![Some(seen(settled(1, 2, &[8]))), Some(seen(settled(1, 2, &[4, 9])))]);
        assert_eq!(read.validity(Epoch::of(1, 3)), stale_since(4));
        assert_eq!(read.validity(Epoch::of(1, 5)), stale_since(8));
        assert_eq!(read.validity(Epoch::of(1, 8)), stale_since(9));
    }

    #[test]
    fn a_response_with_an_unsettled_record_is_dead() {
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
    fn a_record_that_cannot_be_raised_becomes_pending() {
        let of_another = settled(2, 7, &[]);
        let foreign = Versioned::new(Bytes::from_static(b"7"), 0);
        for seen in [seen(Record::Pending { nonce: 1 }), seen(of_another), foreign] {
            assert_eq!(seen.raised(Epoch::of(1, 8), Strength::Hard, 5), Some(Record::Pending { nonce: 5 }));
        }
    }
}
