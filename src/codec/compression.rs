//! The compression of HTTP bodies, and its limits.

use bytes::Bytes;
use http::header::CONTENT_ENCODING;

use super::{
    error::Corrupt,
    zstd::{compress, decompress},
};
use crate::entry::response::StoredResponse;

/// The compressed HTTP body; `None` if it is better stored as it is.
pub(super) fn pack(response: &StoredResponse, compression: Compression) -> Option<Vec<u8>> {
    let length = response.body.len();
    // What is encoded already gets no smaller.
    if length < compression.threshold? || response.head.headers.contains_key(CONTENT_ENCODING) {
        return None;
    }
    let packed = compress(&response.body, compression.level)?;
    (packed.len() <= length - length / 10).then_some(packed)
}

/// How the HTTP body stands in the bytes that were read.
#[derive(Clone, Copy)]
pub(super) struct Packing<'b> {
    read: &'b Bytes,
    compressed: bool,
    limits: DecodeLimits,
}

impl<'b> Packing<'b> {
    pub(super) fn plain(read: &'b Bytes, limits: DecodeLimits) -> Self {
        Self { read, compressed: false, limits }
    }

    pub(super) fn compressed(read: &'b Bytes, limits: DecodeLimits) -> Self {
        Self { read, compressed: true, limits }
    }

    /// A part of what was read that outlives it: a slice of it, unless that would keep a body alive that nobody needs once
    /// it is unpacked.
    pub(super) fn keep(self, part: &[u8]) -> Bytes {
        if self.compressed { Bytes::copy_from_slice(part) } else { self.read.slice_ref(part) }
    }

    /// The HTTP body, which has `length` bytes. Nothing is allocated for a length beyond the limit.
    pub(super) fn unpack(self, packed: &[u8], length: u64) -> Result<Bytes, Corrupt> {
        let length = usize::try_from(length).ok().filter(|length| *length <= self.limits.body).ok_or(Corrupt::TooLarge)?;
        match self.compressed {
            true => decompress(packed, length).map(Bytes::from).ok_or(Corrupt::Compression),
            false if packed.len() == length => Ok(self.read.slice_ref(packed)),
            false if packed.len() < length => Err(Corrupt::Truncated),
            false => Err(Corrupt::Malformed),
        }
    }
}

/// From which size on HTTP bodies are compressed, and how hard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compression {
    /// In bytes; `None` leaves all as they are.
    pub(crate) threshold: Option<usize>,
    /// As zstd counts levels.
    pub(crate) level: i32,
}

impl Compression {
    pub(crate) const OFF: Self = Self { threshold: None, level: 0 };
}

/// What is accepted from a store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DecodeLimits {
    /// The largest HTTP body, in bytes, once it is unpacked.
    pub(crate) body: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { body: 64 << 20 }
    }
}
