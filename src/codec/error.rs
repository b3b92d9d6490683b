//! The errors of decoding an entry.

use std::fmt;

/// Why bytes from a store are no entry that this version can use: each is a miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Corrupt {
    /// They are somebody else's.
    Foreign,
    /// Another version of larder wrote them.
    Version(u8),
    Truncated,
    Checksum,
    /// They are an entry for another key.
    OtherKey,
    /// Head and body come from two writes.
    OtherWrite,
    /// The response is larger than this node accepts.
    TooLarge,
    /// The body cannot be unpacked, or has another length than it says.
    Compression,
    /// They say something that no entry can say.
    Malformed,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("not an entry of larder's"),
            Self::Version(version) => write!(f, "an entry of format version {version}"),
            Self::Truncated => f.write_str("a truncated entry"),
            Self::Checksum => f.write_str("an entry whose checksum is wrong"),
            Self::OtherKey => f.write_str("an entry for another key"),
            Self::OtherWrite => f.write_str("head and body of two entries"),
            Self::TooLarge => f.write_str("an entry with too large a body"),
            Self::Compression => f.write_str("an entry whose body cannot be unpacked"),
            Self::Malformed => f.write_str("a malformed entry"),
        }
    }
}

impl std::error::Error for Corrupt {}
