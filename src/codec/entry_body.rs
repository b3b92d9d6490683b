//! The body of an encoded entry.

use bytes::{BufMut as _, Bytes};

use super::{
    compression::{Compression, DecodeLimits, Packing, pack},
    content::{kind, put_content, read_content, size},
    cursor::{Reader, Write as _},
    entry_head::{check_signature, put_signature},
    error::Corrupt,
};
use crate::{entry::stored::Content, key::Key};

/// The HTTP body is compressed.
const COMPRESSED: u8 = 1;

/// Signature, flags, kind of content and id stand before the checksum, everything else behind it: all of it is covered.
const CHECKSUM_AT: usize = 12;
const CHECKSUM: usize = size_of::<u32>();

/// The full key, the content, and the HTTP body at the end; `None` if something is longer than the format can say.
pub(super) fn encode_body(id: u64, key: &Key, content: &Content, compression: Compression) -> Option<Vec<u8>> {
    let response = match content {
        Content::Response(response) => Some(response),
        Content::Variants(_) | Content::QueryVariance(_) | Content::Tombstone => None,
    };
    let packed = response.and_then(|response| pack(response, compression));
    let last: &[u8] = packed.as_deref().or(response.map(|response| &*response.body)).unwrap_or_default();
    let mut body = Vec::with_capacity(64 + key.as_bytes().len() + size(content) + last.len());
    put_signature(&mut body);
    body.put_u8(if packed.is_some() { COMPRESSED } else { 0 });
    body.put_u8(kind(content));
    body.put_u64(id);
    body.put_u32(0);
    body.put_part(key.as_bytes())?;
    put_content(&mut body, content)?;
    body.extend_from_slice(last);
    let checksum = checksum(&body).to_be_bytes();
    body[CHECKSUM_AT..][..CHECKSUM].copy_from_slice(&checksum);
    Some(body)
}

/// What stands in `body`, if it was written together with the head that has this `id`, and for this key.
pub(super) fn decode_body(id: u64, key: &Key, body: &Bytes, limits: DecodeLimits) -> Result<Content, Corrupt> {
    let mut reader = Reader::new(body);
    check_signature(&mut reader)?;
    let (flags, kind, written_with) = (reader.u8()?, reader.u8()?, reader.u64()?);
    if reader.u32()? != checksum(body) {
        return Err(Corrupt::Checksum);
    }
    if written_with != id {
        return Err(Corrupt::OtherWrite);
    }
    if reader.part()? != key.as_bytes() {
        return Err(Corrupt::OtherKey);
    }
    let packing = match flags {
        0 => Packing::plain(body, limits),
        COMPRESSED => Packing::compressed(body, limits),
        _ => return Err(Corrupt::Malformed),
    };
    read_content(kind, reader, packing)
}

/// Of everything but itself.
fn checksum(body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&body[..CHECKSUM_AT]);
    hasher.update(&body[CHECKSUM_AT + CHECKSUM..]);
    hasher.finalize()
}
