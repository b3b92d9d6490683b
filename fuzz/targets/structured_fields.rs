//! Cache groups and `No-Vary-Search`: nothing panics, and a rule applied twice is a rule applied once.
#![no_main]
#![allow(dead_code)]

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

#[path = "../../src/http/field/scan.rs"]
mod scan;
/// Parsers name it by its folder.
mod field {
    pub(crate) use crate::scan;
}

#[path = "../../src/http/cache_groups.rs"]
mod cache_groups;
#[path = "../../src/http/no_vary_search.rs"]
mod no_vary_search;

use cache_groups::{CACHE_GROUPS, group_names};
use no_vary_search::QueryVariance;

fuzz_target!(|input: (&[u8], &str)| {
    let (field, query) = input;
    let Ok(value) = HeaderValue::from_bytes(field) else { return };
    let _ = group_names(&HeaderMap::from_iter([(CACHE_GROUPS, value.clone())]), &CACHE_GROUPS);
    let headers = HeaderMap::from_iter([(HeaderName::from_static("no-vary-search"), value)]);
    if let Some(rule) = QueryVariance::parse(&headers) {
        let once = rule.apply(Some(query));
        assert_eq!(rule.apply(once.as_deref()), once);
    }
});
