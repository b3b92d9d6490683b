//! Stands in for the encoders without the feature `compression`: nothing is encoded.

use super::content_coding::ContentCoding;

pub(crate) fn highest_level(_: ContentCoding) -> u32 {
    0
}

pub(crate) fn encode(_: &[u8], _: ContentCoding, _: u32, _: impl Fn() -> bool) -> Option<Vec<u8>> {
    None
}
