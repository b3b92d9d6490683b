use bytes::BufMut as _;

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
