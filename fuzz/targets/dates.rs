//! Dates: nothing panics, and what is read is what is written.
#![no_main]
#![allow(dead_code)]

use libfuzzer_sys::fuzz_target;

#[path = "../../src/clock.rs"]
mod clock;
#[path = "../../src/http/field/scan.rs"]
mod scan;
/// Parsers name it by its folder.
mod field {
    pub(crate) use crate::scan;
}

#[path = "../../src/http/date.rs"]
mod date;

use date::{http_date, parse_date};

fuzz_target!(|text: &[u8]| {
    if let Some(time) = parse_date(text) {
        assert_eq!(parse_date(http_date(time).as_bytes()), Some(time));
    }
});
