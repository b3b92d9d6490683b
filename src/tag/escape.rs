//! Values in tags, encoded so that no two lists of values make the same tag.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::http::field::scan::count;

/// Everything but letters, digits, and what is in the usual ids.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Returns a value in the form that it has in a tag: percent-encoded, except for ASCII letters and digits, `-`, `.`, `_` and `~`.
pub(crate) fn escaped(value: &str) -> Cow<'_, str> {
    count(value.len());
    utf8_percent_encode(value, ENCODED).into()
}

/// Whether a byte can be in an encoded value.
#[cfg(any(test, feature = "typed-tags"))]
pub(crate) const fn is_in_values(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_encoded_unless_they_are_plain() {
        for (value, encoded) in [
            ("7", "7"),
            ("-7", "-7"),
            ("550e8400-e29b-41d4-a716-446655440000", "550e8400-e29b-41d4-a716-446655440000"),
            ("a:b", "a%3Ab"),
            ("a/b c%", "a%2Fb%20c%25"),
            ("é{}", "%C3%A9%7B%7D"),
            ("", ""),
        ] {
            assert_eq!(escaped(value), encoded);
            assert!(encoded.bytes().all(is_in_values));
        }
    }
}
