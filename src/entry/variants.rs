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

    /// Removes the variants that have expired.
    pub(crate) fn retain_live(&mut self, now: Timestamp) {
        self.members.retain(|(_, expires)| now < *expires);
    }

    /// Adds a variant, and returns the one that it replaces because there are as many as the `limit` allows: the oldest that has had no
    /// hit, or else the oldest.
    pub(crate) fn add(
        &mut self,
        fields: &[HeaderName],
        id: VariantId,
        expires: Timestamp,
        limit: usize,
        has_hit: impl Fn(&VariantId) -> bool,
    ) -> Option<VariantId> {
        /// How many different `Vary` values of one URI are searched. Not a setting: each costs every request one more read of the store.
        const MAX_VARY_LISTS: usize = 4;
        self.members.retain(|(other, _)| *other != id);
        let replaced = (self.members.len() >= limit).then(|| {
            let oldest = self.members.iter().position(|(id, _)| !has_hit(id)).unwrap_or(0);
            self.members.remove(oldest).0
        });
        self.members.push((id, expires));
        self.vary_lists.retain(|other| **other != *fields);
        self.vary_lists.insert(0, fields.into());
        self.vary_lists.truncate(MAX_VARY_LISTS);
        replaced
    }

    pub(crate) fn weight(&self) -> usize {
        let vary_lists: usize = self.vary_lists.iter().map(|names| names.len() * size_of::<HeaderName>() + 16).sum();
        vary_lists + self.members.len() * size_of::<(VariantId, Timestamp)>()
    }
}
