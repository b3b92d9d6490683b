//! Interned header values: a value that many responses of a site share is stored once per process, and never freed.
//!
//! Clones of an interned value count no references, so threads that serve the same entry do not contend for a counter.

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue,
    header::{
        ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING,
        CONTENT_LANGUAGE, CONTENT_TYPE, REFERRER_POLICY, SERVER, STRICT_TRANSPORT_SECURITY, VARY, X_CONTENT_TYPE_OPTIONS,
        X_FRAME_OPTIONS,
    },
};

use super::intern_table::InternTable;

/// The most values that are interned. A site has few that repeat; further values are copied for each response.
const MAX_VALUES: usize = 256;
/// The longest value that is interned, in bytes.
const MAX_LENGTH: usize = 128;

static VALUES: InternTable<HeaderValue, MAX_VALUES> = InternTable::new();

/// Returns whether other responses are likely to have the same value.
pub(crate) fn is_internable(name: &HeaderName, value: &HeaderValue) -> bool {
    let named = matches!(
        *name,
        CONTENT_TYPE
            | CACHE_CONTROL
            | VARY
            | CONTENT_ENCODING
            | CONTENT_LANGUAGE
            | SERVER
            | ACCEPT_RANGES
            | ACCESS_CONTROL_ALLOW_CREDENTIALS
            | ACCESS_CONTROL_ALLOW_ORIGIN
            | REFERRER_POLICY
            | STRICT_TRANSPORT_SECURITY
            | X_CONTENT_TYPE_OPTIONS
            | X_FRAME_OPTIONS
    );
    named && value.len() <= MAX_LENGTH && !value.is_sensitive()
}

/// Returns the interned value, or a separate copy if its places are taken.
pub(crate) fn intern(value: &HeaderValue) -> HeaderValue {
    let kept = || copied(value, |bytes| Bytes::from_static(bytes.to_vec().leak()));
    let interned = VALUES.get_or_make(value.as_bytes(), |interned| interned == value, kept);
    interned.map_or_else(|| copied(value, Bytes::copy_from_slice), HeaderValue::clone)
}

fn copied(value: &HeaderValue, copy: impl FnOnce(&[u8]) -> Bytes) -> HeaderValue {
    // A copy of a valid header value is valid.
    HeaderValue::from_maybe_shared(copy(value.as_bytes())).unwrap_or_else(|_| value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interned_values_equal_the_originals_and_are_bounded() {
        let value = |number: usize| HeaderValue::from_str(&format!("text/{number}")).unwrap();
        for number in (0..2 * MAX_VALUES).chain(0..2 * MAX_VALUES) {
            assert_eq!(intern(&value(number)), value(number));
        }
        let is_static =
            |value: &HeaderValue| VALUES.values().any(|interned| interned.as_bytes().as_ptr() == value.as_bytes().as_ptr());
        let interned = (0..2 * MAX_VALUES).filter(|number| is_static(&intern(&value(*number)))).count();
        assert!((MAX_VALUES / 2..=MAX_VALUES).contains(&interned), "{interned}");
        let odd = HeaderValue::from_bytes(b"caf\xe9").unwrap();
        assert_eq!(intern(&odd), odd);
    }
}
