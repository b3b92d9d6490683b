//! A reader and a writer of encoded fields.

use bytes::BufMut as _;

use super::error::Corrupt;

/// Bytes that are taken from the front, as far as there are any; numbers have their high byte first.
#[derive(Clone)]
pub(super) struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'b [u8], Corrupt> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Corrupt::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Corrupt::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Corrupt> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn bool(&mut self) -> Result<bool, Corrupt> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Corrupt::Malformed),
        }
    }

    pub(super) fn u16(&mut self) -> Result<u16, Corrupt> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Corrupt> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Corrupt> {
        self.array().map(u64::from_be_bytes)
    }

    /// A length or a count.
    pub(super) fn size(&mut self) -> Result<usize, Corrupt> {
        usize::try_from(self.u32()?).map_err(|_| Corrupt::Malformed)
    }

    /// How many things follow, of which each takes at least `bytes`: more than there is room for are not announced.
    pub(super) fn count(&mut self, bytes: usize) -> Result<usize, Corrupt> {
        let count = self.size()?;
        if count <= self.left() / bytes { Ok(count) } else { Err(Corrupt::Truncated) }
    }

    /// Bytes with their length in front.
    pub(super) fn part(&mut self) -> Result<&'b [u8], Corrupt> {
        let length = self.size()?;
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Result<&'b str, Corrupt> {
        std::str::from_utf8(self.part()?).map_err(|_| Corrupt::Malformed)
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> &'b [u8] {
        std::mem::take(&mut self.0)
    }

    pub(super) fn end(&self) -> Result<(), Corrupt> {
        if self.0.is_empty() { Ok(()) } else { Err(Corrupt::Malformed) }
    }
}

/// What [`Reader`](super::reader::Reader) reads: numbers with their high byte first, lengths before what they measure.
///
/// `None` if something is longer than its length can say.
pub(super) trait Write {
    fn put_size(&mut self, size: usize) -> Option<()>;
    fn put_part(&mut self, part: &[u8]) -> Option<()>;
}

impl Write for Vec<u8> {
    fn put_size(&mut self, size: usize) -> Option<()> {
        self.put_u32(u32::try_from(size).ok()?);
        Some(())
    }

    fn put_part(&mut self, part: &[u8]) -> Option<()> {
        self.put_size(part.len())?;
        self.extend_from_slice(part);
        Some(())
    }
}
