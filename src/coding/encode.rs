//! The encoders.

use std::io::{self, Write};

use super::content_coding::ContentCoding;

/// Returns the highest level of a coding. Browsers need not decode zstd with a window of more than 8 MiB (RFC 9659), which higher levels
/// may use.
pub(crate) fn highest_level(coding: ContentCoding) -> u32 {
    match coding {
        ContentCoding::Zstd => 19,
        ContentCoding::Brotli => 11,
        ContentCoding::Gzip => 9,
    }
}

/// Encodes a body; `None` if `is_cancelled` says so meanwhile, or the encoder fails.
///
/// Equal bodies have equal encodings, within one version of larder.
pub(crate) fn encode(body: &[u8], coding: ContentCoding, level: u32, is_cancelled: impl Fn() -> bool) -> Option<Vec<u8>> {
    let encoded = Vec::with_capacity(body.len() / 4);
    match coding {
        ContentCoding::Zstd => {
            let mut encoder = zstd::Encoder::new(encoded, i32::try_from(level).ok()?).ok()?;
            encoder.set_pledged_src_size(Some(body.len() as u64)).ok()?;
            feed(&mut encoder, body, is_cancelled).ok()?;
            encoder.finish().ok()
        }
        ContentCoding::Brotli => {
            /// Its default: 4 MiB.
            const WINDOW_BITS: u32 = 22;
            let mut encoder = brotli::CompressorWriter::new(encoded, 4096, level, WINDOW_BITS);
            feed(&mut encoder, body, is_cancelled).ok()?;
            Some(encoder.into_inner())
        }
        ContentCoding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(encoded, flate2::Compression::new(level));
            feed(&mut encoder, body, is_cancelled).ok()?;
            encoder.finish().ok()
        }
    }
}

/// Writes a body in pieces.
fn feed(encoder: &mut impl Write, body: &[u8], is_cancelled: impl Fn() -> bool) -> io::Result<()> {
    const PIECE: usize = 64 << 10;
    for piece in body.chunks(PIECE) {
        if is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        encoder.write_all(piece)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn cancelled_encoding_ends_within_a_piece() {
        let body = vec![7; 1 << 20];
        for coding in ContentCoding::ALL {
            let pieces = Cell::new(0);
            let cancelled = || {
                pieces.set(pieces.get() + 1);
                pieces.get() > 2
            };
            assert_eq!(encode(&body, coding, 1, cancelled), None);
            assert_eq!(pieces.get(), 3);
        }
    }

    #[test]
    fn equal_bodies_have_equal_encodings() {
        let body: Vec<u8> = (0..200_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
        for coding in ContentCoding::ALL {
            let encoded = || encode(&body, coding, 6, || false).unwrap();
            assert_eq!(encoded(), encoded());
            assert!(encoded().len() < body.len() / 2);
        }
    }
}
