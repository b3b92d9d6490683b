//! `Cache-Control` of responses and requests: nothing panics, and no line can take back what another forbids.
#![no_main]
#![allow(dead_code)]

use http::{HeaderMap, HeaderValue, header::CACHE_CONTROL};
use libfuzzer_sys::fuzz_target;

#[path = "../../src/http/field/scan.rs"]
mod scan;
/// Parsers name it by its folder.
mod field {
    pub(crate) use crate::scan;
}

#[path = "../../src/http/cache_control.rs"]
mod cache_control;

use cache_control::{CacheControl, RequestDirectives, named_fields};

fn headers(lines: &[&[u8]]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(CACHE_CONTROL, HeaderValue::from_bytes(line).ok()?);
    }
    Some(headers)
}

fuzz_target!(|lines: (&[u8], &[u8])| {
    let Some(both) = headers(&[lines.0, lines.1]) else { return };
    let Some(one) = headers(&[lines.0]) else { return };
    let (one, both) = (CacheControl::parse(&one, &CACHE_CONTROL), (CacheControl::parse(&both, &CACHE_CONTROL), both));
    assert!(!one.no_store || both.0.no_store);
    assert!(!one.private || both.0.private);
    assert!(!one.no_cache || both.0.no_cache);
    assert!(one.max_age.is_none_or(|age| both.0.max_age.is_some_and(|lower| lower <= age)));
    let _ = CacheControl::parse_targeted(&both.1, &CACHE_CONTROL);
    let _ = RequestDirectives::parse(&both.1);
    let _ = named_fields(&both.1, &CACHE_CONTROL);
});
