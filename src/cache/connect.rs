//! The connection of a cache by the URL of its store.

use super::Cache;
use crate::error::Error;

impl Cache {
    /// Connects to the store that `url` names:
    ///
    /// | URL | store | feature |
    /// |---|---|---|
    /// | `memory:64mb` | the memory of this process, with `kb`, `mb` or `gb` after the number, or none for bytes | `memory` |
    /// | `redis://host`, `redis+sentinel://…`, `redis+cluster://…` | Redis, shared by all nodes | `redis` |
    /// | `memcached://a,b:11212` | memcached servers, shared by all nodes | `memcached` |
    /// | `tiered+redis://host`, `tiered+redis+cluster://…`, … | 64 MiB of memory in front of Redis, with a lease of one second | `redis` |
    /// | `tiered+memcached://a,b:11212` | 64 MiB of memory in front of memcached, which reads the clock of memcached before each use of a copy | `memcached` |
    ///
    /// A remote store need not be reachable yet: until it is, handlers answer all requests.
    ///
    /// # Errors
    /// If the URL is malformed, or names a store whose feature is off.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        match url.split_once(':') {
            Some(("memory", size)) => memory(size),
            Some((scheme, _)) if is_redis(scheme) => redis(url).await,
            Some((scheme, _)) if scheme.strip_prefix("tiered+").is_some_and(is_redis) => tiered(&url["tiered+".len()..]).await,
            Some(("memcached", _)) => memcached(url).await,
            Some(("tiered+memcached", _)) => tiered_memcached(&url["tiered+".len()..]).await,
            _ => Err(Error::invalid_input(UNKNOWN_STORE)),
        }
    }
}

fn is_redis(scheme: &str) -> bool {
    matches!(scheme.split_once('+').map_or(scheme, |(plain, _)| plain), "redis" | "rediss")
}

#[cfg(feature = "redis")]
async fn redis(url: &str) -> Result<Cache, Error> {
    Ok(Cache::new(crate::backend::redis::Redis::connect(url).await?))
}

#[cfg(not(feature = "redis"))]
async fn redis(_url: &str) -> Result<Cache, Error> {
    Err(switched_off("redis"))
}

/// The memory of tiered stores, as documented at `connect`.
#[cfg(all(feature = "memory", any(feature = "redis", feature = "memcached")))]
const NEAR: u64 = 64 << 20;

#[cfg(all(feature = "memory", feature = "redis"))]
async fn tiered(url: &str) -> Result<Cache, Error> {
    const LEASE: std::time::Duration = std::time::Duration::from_secs(1);
    let near = crate::backend::memory::Memory::new(NEAR);
    let far = crate::backend::redis::Redis::connect(url).await?;
    Ok(Cache::new(crate::backend::tiered::Tiered::new(near, far).lease(LEASE)))
}

#[cfg(not(all(feature = "memory", feature = "redis")))]
async fn tiered(_url: &str) -> Result<Cache, Error> {
    Err(Error::invalid_input(
        "`tiered+redis:` needs larder's features `memory` and `redis`: add them to the features in Cargo.toml",
    ))
}

#[cfg(feature = "memcached")]
async fn memcached(url: &str) -> Result<Cache, Error> {
    Ok(Cache::new(crate::backend::memcached::Memcached::connect(url).await?))
}

#[cfg(not(feature = "memcached"))]
async fn memcached(_url: &str) -> Result<Cache, Error> {
    Err(switched_off("memcached"))
}

#[cfg(all(feature = "memory", feature = "memcached"))]
async fn tiered_memcached(url: &str) -> Result<Cache, Error> {
    let near = crate::backend::memory::Memory::new(NEAR);
    let far = crate::backend::memcached::Memcached::connect(url).await?;
    Ok(Cache::new(crate::backend::tiered::Tiered::new(near, far)))
}

#[cfg(not(all(feature = "memory", feature = "memcached")))]
async fn tiered_memcached(_url: &str) -> Result<Cache, Error> {
    Err(Error::invalid_input(
        "`tiered+memcached:` needs larder's features `memory` and `memcached`: add them to the features in Cargo.toml",
    ))
}

#[cfg(not(all(feature = "memory", feature = "redis", feature = "memcached")))]
fn switched_off(feature: &str) -> Error {
    Error::invalid_input(format!("`{feature}:` needs larder's feature `{feature}`: add it to the features in Cargo.toml"))
}

#[cfg(feature = "memory")]
fn memory(size: &str) -> Result<Cache, Error> {
    let bytes = parse_size(size).ok_or_else(|| {
        Error::invalid_input(format!("`memory:{size}` has no size: write a number and a unit, as in `memory:64mb`"))
    })?;
    Ok(Cache::in_memory(bytes))
}

#[cfg(not(feature = "memory"))]
fn memory(_size: &str) -> Result<Cache, Error> {
    Err(switched_off("memory"))
}

#[cfg(feature = "memory")]
fn parse_size(size: &str) -> Option<u64> {
    let size = size.to_ascii_lowercase();
    let digits = size.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let shift = match &size[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Shows no part of the URL: without a scheme, it may begin with a password.
const UNKNOWN_STORE: &str = "the URL of the store has an unknown scheme: use `memory:64mb`, `redis://host`, `memcached://host` or one of those after `tiered+`";
