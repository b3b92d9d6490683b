//! The variants of a resource, by the `Vary` fields that responses have named.

use http::HeaderName;
use smallvec::SmallVec;

use crate::clock::Timestamp;

/// The variants of one URI: which request fields select among them, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Variants {
    /// The field lists of the `Vary` fields seen, newest first; names in lower case, sorted.
    pub(crate) vary_lists: SmallVec<[Box<[HeaderName]>; 1]>,
    /// Name and end of each variant.
    pub(crate) members: Vec<(VariantId, Timestamp)>,
}

/// What a variant is called among those of its URI, on every node: the first half of its key's SHA-256.
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
