//! The validity of an entry by the tag records in Redis.

use bytes::Bytes;

use crate::{
    backend::{
        expiries::{Expiries, Expiry},
        validity::Judgement,
    },
    clock::Timestamp,
    entry::{epoch::Epoch, stored::Stored},
    tag::Tag,
};

/// Returns the validity of an entry by the records that were read for the tags `read_tags`; `None` if the entry has other tags.
pub(super) fn judge(clock: Epoch, stored: &Stored, read_tags: &[Tag], records: &[Option<Bytes>]) -> Option<Judgement> {
    let record = |tag| Some(records[read_tags.iter().position(|read_tags| read_tags == tag)?].as_ref());
    // Usually they are the same tags in the same order.
    if stored.tags() == read_tags {
        return Some(judge_all(clock, stored.born(), records));
    }
    let judgements = stored.tags().iter().map(|tag| Some(judge_by(clock, stored.born(), record(tag)?)));
    worst(stored.born(), clock, judgements)
}

/// Returns the validity of a response born at `born` by the records of all its tags.
pub(super) fn judge_all(clock: Epoch, born: Epoch, records: &[Option<Bytes>]) -> Judgement {
    let judgements = records.iter().map(|record| Some(judge_by(clock, born, record.as_ref())));
    worst(born, clock, judgements).unwrap_or(Judgement::Dead)
}

fn worst(born: Epoch, clock: Epoch, judgements: impl Iterator<Item = Option<Judgement>>) -> Option<Judgement> {
    if born.incarnation() != clock.incarnation() {
        return Some(Judgement::Dead);
    }
    judgements.into_iter().try_fold(Judgement::Alive, |worst, judgement| Some(worst.and(judgement?)))
}

/// Returns the validity by one record. A tag whose record is missing or malformed may have been invalidated, so the response is dead.
fn judge_by(clock: Epoch, born: Epoch, record: Option<&Bytes>) -> Judgement {
    let judgement = marks(clock, record).map(|(hard, expiries)| Judgement::by(born.get() < hard, expiries.since(born.get())));
    judgement.unwrap_or(Judgement::Dead)
}

/// Returns the epoch of the last hard invalidation and the later expiries, if they belong to this incarnation.
fn marks(clock: Epoch, record: Option<&Bytes>) -> Option<(u64, Expiries)> {
    let (pairs, []) = record?.as_chunks::<16>() else { return None };
    let (&first, expiries) = pairs.split_first()?;
    let (incarnation, hard) = numbers(first);
    let expiries = expiries.iter().map(|&pair| numbers(pair)).map(|(epoch, at)| Expiry { epoch, at: Timestamp::from_millis(at) });
    Some((hard, Expiries::read(expiries)?)).filter(|_| incarnation == clock.incarnation())
}

fn numbers(pair: [u8; 16]) -> (u64, u64) {
    let pair = u128::from_be_bytes(pair);
    ((pair >> 64) as u64, pair as u64)
}
