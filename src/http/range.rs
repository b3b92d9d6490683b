//! Byte ranges (RFC 9110 §14).

use super::field::scan::{count, find};

/// The part of a body that a `Range` field selects (RFC 9110 §14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The whole body: the field is not a single valid range of bytes.
    Whole,
    /// The bytes from the first offset up to, not including, the second.
    Bytes(u64, u64),
    /// The range begins after the end of the body.
    Unsatisfiable,
}

/// Evaluates a `Range` field for a body of `length` bytes. A single range is served; several ranges, another unit and invalid
/// values select the whole body, as the RFC allows.
pub(crate) fn part(range: &[u8], length: u64) -> Part {
    let Some((first, last)) = single_range(range) else { return Part::Whole };
    match (number(first), number(last)) {
        (Some(first), _) if last.is_empty() => from_to(first, u64::MAX, length),
        (Some(first), Some(last)) if first <= last => from_to(first, last, length),
        (None, Some(suffix)) if first.is_empty() => match length.min(suffix) {
            0 => Part::Unsatisfiable,
            suffix => Part::Bytes(length - suffix, length),
        },
        _ => Part::Whole,
    }
}

fn from_to(first: u64, last: u64, length: u64) -> Part {
    if first < length { Part::Bytes(first, last.saturating_add(1).min(length)) } else { Part::Unsatisfiable }
}

fn single_range(range: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = find(range, |byte| byte == b'=')?;
    let (unit, set) = (&range[..equals], range[equals + 1..].trim_ascii());
    let dash = find(set, |byte| byte == b'-')?;
    unit.eq_ignore_ascii_case(b"bytes").then_some((&set[..dash], &set[dash + 1..]))
}

/// Parses a number. One that overflows becomes `u64::MAX`, which is after the end of any body.
fn number(digits: &[u8]) -> Option<u64> {
    let number =
        |sum: u64, digit: &u8| digit.is_ascii_digit().then(|| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    count(digits.len());
    if digits.is_empty() { None } else { digits.iter().try_fold(0, number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s63_one_range_is_served_and_one_beyond_the_end_is_not_satisfiable() {
        for (range, expected) in [
            ("bytes=0-0", Part::Bytes(0, 1)),
            ("bytes=2-4", Part::Bytes(2, 5)),
            ("bytes=2-", Part::Bytes(2, 10)),
            ("BYTES=-3", Part::Bytes(7, 10)),
            ("bytes=-30", Part::Bytes(0, 10)),
            ("bytes=5-99", Part::Bytes(5, 10)),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
        ] {
            assert_eq!(part(range.as_bytes(), 10), expected, "{range}");
        }
        assert_eq!(part(b"bytes=0-", 0), Part::Unsatisfiable);
    }

    #[test]
    fn several_ranges_other_units_and_invalid_values_select_the_whole_body() {
        for range in [
            "bytes=0-1,3-4",
            "pages=1-2",
            "bytes=4-2",
            "bytes=a-b",
            "bytes",
            "bytes=-",
            "bytes=1",
            "",
            "bytes=--1",
            "bytes= 1 -2",
        ] {
            assert_eq!(part(range.as_bytes(), 10), Part::Whole, "{range}");
        }
    }

    #[test]
    fn d11_no_number_overflows() {
        assert_eq!(part(b"bytes=0-18446744073709551615", 10), Part::Bytes(0, 10));
        assert_eq!(part(b"bytes=0-99999999999999999999999", 10), Part::Bytes(0, 10));
        assert_eq!(part(b"bytes=18446744073709551615-", 10), Part::Unsatisfiable);
        assert_eq!(part(b"bytes=-9223372036854775808", 10), Part::Bytes(0, 10));
        assert_eq!(part(b"bytes=-9223372036854775808,-1", 10), Part::Whole);
    }
}
