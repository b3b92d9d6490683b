//! The errors of decoding an entry.

use std::fmt;

/// Why bytes from a store are not an entry that this version can use. Each error is treated as a miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// The bytes are not an entry of larder.
    Foreign,
    /// The entry has the format of another version.
    Version(u8),
    Truncated,
    Checksum,
    /// The entry is for another key.
    OtherKey,
    /// Head and body were written by different writes.
    OtherWrite,
    /// The response is larger than this node accepts.
    TooLarge,
    /// The body cannot be decompressed, or not to its stated length.
    Compression,
    /// A field has an invalid value.
    Malformed,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("not an entry of larder"),
            Self::Version(version) => write!(f, "an entry of format version {version}"),
            Self::Truncated => f.write_str("a truncated entry"),
            Self::Checksum => f.write_str("an entry with a wrong checksum"),
            Self::OtherKey => f.write_str("an entry for another key"),
            Self::OtherWrite => f.write_str("the head and body of different entries"),
            Self::TooLarge => f.write_str("an entry whose body is too large"),
            Self::Compression => f.write_str("an entry whose body cannot be decompressed"),
            Self::Malformed => f.write_str("a malformed entry"),
        }
    }
}

impl std::error::Error for DecodeError {}
