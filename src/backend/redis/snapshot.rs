//! The clock and values read by one `MGET`.

use bytes::Bytes;
use smallvec::SmallVec;

use super::clock::ClockReading;

/// The clock and the values of some keys, read atomically.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) clock: ClockReading,
    /// Usually one: the entry.
    pub(super) values: SmallVec<[Option<Bytes>; 1]>,
}
