//! What the RFCs on HTTP caching demand, sentence by sentence, through the front door.
//!
//! The number in a test's name is that of the line on the page `larder::standards`. Where the two profiles differ, a test says
//! which one it is about; all others hold for both.

mod cache_status;
mod freshness;
mod invalidation;
mod origin;
mod others;
mod page;
mod profiles;
mod reuse;
mod stale;
mod storing;
mod validation;
mod vary;
