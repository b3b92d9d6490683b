//! What may be answered from the cache, what may be stored, and for how long.

pub(crate) mod cacheable_request;
pub(crate) mod effect;
pub(crate) mod freshness;
pub(crate) mod limits;
pub(crate) mod post_rule;
pub(crate) mod refresh_ahead;
pub(crate) mod remedy;
pub(crate) mod response_view;
pub(crate) mod selecting_fields;
pub(crate) mod settings;
pub(crate) mod storable;
pub(crate) mod store_rules;
