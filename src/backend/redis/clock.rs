//! The clock of a Redis server as read by a script.

use redis::Value;

use super::version::Version;
use crate::entry::epoch::Epoch;

/// The term of one server as the owner of the clock. It ends with a failover, a restart, or the loss of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Term(pub(super) [u8; 8]);

/// The clock as read by a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClockReading {
    pub(super) term: Term,
    pub(super) epoch: Epoch,
    /// The number of invalidations that were published.
    pub(super) sequence: u64,
}

impl ClockReading {
    /// Decodes the clock that a script puts in front of its reply, and returns it with the rest.
    pub(super) fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (term, rest) = bytes.split_first_chunk()?;
        let (incarnation, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let epoch = Epoch::of(u64::from_be_bytes(*incarnation), u64::from_be_bytes(*number));
        Some((Self { term: Term(*term), epoch, sequence: u64::from_be_bytes(*sequence) }, rest))
    }
}

/// Returns the server's version, which follows the clock in the reply of a handshake.
pub(super) fn version(reply: &Value) -> Option<Version> {
    match reply {
        Value::BulkString(bytes) => Version::parse(ClockReading::split(bytes)?.1),
        Value::Array(parts) => version(parts.first()?),
        _ => None,
    }
}

/// Returns the clock from the beginning of a script's reply.
pub(super) fn of(reply: &Value) -> Option<ClockReading> {
    match reply {
        Value::BulkString(bytes) => Some(ClockReading::split(bytes)?.0),
        Value::Array(parts) => of(parts.first()?),
        _ => None,
    }
}
