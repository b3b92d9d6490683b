//! What the RFCs on HTTP caching demand, sentence by sentence, through the front door.
//!
//! The number in a test's name is that of the line on the page `larder::standards`. Where the two profiles differ, a test says
//! which one it is about; all others hold for both.

mod cache_status;
mod dictionaries;
mod digests;
mod freshness;
mod groups;
mod immutable;
mod invalidation;
mod no_vary_search;
mod origin;
mod page;
mod profiles;
mod query_method;
mod reuse;
mod semantics;
mod stale;
mod storing;
mod targeted_fields;
mod validation;
mod vary;
