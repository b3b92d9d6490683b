#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "admin")]
pub mod admin;
pub mod advisor;
pub mod backend;
mod body;
mod cache;
mod clock;
mod codec;
mod coding;
#[cfg(feature = "conformance")]
pub mod conformance;
mod counting;
mod dependencies;
mod entry;
mod error;
mod fetch;
pub mod guide;
mod handler;
mod http;
mod invalidation;
mod key;
mod lists;
mod lookup;
mod middleware;
mod policy;
mod rewarm;
mod router;
mod stats;
mod sync;
mod tag;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(all(test, feature = "axum", feature = "memory"))]
mod tests;
mod throttle;
mod timer;
mod values;
mod warm;

#[doc = include_str!("docs/standards.md")]
pub mod standards {}

#[doc = include_str!("docs/metrics.md")]
pub mod metrics {}

#[doc = include_str!("docs/sizing.md")]
pub mod sizing {}

pub use backend::cache_mode::CacheMode;
pub use backend::contract::{Durability, Receipt, Scope};
pub use backend::health::Health;
#[cfg(feature = "memcached")]
pub use backend::memcached::{Memcached, MemcachedBuilder};
#[cfg(feature = "memory")]
pub use backend::memory::Memory;
#[cfg(feature = "redis")]
pub use backend::redis::{Redis, RedisBuilder};
#[cfg(feature = "memory")]
pub use backend::tiered::Tiered;
pub use body::ResponseBody;
pub use body::request_body::RequestBody;
pub use cache::Cache;
pub use cache::drain::DrainReport;
pub use cache::jobs::{JobKind, JobStatus, WarmProgress};
pub use cache::lease::CacheLease;
pub use cache::pending_write::PendingWrite;
pub use cache::work::WorkCount;
pub use clock::ManualClock;
#[cfg(feature = "compression")]
pub use coding::{content_coding::ContentCoding, options::CompressionOptions};
pub use counting::histogram::Durations;
pub use dependencies::{add_tags, in_current_run};
pub use error::Error;
pub use handler::cache_directive::CacheDirective;
pub use handler::cache_tags::CacheTags;
pub use handler::invalidate::Invalidate;
pub use handler::preconditions::{NotModified, Preconditions};
pub use http::accept::LanguageMatcher;
pub use http::cache_status::{CacheStatus, Forward, Reason};
pub use http::outcome::Outcome;
pub use key::normalizers::Normalize;
pub use lists::{AsTag, AsTemplate, IntoNames, IntoTags, IntoTemplates, shape};
pub use middleware::future::ResponseFuture;
pub use middleware::layer::CacheLayer;
pub use middleware::service::CacheService;
#[cfg(feature = "memory")]
#[doc(no_inline)]
pub use moka;
pub use stats::decision::Decision;
pub use stats::fill_result::{FillResult, Trigger};
pub use stats::hot::{HotKey, HotTag};
pub use stats::invalidations::{InvalidationKind, InvalidationStats, PastInvalidation};
pub use stats::snapshot::{RouteStats, Stats};
pub use stats::verification::Verification;
#[cfg(feature = "typed-tags")]
pub use tag::typed::{CacheTag, TypedTemplate};
pub use values::policy::ValuePolicy;

/// What the code consists of that `cache_tags!` makes.
#[cfg(feature = "typed-tags")]
#[doc(hidden)]
pub mod __typed_tags {
    pub use crate::tag::typed::{check_distinct, check_template, write_tag};
    pub use pastey::paste;
}
pub use warm::builder::Warm;
pub use warm::handle::Warming;
pub use warm::prepared::PreparedRevision;
pub use warm::report::{WarmEnd, WarmFailure, WarmReport};
pub use warm::schedule::{Schedule, ScheduleGuard};
