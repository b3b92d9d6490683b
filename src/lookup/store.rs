//! Where an entry goes when it is stored.

use crate::{
    cache::outage_log::{Effect, report},
    entry::{epoch::Epoch, variants::VariantId},
    error::Error,
    http::{cache_status::Reason, no_vary_search::QueryVariance, vary::Vary},
    key::{Key, normalizers::base_variant_key},
    tag::Tag,
};

/// The key, variant, tags and epoch under which a response is stored.
#[derive(Debug)]
pub(crate) struct EntryTarget {
    pub(crate) key: Key,
    pub(crate) vary: Vary,
    /// The key of the variant that the request selects by `vary`; `None` if `vary` names no field.
    pub(crate) variant: Option<Box<Key>>,
    pub(crate) born: Epoch,
    pub(crate) tags: Vec<Tag>,
    /// The response's `No-Vary-Search` rule, and the key under which it is stored.
    pub(crate) rule: Option<Box<(Key, QueryVariance)>>,
    /// The tags of the target URI alone, for the entries that concern all its variants.
    pub(crate) target_tags: Vec<Tag>,
}

impl EntryTarget {
    pub(crate) fn variant_key(&self) -> Box<Key> {
        self.variant.clone().unwrap_or_else(|| Box::new(base_variant_key(&self.key)))
    }
}

pub(crate) fn variant_id(key: &Key) -> VariantId {
    *key.storage_digest().first_chunk().expect("a SHA-256 digest is longer than a variant id")
}

pub(crate) fn backend_failed(error: Error) -> Reason {
    report(&error, Effect::NotStored);
    Reason::Backend
}
