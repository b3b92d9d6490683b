use redis::Value;

use crate::entry::epoch::Epoch;

/// The reign of one server over the clock: it ends with a failover, a restart, or the loss of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Term(pub(super) [u8; 8]);

/// The clock as a script has read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) term: Term,
    pub(super) epoch: Epoch,
    /// How many invalidations have been announced.
    pub(super) sequence: u64,
}

impl Reading {
    /// Reads what a script puts in front of its answer; the rest is returned.
    pub(super) fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (term, rest) = bytes.split_first_chunk()?;
        let (incarnation, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let epoch = Epoch::of(u64::from_be_bytes(*incarnation), u64::from_be_bytes(*number));
        Some((Self { term: Term(*term), epoch, sequence: u64::from_be_bytes(*sequence) }, rest))
    }
}

/// The clock with which a script answers, before anything else.
pub(super) fn of(answer: &Value) -> Option<Reading> {
    match answer {
        Value::BulkString(bytes) => Some(Reading::split(bytes)?.0),
        Value::Array(parts) => of(parts.first()?),
        _ => None,
    }
}
