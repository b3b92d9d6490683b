//! Where an entry goes when it is stored.

use crate::{
    cache::outage_log::{Consequence, report},
    entry::{epoch::Epoch, variants::Member},
    error::Error,
    http::{cache_status::Reason, no_vary_search::SearchRule, vary::Vary},
    key::{Key, normalizers::unvaried},
    tag::Tag,
};

/// Where a response on its way into the store belongs, and what can invalidate it.
#[derive(Debug)]
pub(crate) struct Filled {
    pub(crate) key: Key,
    pub(crate) vary: Vary,
    /// The key of the variant that the request selects by `vary`, if that names any field.
    pub(crate) variant: Option<Box<Key>>,
    pub(crate) born: Epoch,
    pub(crate) tags: Vec<Tag>,
    /// How the response treats the query, and where that is kept.
    pub(crate) rule: Option<Box<(Key, SearchRule)>>,
    /// The tags of the target alone, for what is stored about all its variants.
    pub(crate) target_tags: Vec<Tag>,
}

impl Filled {
    pub(crate) fn variant(&self) -> Box<Key> {
        self.variant.clone().unwrap_or_else(|| Box::new(unvaried(&self.key)))
    }
}

pub(crate) fn member(key: &Key) -> Member {
    *key.storage_digest().first_chunk().expect("a SHA-256 is longer than a member's name")
}

pub(crate) fn backend_failed(error: Error) -> Reason {
    report(&error, Consequence::NotStored);
    Reason::Backend
}
