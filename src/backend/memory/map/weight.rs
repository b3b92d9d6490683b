//! The size of an entry.

use crate::entry::stored::Stored;

/// Returns the size of an entry in bytes, including the `record` that the map keeps of it.
pub(super) fn weight(key: &[u8], stored: &Stored, record: usize) -> u64 {
    (key.len() + stored.weight() + record) as u64
}
