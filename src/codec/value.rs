//! The encoding of a value of the application, around the bytes into which the application's type is encoded.

use bytes::BufMut as _;

use super::{
    compression::BodyDecoder,
    cursor::{Reader, Write as _},
    error::DecodeError,
};
use crate::{
    clock::Timestamp,
    entry::{
        response::StaleWindows,
        value::{StoredValue, ValueData},
    },
};

/// Encodes everything but the value itself, of which only the length is encoded.
pub(super) fn put_value(out: &mut Vec<u8>, value: &StoredValue, length: usize) -> Option<()> {
    out.put_u64(value.generated.as_millis());
    out.put_u64(value.fresh_until.as_millis());
    out.put_u32(value.stale.while_revalidate);
    out.put_u32(value.stale.if_error);
    out.put_u32(value.compute_millis);
    out.put_length_prefixed(value.data.type_name().as_bytes())?;
    out.put_u64(length as u64);
    Some(())
}

pub(super) fn read_value(reader: &mut Reader<'_>, decoder: BodyDecoder<'_>) -> Result<StoredValue, DecodeError> {
    let generated = Timestamp::from_millis(reader.u64()?);
    let fresh_until = Timestamp::from_millis(reader.u64()?);
    let stale = StaleWindows { while_revalidate: reader.u32()?, if_error: reader.u32()? };
    let compute_millis = reader.u32()?;
    let type_name = reader.text()?;
    let length = reader.u64()?;
    let data = ValueData::encoded(type_name, decoder.decode(reader.rest(), length)?);
    Ok(StoredValue { data, generated, fresh_until, stale, compute_millis })
}
