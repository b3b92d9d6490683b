//! The list of variants of a URI (RFC 9111 §4.1).

use http::HeaderName;
use smallvec::SmallVec;

use crate::clock::Timestamp;

/// The variants of a URI: which request fields select one, and which are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Variants {
    /// The field lists of the `Vary` fields seen, newest first; names in lower case, sorted.
    pub(crate) vary_lists: SmallVec<[Box<[HeaderName]>; 1]>,
    /// Each variant, and when it expires.
    pub(crate) members: Vec<(VariantId, Timestamp)>,
}

/// Identifies a variant of a URI, on every node: the first half of the SHA-256 of its key.
pub(crate) type VariantId = [u8; 16];

impl Variants {
    pub(crate) fn expires(&self) -> Timestamp {
        self.members.iter().map(|(_, expires)| *expires).max().unwrap_or(Timestamp::from_millis(0))
    }

    pub(crate) fn weight(&self) -> usize {
        let vary_lists: usize = self.vary_lists.iter().map(|names| names.len() * size_of::<HeaderName>() + 16).sum();
        vary_lists + self.members.len() * size_of::<(VariantId, Timestamp)>()
    }
}
