//! Compression of HTTP bodies, and limits of decompression.

use bytes::Bytes;
use http::header::CONTENT_ENCODING;

use super::{
    error::DecodeError,
    zstd::{compress, decompress},
};
use crate::entry::stored::Content;

/// Returns the compressed HTTP body or value; `None` if it is better stored uncompressed.
pub(super) fn compress_body(content: &Content, body: &[u8], compression: Compression) -> Option<Vec<u8>> {
    let length = body.len();
    if length < compression.threshold? || is_compressed(content) {
        return None;
    }
    let compressed = compress(body, compression.level)?;
    (compressed.len() <= length - length / 10).then_some(compressed)
}

/// Whether the body has `Content-Encoding`.
fn is_compressed(content: &Content) -> bool {
    matches!(content, Content::Response(response) if response.head.headers.contains_key(CONTENT_ENCODING))
}

/// Decodes the body of an entry: the HTTP body, or the value.
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

    /// Returns the body, which has `length` bytes. A length beyond the limit is an error, before any allocation.
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
