//! The validity of an entry by the tag records in Redis.

use bytes::Bytes;

use crate::{
    backend::{
        expiries::Expiry,
        tag_record::{TagRecord, validity},
        validity::Validity,
    },
    clock::Timestamp,
    entry::{epoch::Epoch, stored::Stored},
    tag::Tag,
};

/// Returns whether the records of all tags of an entry are among those of the tags `asked`.
pub(super) fn covers(asked: &[Tag], stored: &Stored) -> bool {
    // Usually they are the same tags in the same order.
    stored.tags() == asked || stored.tags().iter().all(|tag| asked.contains(tag))
}

/// Returns the validity of an entry by the records that were read for the tags `asked`; `None` if it is dead.
pub(super) fn validity_among(clock: Epoch, stored: &Stored, asked: &[Tag], records: &[Option<Bytes>]) -> Option<Validity> {
    if stored.tags() == asked {
        return validity_by(clock, stored.born(), records);
    }
    let record = |tag| records[asked.iter().position(|asked| asked == tag)?].as_ref();
    validity(stored.born(), clock, 0, stored.tags().iter().map(|tag| decode(clock, record(tag)?)))
}

/// Returns the validity of a response born at `born` by the records of all its tags; `None` if it is dead.
pub(super) fn validity_by(clock: Epoch, born: Epoch, records: &[Option<Bytes>]) -> Option<Validity> {
    validity(born, clock, 0, records.iter().map(|record| decode(clock, record.as_ref()?)))
}

/// Decodes a record; `None` if it is malformed or of another incarnation, so that the tag may have been invalidated.
fn decode(clock: Epoch, record: &Bytes) -> Option<TagRecord> {
    let (pairs, []) = record.as_chunks::<16>() else { return None };
    let (&first, expiries) = pairs.split_first()?;
    let (incarnation, hard) = numbers(first);
    let expiries = expiries.iter().map(|&pair| numbers(pair)).map(|(epoch, at)| Expiry { epoch, at: Timestamp::from_millis(at) });
    (incarnation == clock.incarnation()).then(|| TagRecord::from_parts(hard, expiries))?
}

fn numbers(pair: [u8; 16]) -> (u64, u64) {
    let pair = u128::from_be_bytes(pair);
    ((pair >> 64) as u64, pair as u64)
}
