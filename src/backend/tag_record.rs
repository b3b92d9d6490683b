//! The record of a tag, and the rule by which records decide how an entry may be used.

use std::borrow::Borrow;

use crate::{
    backend::{
        expiries::{Expiries, Expiry},
        validity::{Strength, Validity, worst},
    },
    clock::Timestamp,
    entry::epoch::Epoch,
};

/// Returns how an entry that was born at `born` may be used, or `None` if it must not be used.
///
/// This is the rule of the [contract](crate::backend::Backend): an entry is dead if it was born before `floor`, or before the latest
/// invalidation of one of its tags; it is stale if it was born before an expiry of one of them.
///
/// - `now` is the epoch at the time of the read. An entry of another incarnation is dead, because nothing is known about it.
/// - `floor` is the number of the epoch at which everything was invalidated last; 0 if it never was.
/// - `records` yields one item for each tag of the entry: its record, [`TagRecord::default`] for a tag that was never invalidated, and
///   `None` for a tag whose record may have been lost, which makes the entry dead.
///
/// ```
/// use larder::backend::{Epoch, TagRecord, Timestamp, Validity, validity};
///
/// let noon = Timestamp::from_millis(43_200_000);
/// let mut record = TagRecord::default();
/// record.invalidate(5);
/// record.expire(8, noon);
/// let validity_at = |born| validity(Epoch::new(born), Epoch::new(9), 0, [Some(&record)]);
/// assert_eq!(validity_at(4), None);
/// assert_eq!(validity_at(5), Some(Validity::Stale { since: noon }));
/// assert_eq!(validity_at(8), Some(Validity::Valid));
/// ```
pub fn validity<R: Borrow<TagRecord>>(
    born: Epoch,
    now: Epoch,
    floor: u64,
    records: impl IntoIterator<Item = Option<R>>,
) -> Option<Validity> {
    if born.incarnation() != now.incarnation() || born.get() < floor {
        return None;
    }
    worst(records.into_iter().map(|record| record?.borrow().validity(born.get())))
}

/// The invalidations of one tag that still matter: the latest one, and the expiries after it.
///
/// All of its epochs are numbers of one incarnation of the clock. Its size is bounded: of frequent expiries it keeps a thinned history,
/// which may report an earlier time than the right one, never a later one. It takes 16 bytes in memory as long as the tag is not
/// expired, and at most 520 bytes when it is encoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagRecord {
    hard: u64,
    /// Boxed: most tags are never expired.
    expiries: Option<Box<Expiries>>,
}

impl TagRecord {
    /// Creates the record of a tag that was invalidated at `epoch` at the latest.
    pub const fn invalidated_at(epoch: u64) -> Self {
        Self { hard: epoch, expiries: None }
    }

    /// Records that the tag was invalidated at `epoch`. Invalidations may be recorded in any order; the latest counts.
    pub fn invalidate(&mut self, epoch: u64) {
        self.raise(epoch, Strength::Hard);
    }

    /// Records that the tag was expired at `epoch`, when the clock of the node that expired it showed `at`. Expiries may be recorded in
    /// any order, and again.
    pub fn expire(&mut self, epoch: u64, at: Timestamp) {
        self.raise(epoch, Strength::Soft { at });
    }

    /// Returns the epoch of the latest invalidation or expiry. An entry that was born at this epoch or later is valid, so that a
    /// store that forgets the record must raise its floor to this epoch.
    pub fn latest(&self) -> u64 {
        self.expiries.as_ref().and_then(|expiries| expiries.latest()).unwrap_or(self.hard)
    }

    /// Returns how an entry with this tag that was born at `born` may be used as far as this tag decides, or `None` if it must not be
    /// used.
    pub fn validity(&self, born: u64) -> Option<Validity> {
        if born < self.hard {
            return None;
        }
        let since = self.expiries.as_ref().and_then(|expiries| expiries.since(born));
        Some(since.map_or(Validity::Valid, |since| Validity::Stale { since }))
    }

    /// Encodes the record.
    pub fn to_bytes(&self) -> Vec<u8> {
        let expiries = self.expiries.iter().flat_map(|expiries| expiries.iter());
        let numbers = expiries.flat_map(|Expiry { epoch, at }| [*epoch, at.as_millis()]);
        [self.hard].into_iter().chain(numbers).flat_map(u64::to_le_bytes).collect()
    }

