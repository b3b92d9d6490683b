//! Field values that most responses of a site have in common: each is kept once, for as long as the process lives.
//!
//! A copy of such a value counts no references, so that a hit has fewer counters to write, which all threads would share.

use std::{
    collections::HashMap,
    sync::{LazyLock, PoisonError, RwLock},
};

use bytes::Bytes;
use foldhash::fast::RandomState;
use http::{
    HeaderName, HeaderValue,
    header::{
        ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING,
        CONTENT_LANGUAGE, CONTENT_TYPE, REFERRER_POLICY, SERVER, STRICT_TRANSPORT_SECURITY, VARY, X_CONTENT_TYPE_OPTIONS,
        X_FRAME_OPTIONS,
    },
};

/// How many values are kept, of any site's few; what comes after them is copied for each response.
const MOST: usize = 256;
const LONGEST: usize = 128;

static VALUES: LazyLock<RwLock<HashMap<&'static [u8], HeaderValue, RandomState>>> = LazyLock::new(RwLock::default);

/// Whether this is a value that other responses may well have too.
pub(crate) fn is_common(name: &HeaderName, value: &HeaderValue) -> bool {
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
    named && value.len() <= LONGEST && !value.is_sensitive()
}

/// The same value, shared with all that have it; a copy of its own if there is no room for another.
pub(crate) fn shared(value: &HeaderValue) -> HeaderValue {
    let known = VALUES.read().unwrap_or_else(PoisonError::into_inner).get(value.as_bytes()).cloned();
    known.or_else(|| keep(value)).unwrap_or_else(|| copied(value))
}

#[cold]
fn keep(value: &HeaderValue) -> Option<HeaderValue> {
    let text = value.to_str().ok()?;
    let mut values = VALUES.write().unwrap_or_else(PoisonError::into_inner);
    if values.len() >= MOST {
        return values.get(text.as_bytes()).cloned();
    }
    let text: &'static str = String::leak(text.to_owned());
    Some(values.entry(text.as_bytes()).or_insert_with(|| HeaderValue::from_static(text)).clone())
}

fn copied(value: &HeaderValue) -> HeaderValue {
    // The bytes are a header value, so their copy is one.
    HeaderValue::from_maybe_shared(Bytes::copy_from_slice(value.as_bytes())).unwrap_or_else(|_| value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_themselves_and_only_so_many_are_kept() {
        let value = |number: usize| HeaderValue::from_str(&format!("text/{number}")).unwrap();
        for number in (0..2 * MOST).chain(0..2 * MOST) {
            assert_eq!(shared(&value(number)), value(number));
        }
        assert_eq!(VALUES.read().unwrap().len(), MOST);
        let odd = HeaderValue::from_bytes(b"caf\xe9").unwrap();
        assert_eq!(shared(&odd), odd);
    }
}
