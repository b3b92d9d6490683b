#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod backend;
mod body;
mod cache;
mod clock;
mod codec;
#[cfg(feature = "conformance")]
pub mod conformance;
mod entry;
mod error;
mod fetch;
mod handler;
mod http;
mod invalidation;
mod key;
mod lists;
mod lookup;
mod middleware;
mod policy;
mod router;
mod sync;
mod tag;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(all(test, feature = "axum", feature = "memory"))]
mod tests;

#[doc = include_str!("docs/standards.md")]
pub mod standards {}

pub use backend::contract::{Durability, Receipt, Scope};
#[cfg(feature = "memcached")]
pub use backend::memcached::{Memcached, MemcachedBuilder};
#[cfg(feature = "memory")]
pub use backend::memory::Memory;
#[cfg(feature = "redis")]
pub use backend::redis::{Redis, RedisBuilder};
#[cfg(feature = "memory")]
pub use backend::tiered::Tiered;
pub use body::ResponseBody;
pub use cache::Cache;
pub use cache::mode::CacheMode;
pub use clock::ManualClock;
pub use error::Error;
pub use handler::cache_directive::CacheDirective;
pub use handler::cache_tags::CacheTags;
pub use handler::invalidate::Invalidate;
pub use handler::preconditions::{NotModified, Preconditions};
pub use http::accept::LanguageMatcher;
pub use http::cache_status::{CacheStatus, Forward, Reason};
pub use key::normalizers::Normalize;
pub use lists::{IntoNames, IntoTags, shape};
pub use middleware::future::ResponseFuture;
pub use middleware::layer::CacheLayer;
pub use middleware::service::CacheService;
