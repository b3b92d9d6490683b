//! Field values that most responses of a site have in common: each is kept once, for as long as the process lives.
//!
//! A copy of such a value counts no references, so that a hit has fewer counters to write, which all threads would share.

use std::{
    hash::BuildHasher as _,
    sync::{LazyLock, OnceLock},
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
/// How many places a value may have.
const PROBES: usize = 4;

static VALUES: [OnceLock<HeaderValue>; MOST] = [const { OnceLock::new() }; MOST];

/// Whether this is a value that other responses may well have too.
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
    named && value.len() <= LONGEST && !value.is_sensitive()
}

/// The same value, shared with all that have it; a copy of its own if there is no room for another.
pub(crate) fn shared(value: &HeaderValue) -> HeaderValue {
    static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::default);
    let first = HASHER.hash_one(value.as_bytes()) as usize;
    for probe in 0..PROBES {
        let place = &VALUES[first.wrapping_add(probe) % MOST];
        match place.get().or_else(|| keep(value, place)) {
            Some(kept) if kept == value => return kept.clone(),
            Some(_) => {}
            None => break,
        }
    }
    copied(value)
}

/// Keeps a value for good, unless another has taken the place meanwhile; `None` if it is not text.
#[cold]
fn keep<'p>(value: &HeaderValue, place: &'p OnceLock<HeaderValue>) -> Option<&'p HeaderValue> {
    let text = value.to_str().ok()?;
    Some(place.get_or_init(|| HeaderValue::from_static(String::leak(text.to_owned()))))
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
        let is_static = |value: &HeaderValue| {
            VALUES.iter().any(|place| place.get().is_some_and(|kept| kept.as_bytes().as_ptr() == value.as_bytes().as_ptr()))
        };
        let kept = (0..2 * MOST).filter(|number| is_static(&shared(&value(*number)))).count();
        assert!((MOST / 2..=MOST).contains(&kept), "{kept}");
        let odd = HeaderValue::from_bytes(b"caf\xe9").unwrap();
        assert_eq!(shared(&odd), odd);
    }
}
