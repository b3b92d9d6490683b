//! The lines of a field as one list.

use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use super::scan::{count, trim};

/// Joins the field's lines into one list (RFC 9110 §5.2); `None` if the field is absent.
pub(crate) fn joined_lines(headers: &HeaderMap, name: &HeaderName) -> Option<SmallVec<[u8; 64]>> {
    let mut lines = headers.get_all(name).iter();
    let mut joined = SmallVec::from_slice(trim(lines.next()?.as_bytes()));
    for line in lines {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(trim(line.as_bytes()));
    }
    count(joined.len());
    Some(joined)
}
