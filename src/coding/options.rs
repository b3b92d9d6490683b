//! The options of compression.

use super::{content_coding::ContentCoding, encode::highest_level};

/// In which codings stored responses are served, from which size on, and how much they are compressed; for
/// [`CacheLayer::compress`](crate::CacheLayer::compress).
///
/// ```
/// use larder::{Cache, CompressionOptions, ContentCoding};
///
/// let cache = Cache::in_memory(64 << 20);
/// let options = CompressionOptions::default().codings([ContentCoding::Brotli, ContentCoding::Gzip]).min_body(4096);
/// let layer = cache.layer().compress(options.level(ContentCoding::Brotli, 9));
/// # let _ = layer;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "it has no effect until it is passed to `CacheLayer::compress`"]
pub struct CompressionOptions {
    /// In order of preference; none if nothing is compressed.
    pub(crate) codings: Vec<ContentCoding>,
    /// In bytes.
    pub(crate) min_body: usize,
    levels: [u32; ContentCoding::ALL.len()],
}

impl Default for CompressionOptions {
    /// zstd, brotli and gzip, for bodies of 1 KiB and more.
    fn default() -> Self {
        Self { codings: ContentCoding::ALL.to_vec(), min_body: 1024, levels: [9, 6, 6] }
    }
}

/// `true` is the default, and `false` compresses nothing.
impl From<bool> for CompressionOptions {
    fn from(on: bool) -> Self {
        if on { Self::default() } else { Self::default().codings([]) }
    }
}

impl CompressionOptions {
    /// Serves these codings, and of those that a client wants equally the first; default: zstd, brotli, gzip. With none, nothing is
    /// compressed. The last call wins.
    pub fn codings(mut self, codings: impl IntoIterator<Item = ContentCoding>) -> Self {
        self.codings.clear();
        for coding in codings {
            if !self.codings.contains(&coding) {
                self.codings.push(coding);
            }
        }
        self
    }

    /// Compresses bodies of at least this size, in bytes; default: 1024. A smaller one fits in one packet with its header fields.
    pub fn min_body(self, bytes: usize) -> Self {
        Self { min_body: bytes, ..self }
    }

    /// Sets how much a coding compresses: 1 to 19 for zstd, 0 to 11 for brotli, 0 to 9 for gzip; a higher level counts as the highest.
    /// Default: 9 for zstd, 6 for brotli and gzip.
    ///
    /// A body is compressed once and served many times, so that a high level may pay off; but each refresh compresses again. For 1 MiB of HTML,
    /// the defaults take some 20 to 40 ms of one core; brotli 11 takes more than a second.
    pub fn level(mut self, coding: ContentCoding, level: u32) -> Self {
        self.levels[coding as usize] = level;
        self
    }

    /// Returns the level of a coding.
    pub(crate) fn level_of(&self, coding: ContentCoding) -> u32 {
        self.levels[coding as usize].min(highest_level(coding))
    }
}
