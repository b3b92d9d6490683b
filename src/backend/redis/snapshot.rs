//! The clock and values read by one `MGET`.

use bytes::Bytes;
use smallvec::SmallVec;

use super::clock::Reading;

/// The clock and the values of some keys, read atomically.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) clock: Reading,
    /// Usually one: the entry.
    pub(super) values: SmallVec<[Option<Bytes>; 1]>,
}
