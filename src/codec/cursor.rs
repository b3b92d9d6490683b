//! A reader and a writer of encoded fields.

use bytes::BufMut as _;

use super::error::DecodeError;

/// Reads fields from the front of a byte slice, with bounds checks; numbers are big-endian.
#[derive(Clone)]
pub(super) struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'b [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Malformed),
        }
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Reads a length or a count.
    pub(super) fn size(&mut self) -> Result<usize, DecodeError> {
        usize::try_from(self.u32()?).map_err(|_| DecodeError::Malformed)
    }

    /// Reads the number of the following items, each of at least `bytes`; an error if the rest is too short for them.
    pub(super) fn count(&mut self, bytes: usize) -> Result<usize, DecodeError> {
        let count = self.size()?;
        if count <= self.left() / bytes { Ok(count) } else { Err(DecodeError::Truncated) }
    }

    /// Reads bytes that are prefixed with their length.
    pub(super) fn length_prefixed(&mut self) -> Result<&'b [u8], DecodeError> {
        let length = self.size()?;
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Result<&'b str, DecodeError> {
        std::str::from_utf8(self.length_prefixed()?).map_err(|_| DecodeError::Malformed)
    }

    /// Returns the number of remaining bytes.
    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    /// Reads all remaining bytes.
    pub(super) fn rest(&mut self) -> &'b [u8] {
        std::mem::take(&mut self.0)
    }

    /// Returns an error if bytes remain.
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Malformed) }
    }
}

/// Writes fields for [`Reader`].
///
/// The methods return `None` if a length does not fit into its 32 bits.
pub(super) trait Write {
    fn put_size(&mut self, size: usize) -> Option<()>;
    fn put_length_prefixed(&mut self, part: &[u8]) -> Option<()>;
}

impl Write for Vec<u8> {
    fn put_size(&mut self, size: usize) -> Option<()> {
        self.put_u32(u32::try_from(size).ok()?);
        Some(())
    }

    fn put_length_prefixed(&mut self, part: &[u8]) -> Option<()> {
        self.put_size(part.len())?;
        self.extend_from_slice(part);
        Some(())
    }
}
