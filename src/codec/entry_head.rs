//! The head of an encoded entry.

use bytes::BufMut as _;

use super::{cursor::Reader, error::DecodeError};
use crate::{entry::epoch::Epoch, tag::Tag};

/// The part of an encoded entry that a store needs to validate the entry.
///
/// Scripts in the store read it too, so its layout is fixed: magic, version, id (8 bytes), incarnation and number of `born` (8 each),
/// number of tags (2), each tag prefixed with its length (2), CRC-32 of all that (4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// Random, and equal in the body that was written together with this head.
    pub(crate) id: u64,
    pub(crate) born: Epoch,
    pub(crate) tags: Vec<Tag>,
}

/// The length of the part before the tags that no other entry has: magic, version, id and `born`.
#[allow(dead_code, reason = "for stores that compare it")]
pub(crate) const HEAD_START: usize = 2 + 3 * size_of::<u64>();

const CHECKSUM: usize = size_of::<u32>();

impl Head {
    #[allow(dead_code, reason = "for stores with two values per key, which are features")]
    pub(crate) fn decode(head: &[u8]) -> Result<Self, DecodeError> {
        match Self::split(head)? {
            (head, []) => Ok(head),
            _ => Err(DecodeError::Malformed),
        }
    }

    /// Decodes the head at the beginning of `bytes`; returns the rest.
    pub(crate) fn split(bytes: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        Self::split_with_hint(bytes, &[])
    }

    /// The same with a hint: tags that are equal to those in `known`, at the same positions, are cloned and need no allocation.
    pub(crate) fn split_with_hint<'b>(bytes: &'b [u8], known: &[Tag]) -> Result<(Self, &'b [u8]), DecodeError> {
        let mut reader = Reader::new(bytes);
        check_magic(&mut reader)?;
        let id = reader.u64()?;
        let born = Epoch::of(reader.u64()?, reader.u64()?);
        let count = usize::from(reader.u16()?);
        let mut names = reader.clone();
        (0..count).try_for_each(|_| name(&mut reader).map(drop))?;
        let length = bytes.len() - reader.left();
        if reader.u32()? != crc32fast::hash(&bytes[..length]) {
            return Err(DecodeError::Checksum);
        }
        // Each of them has been read, so `count` is not larger than the input allows.
        let mut tags = Vec::with_capacity(count);
        for at in 0..count {
            let name = name(&mut names)?;
            let known = known.get(at).filter(|tag| tag.as_str().as_bytes() == name);
            tags.push(known.map_or_else(|| tag(name), |known| Ok(known.clone()))?);
        }
        Ok((Self { id, born, tags }, reader.rest()))
    }
}

fn name<'b>(reader: &mut Reader<'b>) -> Result<&'b [u8], DecodeError> {
    let length = usize::from(reader.u16()?);
    reader.take(length)
}

fn tag(name: &[u8]) -> Result<Tag, DecodeError> {
    std::str::from_utf8(name).map(Tag::unchecked).map_err(|_| DecodeError::Malformed)
}

/// Encodes a head; `None` if there are too many tags for the format, or one is too long.
pub(super) fn encode_head(id: u64, born: Epoch, tags: &[Tag]) -> Option<Vec<u8>> {
    let names: usize = tags.iter().map(|tag| size_of::<u16>() + tag.as_str().len()).sum();
    let mut head = Vec::with_capacity(28 + names + CHECKSUM);
    put_magic(&mut head);
    head.put_u64(id);
    head.put_u64(born.incarnation());
    head.put_u64(born.get());
    head.put_u16(u16::try_from(tags.len()).ok()?);
    for tag in tags {
        let name = tag.as_str().as_bytes();
        head.put_u16(u16::try_from(name.len()).ok()?);
        head.extend_from_slice(name);
    }
    let checksum = crc32fast::hash(&head);
    head.put_u32(checksum);
    Some(head)
}

/// The first byte of each encoded head and body.
const MAGIC: u8 = b'L';

/// The version of the format. A change of the format must increment it, and keep the files of older versions in `tests/golden`: during
/// a deployment, nodes of two versions share a store.
const VERSION: u8 = 1;

pub(super) fn put_magic(out: &mut Vec<u8>) {
    out.extend_from_slice(&[MAGIC, VERSION]);
}

pub(super) fn check_magic(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    match (reader.u8()?, reader.u8()?) {
        (MAGIC, VERSION) => Ok(()),
        (MAGIC, version) => Err(DecodeError::Version(version)),
        _ => Err(DecodeError::Foreign),
    }
}
