//! Compression with zstd.

use std::cell::RefCell;

use zstd::{
    bulk::{self, Decompressor},
    zstd_safe::get_frame_content_size,
};

/// Compresses `bytes`; `None` if that fails.
pub(super) fn compress(bytes: &[u8], level: i32) -> Option<Vec<u8>> {
    bulk::compress(bytes, level).ok()
}

/// Decompresses to exactly `length` bytes; `None` if there are more or fewer. Never allocates or writes more than `length` bytes.
pub(super) fn decompress(compressed: &[u8], length: usize) -> Option<Vec<u8>> {
    thread_local! {
        /// Creating one takes longer than decompressing a page.
        static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = RefCell::new(Decompressor::new().ok());
    }
    let stated = get_frame_content_size(compressed).ok()??;
    if stated != length as u64 {
        return None;
    }
    let bytes = DECOMPRESSOR.with_borrow_mut(|decompressor| decompressor.as_mut()?.decompress(compressed, length).ok())?;
    (bytes.len() == length).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::header::CONTENT_ENCODING;

    use crate::{
        codec::{
            DecodeError, Encoded, Head,
            compression::{Compression, DecodeLimits},
            decode, encode,
            golden::{assert_reads, golden},
            tests::{contents, entry, page, seal},
        },
        entry::{
            response::StoredResponse,
            stored::{Content, Stored},
        },
        key::Key,
    };

    const OVER_A_KIB: Compression = Compression { threshold: Some(1024), level: 3 };

    fn key() -> Key {
        Key::from_bytes(b"key")
    }

    fn encoded(response: StoredResponse) -> (Stored, Encoded) {
        let stored = entry(Content::Response(response));
        let encoded = encode(&key(), &stored, OVER_A_KIB).unwrap();
        (stored, encoded)
    }

    fn decoded(encoded: Encoded, limits: DecodeLimits) -> Result<Stored, DecodeError> {
        decode(&key(), Head::decode(&encoded.head).unwrap(), &encoded.body.into(), limits)
    }

    fn is_compressed(encoded: &Encoded) -> bool {
        encoded.body[2] != 0
    }

    /// A body with much repetition.
    fn repetitive(length: usize) -> Vec<u8> {
        b"{\"id\":7,\"title\":\"a post\"},".iter().copied().cycle().take(length).collect()
    }

    #[test]
    fn golden_compressed_entry_of_version_1_is_read() {
        let stored = entry(Content::Response(page(&repetitive(3000), &[("content-type", "application/json")])));
        let bytes = golden("v1-compressed", &stored, OVER_A_KIB);
        assert!(bytes.len() < 1000, "{}", bytes.len());
        assert_reads(&bytes, &stored);
    }

    #[test]
    fn compressible_body_over_the_threshold_is_compressed() {
        let (stored, encoded) = encoded(page(&repetitive(1024), &[("etag", "\"a\"")]));
        assert!(is_compressed(&encoded));
        assert_eq!(contents(&decoded(encoded, DecodeLimits::default()).unwrap()), contents(&stored));
    }

    #[test]
    fn short_encoded_and_random_bodies_are_stored_uncompressed() {
        let random: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(4096).collect();
        let encoded_already = page(&repetitive(4096), &[(CONTENT_ENCODING.as_str(), "br")]);
        for response in [page(&repetitive(1023), &[]), page(&random, &[]), encoded_already] {
            let (stored, encoded) = encoded(response);
            assert!(!is_compressed(&encoded));
            assert_eq!(contents(&decoded(encoded, DecodeLimits::default()).unwrap()), contents(&stored));
        }
    }

    #[test]
    fn fields_of_a_compressed_entry_do_not_keep_its_body_alive() {
        let (_, encoded) = encoded(page(&repetitive(4096), &[("etag", "\"a\"")]));
        let body = Bytes::from(encoded.body);
        let stored = decode(&key(), Head::decode(&encoded.head).unwrap(), &body, DecodeLimits::default()).unwrap();
        assert!(body.is_unique());
        drop(stored);
    }

    /// Replaces the compressed body and its stated length.
    fn forged(stated: usize, body: &[u8]) -> Encoded {
        let (_, mut encoded) = encoded(page(&repetitive(2000), &[]));
        let length = 2000_u64.to_be_bytes();
        let at = encoded.body.windows(8).rposition(|window| window == length).unwrap();
        encoded.body.truncate(at);
        encoded.body.extend_from_slice(&(stated as u64).to_be_bytes());
        encoded.body.extend_from_slice(body);
        // `Content-Length`, which must agree.
        let field = encoded.body.windows(5).position(|window| window == b"\x042000").unwrap();
        encoded.body[field + 1..][..4].copy_from_slice(format!("{stated:04}").as_bytes());
        seal(&mut encoded.body);
        encoded
    }

    #[test]
    fn d9_body_that_decompresses_to_another_length_is_refused() {
        let bomb = |length| super::compress(&vec![0; length], 19).unwrap();
        assert!(bomb(100 << 20).len() < 20_000);
        assert!(decoded(forged(2000, &bomb(2000)), DecodeLimits::default()).is_ok());
        for (stated, body) in
            [(2000, bomb(100 << 20)), (2000, bomb(1999)), (2000, [bomb(2000), bomb(2000)].concat()), (0, bomb(2000))]
        {
            assert_eq!(decoded(forged(stated, &body), DecodeLimits::default()).err(), Some(DecodeError::Compression), "{stated}");
        }
        assert_eq!(decoded(forged(2000, &bomb(2000)), DecodeLimits { body: 1999 }).err(), Some(DecodeError::TooLarge));
    }

    #[test]
    fn d9_a_frame_that_lies_about_its_own_length_is_refused() {
        let mut frame = super::compress(&[0; 100_000], 3).unwrap();
        // Magic (4), descriptor (1), content size (4), as a frame of one segment has them.
        assert_eq!(frame[5..9], 100_000_u32.to_le_bytes());
        frame[5..9].copy_from_slice(&2000_u32.to_le_bytes());
        assert_eq!(decoded(forged(2000, &frame), DecodeLimits::default()).err(), Some(DecodeError::Compression));
    }
}
