//! The head of an encoded entry.

use bytes::BufMut as _;

use super::{cursor::Reader, error::Corrupt};
use crate::{entry::epoch::Epoch, tag::Tag};

/// What a store needs in order to judge an entry without its body.
///
/// Scripts that run in a store read it too, so its layout is fixed: magic, version, id (8 bytes), incarnation and number of
/// `born` (8 each), number of tags (2), each tag with its length (2) before it, CRC-32 of all that (4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// The same in the body that was written with it.
    pub(crate) id: u64,
    pub(crate) born: Epoch,
    pub(crate) tags: Vec<Tag>,
}

const CHECKSUM: usize = size_of::<u32>();

impl Head {
    #[allow(dead_code, reason = "for stores with two values per key, which are features")]
    pub(crate) fn decode(head: &[u8]) -> Result<Self, Corrupt> {
        match Self::split(head)? {
            (head, []) => Ok(head),
            _ => Err(Corrupt::Malformed),
        }
    }

    /// Decodes the head that `bytes` begin with; returns what follows it.
    pub(crate) fn split(bytes: &[u8]) -> Result<(Self, &[u8]), Corrupt> {
        Self::split_knowing(bytes, &[])
    }

    /// The same, for one who knows which tags there will most likely be: those need not be made anew.
    pub(crate) fn split_knowing<'b>(bytes: &'b [u8], known: &[Tag]) -> Result<(Self, &'b [u8]), Corrupt> {
        let mut reader = Reader::new(bytes);
        check_signature(&mut reader)?;
        let id = reader.u64()?;
        let born = Epoch::of(reader.u64()?, reader.u64()?);
        let count = usize::from(reader.u16()?);
        let mut names = reader.clone();
        (0..count).try_for_each(|_| name(&mut reader).map(drop))?;
        let length = bytes.len() - reader.left();
        if reader.u32()? != crc32fast::hash(&bytes[..length]) {
            return Err(Corrupt::Checksum);
        }
        // They have been counted: there is room for as many.
        let mut tags = Vec::with_capacity(count);
        for at in 0..count {
            let name = name(&mut names)?;
            let known = known.get(at).filter(|tag| tag.as_str().as_bytes() == name);
            tags.push(known.map_or_else(|| tag(name), |known| Ok(known.clone()))?);
        }
        Ok((Self { id, born, tags }, reader.rest()))
    }
}

fn name<'b>(reader: &mut Reader<'b>) -> Result<&'b [u8], Corrupt> {
    let length = usize::from(reader.u16()?);
    reader.take(length)
}

fn tag(name: &[u8]) -> Result<Tag, Corrupt> {
    std::str::from_utf8(name).map(Tag::unchecked).map_err(|_| Corrupt::Malformed)
}

/// `None` if there are more tags than the head can have, or one is too long.
pub(super) fn encode_head(id: u64, born: Epoch, tags: &[Tag]) -> Option<Vec<u8>> {
    let names: usize = tags.iter().map(|tag| size_of::<u16>() + tag.as_str().len()).sum();
    let mut head = Vec::with_capacity(28 + names + CHECKSUM);
    put_signature(&mut head);
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

/// What all that larder writes begins with.
const MAGIC: u8 = b'L';

/// The version of the format. Whoever changes the format counts it up, and keeps the files in `tests/golden` that older
/// versions wrote: nodes of two versions share a store while one is being deployed.
const VERSION: u8 = 1;

pub(super) fn put_signature(out: &mut Vec<u8>) {
    out.extend_from_slice(&[MAGIC, VERSION]);
}

pub(super) fn check_signature(reader: &mut Reader<'_>) -> Result<(), Corrupt> {
    match (reader.u8()?, reader.u8()?) {
        (MAGIC, VERSION) => Ok(()),
        (MAGIC, version) => Err(Corrupt::Version(version)),
        _ => Err(Corrupt::Foreign),
    }
}
