//! The marks of tags that are being written, by compare-and-swap.
//!
//! The marks of a tag are a record of their own, beside that of its invalidations, and reads of entries do without it. A fetch reads the marks
//! of its tags when it stores its response, after its handler has run, and so finds one of two: the mark of a writer, or the
//! expiry that follows the mark, whose epoch is later than the one at which the fetch was born.

use crate::{
    backend::{
        contract::{Invalidation, PutOutcome},
        remote::registers::{self, CompareAndSwap, MAX_CAS_ROUNDS, Record, Registers, Versioned},
        validity::Validity,
        write_marks::{Marked, WriteMarks},
    },
    clock::Timestamp,
    entry::epoch::Epoch,
    error::Error,
    tag::{Tag, writes_of},
};

/// Marks the tags in the name of a writer until a time.
pub(crate) async fn hold(registers: &dyn Registers, tags: &[Tag], writer: u64, until: Timestamp) -> Result<(), Error> {
    change(registers, tags, |marks| marks.hold(writer, until)).await
}

/// Removes the marks of a writer.
pub(crate) async fn release(registers: &dyn Registers, tags: &[Tag], writer: u64) -> Result<(), Error> {
    change(registers, tags, |marks| marks.release(writer)).await
}

/// Returns the validity that a read would find of a response that is about to be stored; the error is why it is not stored. It reads the marks
/// and the records in one round trip, and the records once more if marks were released within the last seconds: until then, empty marks
/// stay in the store.
pub(crate) async fn check_for_put(
    registers: &dyn Registers,
    born: Epoch,
    tags: &[Tag],
    now: Timestamp,
) -> Result<Result<Validity, PutOutcome>, Error> {
    let records: Vec<Tag> = tags.iter().cloned().chain(tags.iter().map(writes_of)).collect();
    let mut reading = registers.read_with_clock(&records).await?;
    let marks = reading.records.split_off(tags.len());
    let states: Vec<_> = marks.iter().map(|seen| marked(seen.as_ref(), now)).collect();
    match states.iter().max() {
        Some(Marked::Held) => return Ok(Err(PutOutcome::PendingWrite)),
        Some(Marked::Lapsed) => {
            let lapsed = tags.iter().zip(states).filter(|(_, state)| *state == Marked::Lapsed);
            settle(registers, lapsed.map(|(tag, _)| tag.clone()).collect(), now).await?;
            return Ok(Err(PutOutcome::Invalidated));
        }
        // Released a moment ago, after an invalidation: the records that were read beside the marks may be from before it.
        Some(Marked::Free) if marks.iter().any(Option::is_some) => reading = registers.read_with_clock(tags).await?,
        Some(Marked::Free) | None => {}
    }
    Ok(registers::check_for_put(registers, born, tags, reading).await?.ok_or(PutOutcome::Invalidated))
}

/// Invalidates tags whose writers have not released them, and removes the marks that had lapsed before.
async fn settle(registers: &dyn Registers, tags: Vec<Tag>, now: Timestamp) -> Result<(), Error> {
    let invalidation = Invalidation::Tags(tags);
    registers::invalidate(registers, &invalidation).await?;
    change(registers, invalidation.tags(), |marks| marks.forget_lapsed(now)).await
}

async fn change(registers: &dyn Registers, tags: &[Tag], change: impl Fn(&mut WriteMarks) + Sync) -> Result<(), Error> {
    let mut tags: Vec<Tag> = tags.iter().map(writes_of).collect();
    for _ in 0..MAX_CAS_ROUNDS {
        let seen = registers.read(&tags).await?;
        let changes: Vec<_> = tags.iter().zip(seen).filter_map(|(tag, seen)| changed(tag, seen, &change)).collect();
        let written = if changes.is_empty() { Vec::new() } else { registers.write(&changes).await? };
        let lost = changes.iter().zip(written).filter(|(_, written)| written.is_none());
        tags = lost.map(|(change, _)| change.tag.clone()).collect();
        if tags.is_empty() {
            return Ok(());
        }
    }
    Err(Error::unavailable("the marks of the tags kept changing: try again"))
}

/// Returns the swap that changes the marks of a tag; `None` if they stay as they are.
fn changed<'t>(tag: &'t Tag, seen: Option<Versioned>, change: impl Fn(&mut WriteMarks)) -> Option<CompareAndSwap<'t>> {
    let present = match &seen {
        Some(seen) => seen.marks(),
        None => Some(WriteMarks::default()),
    };
    let mut marks = present.clone().unwrap_or_default();
    change(&mut marks);
    (present.as_ref() != Some(&marks)).then_some(CompareAndSwap { tag, seen, record: Record::Marks(marks) })
}

/// Marks that cannot be read, as after a failover, count as lapsed.
fn marked(seen: Option<&Versioned>, now: Timestamp) -> Marked {
    let Some(seen) = seen else { return Marked::Free };
    seen.marks().map_or(Marked::Lapsed, |marks| marks.at(now))
}
