//! What an invalidation has removed.

use std::collections::HashSet;

use crate::{backend::contract::Invalidation, tag::Tag};

/// Up to this many tags are compared one by one.
const FEW: usize = 16;

/// What an invalidation has removed, to be compared with the tags of many responses.
pub(crate) enum Removed<'i> {
    Everything,
    Few(&'i [Tag]),
    Many(HashSet<&'i Tag>),
}

impl<'i> Removed<'i> {
    pub(crate) fn by(invalidation: &'i Invalidation) -> Self {
        match (invalidation, invalidation.tags()) {
            (Invalidation::Everything, _) => Self::Everything,
            (_, tags) if tags.len() <= FEW => Self::Few(tags),
            (_, tags) => Self::Many(tags.iter().collect()),
        }
    }

    /// Whether a response with these tags was removed.
    pub(crate) fn has_any(&self, tags: &[Tag]) -> bool {
        match self {
            Self::Everything => true,
            Self::Few(removed) => tags.iter().any(|tag| removed.contains(tag)),
            Self::Many(removed) => tags.iter().any(|tag| removed.contains(tag)),
        }
    }
}
