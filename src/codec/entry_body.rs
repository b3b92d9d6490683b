//! The body of an encoded entry.

use bytes::{BufMut as _, Bytes};

use super::{
    compression::{BodyDecoder, Compression, DecodeLimits, compress_body},
    content::{kind, put_content, read_content, size},
    cursor::{Reader, Write as _},
    entry_head::{check_magic, put_magic},
    error::DecodeError,
};
use crate::{entry::stored::Content, key::Key};

/// The HTTP body is compressed.
const COMPRESSED: u8 = 1;

/// Magic, version, flags, kind of content and id precede the checksum, which covers them and everything after it.
const CHECKSUM_AT: usize = 12;
const CHECKSUM: usize = size_of::<u32>();

/// Encodes the full key, the content and, at the end, the HTTP body; `None` if a part is too long for the format.
pub(super) fn encode_body(id: u64, key: &Key, content: &Content, compression: Compression) -> Option<Vec<u8>> {
    let response = match content {
        Content::Response(response) => Some(response),
        Content::Variants(_) | Content::QueryVariance(_) | Content::Tombstone => None,
    };
    let compressed = response.and_then(|response| compress_body(response, compression));
    let last: &[u8] = compressed.as_deref().or(response.map(|response| &*response.body)).unwrap_or_default();
    let mut body = Vec::with_capacity(64 + key.as_bytes().len() + size(content) + last.len());
    put_magic(&mut body);
    body.put_u8(if compressed.is_some() { COMPRESSED } else { 0 });
    body.put_u8(kind(content));
    body.put_u64(id);
    body.put_u32(0);
    body.put_length_prefixed(key.as_bytes())?;
    put_content(&mut body, content)?;
    body.extend_from_slice(last);
    let checksum = checksum(&body).to_be_bytes();
    body[CHECKSUM_AT..][..CHECKSUM].copy_from_slice(&checksum);
    Some(body)
}

/// Decodes a body; an error unless it is for this key, and was written together with the head that has this `id`.
pub(super) fn decode_body(id: u64, key: &Key, body: &Bytes, limits: DecodeLimits) -> Result<Content, DecodeError> {
    let mut reader = Reader::new(body);
    check_magic(&mut reader)?;
    let (flags, kind, written_with) = (reader.u8()?, reader.u8()?, reader.u64()?);
    if reader.u32()? != checksum(body) {
        return Err(DecodeError::Checksum);
    }
    if written_with != id {
        return Err(DecodeError::OtherWrite);
    }
    if reader.length_prefixed()? != key.as_bytes() {
        return Err(DecodeError::OtherKey);
    }
    let decoder = match flags {
        0 => BodyDecoder::plain(body, limits),
        COMPRESSED => BodyDecoder::compressed(body, limits),
        _ => return Err(DecodeError::Malformed),
    };
    read_content(kind, reader, decoder)
}

/// Returns the CRC-32 of everything but the checksum itself.
fn checksum(body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&body[..CHECKSUM_AT]);
    hasher.update(&body[CHECKSUM_AT + CHECKSUM..]);
    hasher.finalize()
}
