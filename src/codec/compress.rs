use std::cell::RefCell;

use zstd::{
    bulk::{self, Decompressor},
    zstd_safe::get_frame_content_size,
};

/// `None` if it cannot be compressed.
pub(super) fn compress(bytes: &[u8], level: i32) -> Option<Vec<u8>> {
    bulk::compress(bytes, level).ok()
}

/// Exactly `length` bytes; `None` if there are more or fewer, and nothing beyond `length` is ever allocated or written.
pub(super) fn decompress(compressed: &[u8], length: usize) -> Option<Vec<u8>> {
    thread_local! {
        /// To make one takes longer than to unpack a page.
        static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = RefCell::new(Decompressor::new().ok());
    }
    let stated = get_frame_content_size(compressed).ok()??;
    if stated != length as u64 {
        return None;
    }
    let bytes = DECOMPRESSOR.with_borrow_mut(|decompressor| decompressor.as_mut()?.decompress(compressed, length).ok())?;
    (bytes.len() == length).then_some(bytes)
}
