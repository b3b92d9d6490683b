//! Compression of HTTP bodies, and limits of decompression.

use bytes::Bytes;
use http::header::CONTENT_ENCODING;

use super::{
    error::DecodeError,
    zstd::{compress, decompress},
};
use crate::entry::response::StoredResponse;

/// Returns the compressed HTTP body; `None` if it is better stored uncompressed.
pub(super) fn compress_body(response: &StoredResponse, compression: Compression) -> Option<Vec<u8>> {
    let length = response.body.len();
    // A body with `Content-Encoding` is compressed already.
    if length < compression.threshold? || response.head.headers.contains_key(CONTENT_ENCODING) {
        return None;
    }
    let compressed = compress(&response.body, compression.level)?;
    (compressed.len() <= length - length / 10).then_some(compressed)
}

/// Decodes the HTTP body of an entry.
#[derive(Clone, Copy)]
pub(super) struct BodyDecoder<'b> {
    read: &'b Bytes,
    compressed: bool,
    limits: DecodeLimits,
}

impl<'b> BodyDecoder<'b> {
    pub(super) fn plain(read: &'b Bytes, limits: DecodeLimits) -> Self {
        Self { read, compressed: false, limits }
    }

    pub(super) fn compressed(read: &'b Bytes, limits: DecodeLimits) -> Self {
        Self { read, compressed: true, limits }
    }

    /// Returns a part of the read bytes: a slice of them or, if their body is compressed, a copy. A slice would keep the compressed body
    /// alive.
    pub(super) fn retain(self, part: &[u8]) -> Bytes {
        if self.compressed { Bytes::copy_from_slice(part) } else { self.read.slice_ref(part) }
    }

    /// Returns the HTTP body, which has `length` bytes. A length beyond the limit is an error, before any allocation.
    pub(super) fn decode(self, encoded: &[u8], length: u64) -> Result<Bytes, DecodeError> {
        let length = usize::try_from(length).ok().filter(|length| *length <= self.limits.body).ok_or(DecodeError::TooLarge)?;
        match self.compressed {
            true => decompress(encoded, length).map(Bytes::from).ok_or(DecodeError::Compression),
            false if encoded.len() == length => Ok(self.read.slice_ref(encoded)),
            false if encoded.len() < length => Err(DecodeError::Truncated),
            false => Err(DecodeError::Malformed),
        }
    }
}

/// Which HTTP bodies are compressed, and at which level.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compression {
    /// The smallest body that is compressed, in bytes; `None` compresses none.
    pub(crate) threshold: Option<usize>,
    /// The level of zstd.
    pub(crate) level: i32,
}

impl Compression {
    pub(crate) const OFF: Self = Self { threshold: None, level: 0 };
}

/// Limits on entries from a store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DecodeLimits {
    /// The largest HTTP body after decompression, in bytes.
    pub(crate) body: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { body: 64 << 20 }
    }
}
