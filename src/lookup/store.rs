//! Where an entry goes when it is stored.

use crate::{
    cache::outage_log::{Effect, report},
    entry::{epoch::Epoch, variants::VariantId},
    error::Error,
    http::{cache_status::Reason, no_vary_search::QueryVariance, vary::Vary},
    key::{Key, normalizers::base_variant_key},
    tag::Tag,
};

/// Where a response on its way into the store belongs, and what can invalidate it.
#[derive(Debug)]
pub(crate) struct EntryTarget {
    pub(crate) key: Key,
    pub(crate) vary: Vary,
    /// The key of the variant that the request selects by `vary`, if that names any field.
    pub(crate) variant: Option<Box<Key>>,
    pub(crate) born: Epoch,
    pub(crate) tags: Vec<Tag>,
    /// How the response treats the query, and where that is kept.
    pub(crate) rule: Option<Box<(Key, QueryVariance)>>,
    /// The tags of the target alone, for what is stored about all its variants.
    pub(crate) target_tags: Vec<Tag>,
}

impl EntryTarget {
    pub(crate) fn variant(&self) -> Box<Key> {
        self.variant.clone().unwrap_or_else(|| Box::new(base_variant_key(&self.key)))
    }
}

pub(crate) fn member(key: &Key) -> VariantId {
    *key.storage_digest().first_chunk().expect("a SHA-256 is longer than a member's name")
}

pub(crate) fn backend_failed(error: Error) -> Reason {
    report(&error, Effect::NotStored);
    Reason::Backend
}