    /// Decodes a record; `None` if the bytes are not the encoding of one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&hard, expiries) = bytes.split_first_chunk()?;
        let (pairs, []) = expiries.as_chunks::<16>() else { return None };
        Self::from_parts(u64::from_le_bytes(hard), pairs.iter().map(|&pair| expiry(pair)))
    }

    /// Creates a record from its parts, the oldest expiry first; `None` if there are more expiries than a record can have.
    pub(crate) fn from_parts(hard: u64, expiries: impl Iterator<Item = Expiry>) -> Option<Self> {
        Some(Self { hard, expiries: boxed(Expiries::read(expiries)?) })
    }

    /// Records an invalidation. Expiries before a hard invalidation no longer matter.
    pub(crate) fn raise(&mut self, epoch: u64, strength: Strength) {
        let mut expiries = self.expiries.take().map(|expiries| *expiries).unwrap_or_default();
        match strength {
            Strength::Hard => self.hard = self.hard.max(epoch),
            Strength::Soft { at } => expiries.add(epoch, at),
        }
        expiries.forget(self.hard);
        self.expiries = boxed(expiries);
    }
}

fn boxed(expiries: Expiries) -> Option<Box<Expiries>> {
    expiries.latest().is_some().then(|| Box::new(expiries))
}

fn expiry(pair: [u8; 16]) -> Expiry {
    let pair = u128::from_le_bytes(pair);
    Expiry { epoch: pair as u64, at: Timestamp::from_millis((pair >> 64) as u64) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backend::expiries::MAX_EXPIRIES;

    const NOON: Timestamp = Timestamp::from_millis(43_200_000);

    /// The time of the expiry at this epoch.
    fn time(epoch: u64) -> Timestamp {
        NOON + Duration::from_secs(10 * epoch)
    }

    fn record(hard: u64, expired: &[u64]) -> TagRecord {
        let mut record = TagRecord::invalidated_at(hard);
        expired.iter().for_each(|&epoch| record.expire(epoch, time(epoch)));
        record
    }

    fn stale_since(epoch: u64) -> Option<Validity> {
        Some(Validity::Stale { since: time(epoch) })
    }

    #[test]
    fn an_entry_is_dead_before_an_invalidation_and_stale_before_an_expiry() {
        let record = record(5, &[7, 9]);
        let by_birth = [4, 5, 6, 7, 8, 9].map(|born| record.validity(born));
        let valid = Some(Validity::Valid);
        assert_eq!(by_birth, [None, stale_since(7), stale_since(7), stale_since(9), stale_since(9), valid]);
    }

    #[test]
    fn the_worst_tag_decides() {
        let by = |records: &[TagRecord]| validity(Epoch::new(6), Epoch::new(9), 0, records.iter().map(Some));
        assert_eq!(by(&[record(6, &[]), TagRecord::default()]), Some(Validity::Valid));
        assert_eq!(by(&[record(2, &[8]), record(2, &[5, 7])]), stale_since(7));
        assert_eq!(by(&[record(2, &[8]), record(7, &[])]), None);
    }

    #[test]
    fn the_floor_and_the_incarnation_decide_before_the_tags() {
        let at = |born, floor| validity(born, Epoch::of(1, 9), floor, [Some(TagRecord::default())]);
        assert_eq!(at(Epoch::of(1, 5), 5), Some(Validity::Valid));
        assert_eq!(at(Epoch::of(1, 5), 6), None);
        assert_eq!(at(Epoch::of(2, 9), 0), None);
        assert_eq!(at(Epoch::of(0, 9), 0), None);
    }

    #[test]
    fn a_lost_record_makes_an_entry_dead() {
        assert_eq!(validity(Epoch::new(9), Epoch::new(9), 0, [Some(TagRecord::default()), None]), None);
    }

    #[test]
    fn invalidations_may_be_recorded_in_any_order() {
        let mut record = record(5, &[7, 9]);
        record.invalidate(8);
        assert_eq!(record, self::record(8, &[9]));
        record.invalidate(3);
        record.expire(6, time(6));
        assert_eq!(record, self::record(8, &[9]));
        record.invalidate(9);
        assert_eq!(record, TagRecord::invalidated_at(9));
    }

    #[test]
    fn a_forgotten_record_is_replaced_by_a_floor_at_its_latest_epoch() {
        for record in [record(5, &[7, 9]), record(5, &[])] {
            let latest = record.latest();
            assert_eq!(record.validity(latest), Some(Validity::Valid));
            assert_ne!(record.validity(latest - 1), Some(Validity::Valid));
        }
    }

    #[test]
    fn a_record_survives_its_encoding() {
        for record in [TagRecord::default(), record(u64::MAX, &[]), record(5, &[7, 9])] {
            assert_eq!(TagRecord::from_bytes(&record.to_bytes()), Some(record));
        }
        let whole = record(5, &[7, 9]).to_bytes();
        for length in (0..whole.len()).filter(|length| ![8, 24].contains(length)) {
            assert_eq!(TagRecord::from_bytes(&whole[..length]), None, "{length} bytes");
        }
        assert_eq!(TagRecord::from_bytes(&vec![0; 8 + 16 * (MAX_EXPIRIES + 1)]), None);
    }
}
