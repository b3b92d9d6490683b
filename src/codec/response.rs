//! The encoding of a stored response.

use bytes::{BufMut as _, Bytes};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{
        AGE, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, ETAG, LAST_MODIFIED, SERVER,
        TRANSFER_ENCODING, VARY,
    },
};

use super::{
    compression::Packing,
    cursor::{Reader, Write as _},
    error::Corrupt,
};
use crate::{
    clock::Timestamp,
    entry::response::{StaleWindows, StoredResponse, response_head},
};

const ANSWERS_AUTHORIZED: u8 = 1;
const FORBIDS_STALE: u8 = 2;
const IMMUTABLE: u8 = 4;
const FLAGS: u8 = ANSWERS_AUTHORIZED | FORBIDS_STALE | IMMUTABLE;

/// All of it up to the HTTP body, of which only the length is put.
pub(super) fn put_response(out: &mut Vec<u8>, response: &StoredResponse) -> Option<()> {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    out.put_u16(response.head.status.as_u16());
    out.put_u8(
        flag(response.allows_authorization, ANSWERS_AUTHORIZED)
            | flag(response.must_not_serve_stale, FORBIDS_STALE)
            | flag(response.immutable, IMMUTABLE),
    );
    out.put_u64(response.generated.as_millis());
    out.put_u64(response.fresh_until.as_millis());
    out.put_u32(response.stale.while_revalidate);
    out.put_u32(response.stale.if_error);
    out.put_u32(response.handler_millis);
    put_fields(out, &response.head.headers)?;
    out.put_u64(response.body.len() as u64);
    Some(())
}

pub(super) fn read_response(reader: &mut Reader<'_>, packing: Packing<'_>) -> Result<StoredResponse, Corrupt> {
    let status = StatusCode::from_u16(reader.u16()?).map_err(|_| Corrupt::Malformed)?;
    let flags = reader.u8()?;
    if flags & !FLAGS != 0 {
        return Err(Corrupt::Malformed);
    }
    let generated = Timestamp::from_millis(reader.u64()?);
    let fresh_until = Timestamp::from_millis(reader.u64()?);
    let stale = StaleWindows { while_revalidate: reader.u32()?, if_error: reader.u32()? };
    let handler_millis = reader.u32()?;
    let fields = packing.keep(reader.part()?);
    let length = reader.u64()?;
    Ok(StoredResponse {
        head: response_head(status, read_fields(&fields, length)?),
        body: packing.unpack(reader.rest(), length)?,
        generated,
        fresh_until,
        allows_authorization: flags & ANSWERS_AUTHORIZED != 0,
        stale,
        must_not_serve_stale: flags & FORBIDS_STALE != 0,
        immutable: flags & IMMUTABLE != 0,
        handler_millis,
    })
}

/// What one field takes beyond its name and value: both lengths, and whether the value is sensitive.
const FIELD: usize = 9;

pub(super) fn size_of_fields(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| FIELD + name.as_str().len() + value.len()).sum()
}

/// All fields but `Age`, which is another one at each use.
fn put_fields(out: &mut Vec<u8>, headers: &HeaderMap) -> Option<()> {
    let start = out.len();
    out.put_u32(0);
    out.put_size(headers.len() - headers.get_all(AGE).iter().count())?;
    for (name, value) in headers.iter().filter(|(name, _)| **name != AGE) {
        out.put_part(name.as_str().as_bytes())?;
        out.put_u8(u8::from(value.is_sensitive()));
        out.put_part(value.as_bytes())?;
    }
    let length = u32::try_from(out.len() - start - 4).ok()?;
    out[start..][..4].copy_from_slice(&length.to_be_bytes());
    Some(())
}

/// The fields, behind a slot for `Age`, as they will be sent; their values are slices of `fields`.
fn read_fields(fields: &Bytes, length: u64) -> Result<HeaderMap, Corrupt> {
    let mut reader = Reader::new(fields);
    let count = reader.count(FIELD)?;
    let mut headers = HeaderMap::try_with_capacity(count + 1).map_err(|_| Corrupt::Malformed)?;
    headers.try_insert(AGE, HeaderValue::from_static("0")).map_err(|_| Corrupt::Malformed)?;
    for _ in 0..count {
        let name = read_name(reader.part()?)?;
        let sensitive = reader.bool()?;
        let value = fields.slice_ref(reader.part()?);
        let mut value = HeaderValue::from_maybe_shared(value).map_err(|_| Corrupt::Malformed)?;
        value.set_sensitive(sensitive);
        check_framing(&name, &value, length)?;
        headers.try_append(name, value).map_err(|_| Corrupt::Malformed)?;
    }
    reader.end()?;
    Ok(headers)
}

/// The names that most responses have are known at once; any other is checked byte by byte.
fn read_name(name: &[u8]) -> Result<HeaderName, Corrupt> {
    match name {
        b"date" => Ok(DATE),
        b"etag" => Ok(ETAG),
        b"vary" => Ok(VARY),
        b"server" => Ok(SERVER),
        b"content-type" => Ok(CONTENT_TYPE),
        b"cache-control" => Ok(CACHE_CONTROL),
        b"last-modified" => Ok(LAST_MODIFIED),
        b"content-length" => Ok(CONTENT_LENGTH),
        b"content-encoding" => Ok(CONTENT_ENCODING),
        name => HeaderName::from_bytes(name).map_err(|_| Corrupt::Malformed),
    }
}

/// A field that says otherwise than the body where the response ends would make the client read the rest as another's.
fn check_framing(name: &HeaderName, value: &HeaderValue, length: u64) -> Result<(), Corrupt> {
    let consistent = match *name {
        CONTENT_LENGTH => number(value) == Some(length),
        TRANSFER_ENCODING | CONNECTION => false,
        _ => true,
    };
    if consistent { Ok(()) } else { Err(Corrupt::Malformed) }
}

/// Rust's numbers may have a sign, HTTP's not.
fn number(value: &HeaderValue) -> Option<u64> {
    let digits = value.to_str().ok().filter(|value| !value.starts_with('+'))?;
    digits.parse().ok()
}
