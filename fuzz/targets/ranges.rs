//! Ranges: nothing overflows, and a part lies within the body.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../src/http/field/scan.rs"]
mod scan;
/// Parsers name it by its folder.
mod field {
    pub(crate) use crate::scan;
}

#[path = "../../src/http/range.rs"]
mod range;

use range::{Part, part};

fuzz_target!(|asked: (&[u8], u64)| {
    let (text, length) = asked;
    if let Part::Bytes(start, end) = part(text, length) {
        assert!(start < end && end <= length);
    }
});
