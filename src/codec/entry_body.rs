//! The body of an encoded entry.

use bytes::{BufMut as _, Bytes};
use sha2::{Digest as _, Sha256};

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
/// An authentication code follows the checksum. Versions without it take the entry for a damaged one, which is a miss.
const SEALED: u8 = 2;

/// Magic, version, flags, kind of content and id precede the checksum, which covers them and everything after it.
const CHECKSUM_AT: usize = 12;
const CHECKSUM: usize = size_of::<u32>();
const CODE_AT: usize = CHECKSUM_AT + CHECKSUM;
const CODE: usize = 32;

/// Encodes the full key, the content and, at the end, the HTTP body or the value; `None` if a part is too long for the format, or the value
/// cannot be encoded. `seal` returns the
/// authentication code of the encoded body, if there is a secret.
pub(super) fn encode_body(
    id: u64,
    key: &Key,
    content: &Content,
    compression: Compression,
    is_sealed: bool,
    seal: impl FnOnce(&[u8]) -> Option<[u8; CODE]>,
) -> Option<Vec<u8>> {
    let plain = match content {
        Content::Response(response) => response.body.clone(),
        Content::Value(value) => value.data.to_bytes()?,
        Content::Variants(_) | Content::QueryVariance(_) | Content::Tombstone => Bytes::new(),
    };
    let compressed = compress_body(content, &plain, compression);
    let last: &[u8] = compressed.as_deref().unwrap_or(&plain);
    let mut body = Vec::with_capacity(64 + CODE + key.as_bytes().len() + size(content) + last.len());
    put_magic(&mut body);
    body.put_u8(if compressed.is_some() { COMPRESSED } else { 0 } | if is_sealed { SEALED } else { 0 });
    body.put_u8(kind(content));
    body.put_u64(id);
    body.put_u32(0);
    if is_sealed {
        body.put_bytes(0, CODE);
    }
    body.put_length_prefixed(key.as_bytes())?;
    put_content(&mut body, content, plain.len())?;
    body.extend_from_slice(last);
    if is_sealed {
        let code = seal(&body)?;
        body[CODE_AT..][..CODE].copy_from_slice(&code);
    }
    let checksum = checksum(&body).to_be_bytes();
    body[CHECKSUM_AT..][..CHECKSUM].copy_from_slice(&checksum);
    Some(body)
}

/// Decodes a body; an error unless it is for this key, and was written together with the head that has this `id`.
///
/// Returns its authentication code, too, if it has one; it is not verified.
pub(super) fn decode_body(
    id: u64,
    key: &Key,
    body: &Bytes,
    limits: DecodeLimits,
) -> Result<(Content, Option<[u8; CODE]>), DecodeError> {
    let mut reader = Reader::new(body);
    check_magic(&mut reader)?;
    let (flags, kind, written_with) = (reader.u8()?, reader.u8()?, reader.u64()?);
    if reader.u32()? != checksum(body) {
        return Err(DecodeError::Checksum);
    }
    if written_with != id {
        return Err(DecodeError::OtherWrite);
    }
    let code = match flags & SEALED {
        0 => None,
        _ => reader.take(CODE)?.first_chunk().copied(),
    };
    if reader.length_prefixed()? != key.as_bytes() {
        return Err(DecodeError::OtherKey);
    }
    let decoder = match flags & !SEALED {
        0 => BodyDecoder::plain(body, limits),
        COMPRESSED => BodyDecoder::compressed(body, limits),
        _ => return Err(DecodeError::Malformed),
    };
    Ok((read_content(kind, reader, decoder)?, code))
}

/// Returns the SHA-256 of a sealed entry: of its head, and of its body without checksum and authentication code.
pub(super) fn digest(head: &[u8], body: &[u8]) -> [u8; 32] {
    let digest = Sha256::new().chain_update(head).chain_update(&body[..CHECKSUM_AT]).chain_update(&body[CODE_AT + CODE..]);
    digest.finalize().into()
}

/// Returns the CRC-32 of everything but the checksum itself.
fn checksum(body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&body[..CHECKSUM_AT]);
    hasher.update(&body[CHECKSUM_AT + CHECKSUM..]);
    hasher.finalize()
}
