//! The lines of a field as one list.

use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::scan::{count, trim};

/// Returns the members of a list over all lines of the field, without the empty ones (RFC 9110 §5.6.1). Quoted strings are not respected:
/// for lists of tokens.
pub(crate) fn members<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    members_of(headers.get_all(name).iter())
}

/// Returns the members of a list in these lines, as [`members`] does.
pub(crate) fn members_of<'h>(lines: impl Iterator<Item = &'h HeaderValue>) -> impl Iterator<Item = &'h [u8]> {
    lines.flat_map(|line| members_in(line.as_bytes()))
}

/// Returns the members of a list in one line, as [`members`] does.
pub(crate) fn members_in(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Returns the value of a field that has one line.
#[inline]
pub(crate) fn only_line<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next()?;
    lines.next().is_none().then(|| trim(line.as_bytes()))
}

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
