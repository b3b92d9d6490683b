//! The connection of a cache by the URL of its store.

#[cfg(all(feature = "memory", any(feature = "redis", feature = "memcached")))]
use std::time::Duration;

use super::{Cache, mode};
use crate::error::Error;

#[cfg(all(feature = "memory", any(feature = "redis", feature = "memcached")))]
use crate::backend::url::value::DURATION_OR_OFF;

#[cfg(feature = "memory")]
use crate::backend::{
    memory::Memory,
    url::{
        options::UrlOptions,
        value::{MEMORY, MEMORY_ENGINE, MemoryEngine, TAG_CAPACITY},
    },
};

impl Cache {
    /// Connects to the store that `url` names:
    ///
    /// | URL | store | feature |
    /// |---|---|---|
    /// | `memory:64mb` | the memory of this process, with `kb`, `mb` or `gb` after the number, or none for bytes | `memory` |
    /// | `redis://user:password@host:6379/0` | Redis, shared by all nodes | `redis` |
    /// | `redis+unix:///run/redis.sock` | the same, by a Unix socket | `redis` |
    /// | `redis+sentinel://a,b,c/mymaster` | the primary that sentinels report | `redis` |
    /// | `redis+cluster://a,b,c` | a Redis Cluster | `redis` |
    /// | `rediss://host`, `rediss+sentinel://…`, `rediss+cluster://…` | the same over TLS | `redis-tls` |
    /// | `memcached://a,b:11212` | memcached servers, shared by all nodes | `memcached` |
    /// | `tiered+redis://host`, `tiered+redis+cluster://…`, … | memory in front of Redis, with a lease | `memory`, `redis` |
    /// | `tiered+memcached://a,b:11212` | memory in front of memcached, which reads the clock of memcached before each use of a copy | `memory`, `memcached` |
    ///
    /// A remote store need not be reachable yet: until it is, handlers answer all requests.
    ///
    /// # Options
    ///
    /// Options are in the query, as in `tiered+redis://host?near=256mb&lease=500ms&key_prefix=shop`:
    ///
    /// | option | default | stores | what it sets |
    /// |---|---|---|---|
    /// | `near` | `64mb` | `tiered+…` | size of the memory in front, as in `Memory::new` |
    /// | `lease` | `1s` | `tiered+redis` | `Tiered::lease`; with `off`, the clock of Redis is read before each use of a copy |
    /// | `outage_grace` | `off` | `tiered+…` | `Tiered::outage_grace`: how long copies answer while the store cannot be reached |
    /// | `engine` | `moka` | `memory`, `tiered+…` | the crate under the memory store: `moka`, or `quick` with the feature `memory-quick`, as in `Memory::quick` |
    /// | `tag_capacity` | `65536` | `memory`, `tiered+…` | `Memory::tag_capacity` |
    /// | `key_prefix` | `larder` | Redis, memcached | `key_prefix` of `RedisBuilder` or `MemcachedBuilder` |
    /// | `read_timeout` | `50ms` | Redis, memcached | `read_timeout`: the limit of a lookup |
    /// | `store_timeout` | `100ms` | Redis, memcached | `store_timeout`: the limit of storing a response |
    /// | `invalidate_timeout` | `1s` | Redis, memcached | `invalidate_timeout`: the limit of an invalidation |
    /// | `connect_timeout` | `1s` | Redis, memcached | `connect_timeout` |
    /// | `failures` | `5` | Redis, memcached | `failures`: consecutive failures until the store is suspended |
    /// | `max_owed_tags` | `65536` | Redis, memcached | `max_owed_tags`: tags that wait for a store which does not answer |
    /// | `compress_from` | `4kb` | Redis, memcached | `compress_from`, with the feature `zstd`; `off` turns compression off |
    /// | `durability` | `0` | Redis without Cluster | `RedisBuilder::durability`: replicas that confirm an invalidation |
    /// | `db` | `0` | Redis without Cluster | number of the database, instead of a path such as `/0` |
    /// | `root_certificates` | public authorities | `rediss` | `RedisBuilder::root_certificates`: path of a PEM file |
    /// | `max_value` | `1mb` | memcached | `MemcachedBuilder::max_value` |
    ///
    /// Durations have the unit `ms`, `s`, `m` or `h`. Sizes are bytes, or have the unit `kb`, `mb` or `gb` (powers of 1024). Zero is an error
    /// except for `max_owed_tags`, `compress_from`, `durability` and `db`: instead of a time or a size of zero, write `off` where the table has it.
    ///
    /// The cache begins in the mode of the environment variable `LARDER_MODE`, if it is set: `enabled`, `read-only` or `bypass`.
    ///
    /// # Errors
    /// If the URL is malformed, names a store whose feature is off, or has an option that is unknown, given twice, or has a value of
    /// another type. Or if `LARDER_MODE` is not a mode. No error shows a part of a password.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        mode::in_environment()?;
        match url.split_once(':') {
            Some(("memory", rest)) => memory(rest),
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

/// Creates the memory in front of a remote store, as documented at `connect`.
#[cfg(all(feature = "memory", any(feature = "redis", feature = "memcached")))]
fn near(options: &mut UrlOptions) -> Result<Memory, Error> {
    use crate::backend::url::value::NEAR;

    const DEFAULT: u64 = 64 << 20;
    let size = options.take("near", NEAR)?.unwrap_or(DEFAULT);
    memory_of(size, options)
}

/// Returns how long copies answer during an outage; zero if they do not.
#[cfg(all(feature = "memory", any(feature = "redis", feature = "memcached")))]
fn outage_grace(options: &mut UrlOptions) -> Result<Duration, Error> {
    Ok(options.take("outage_grace", DURATION_OR_OFF)?.flatten().unwrap_or_default())
}

/// Creates a memory store of `bytes` bytes with the options of a URL.
#[cfg(feature = "memory")]
fn memory_of(bytes: u64, options: &mut UrlOptions) -> Result<Memory, Error> {
    let memory = match options.take("engine", MEMORY_ENGINE)?.unwrap_or_default() {
        MemoryEngine::Moka => Memory::new(bytes),
        MemoryEngine::Quick => quick(bytes)?,
    };
    let capacity = options.take("tag_capacity", TAG_CAPACITY)?;
    Ok(capacity.into_iter().fold(memory, Memory::tag_capacity))
}

#[cfg(feature = "memory-quick")]
#[allow(clippy::unnecessary_wraps, reason = "without the feature it is an error")]
fn quick(bytes: u64) -> Result<Memory, Error> {
    Ok(Memory::quick(bytes))
}

#[cfg(all(feature = "memory", not(feature = "memory-quick")))]
fn quick(_bytes: u64) -> Result<Memory, Error> {
    Err(Error::invalid_input("`engine=quick` needs larder's feature `memory-quick`: add it to the features in Cargo.toml"))
}

#[cfg(all(feature = "memory", feature = "redis"))]
async fn tiered(url: &str) -> Result<Cache, Error> {
    use crate::backend::{redis::Redis, tiered::Tiered};

    const LEASE: Duration = Duration::from_secs(1);
    let (address, mut options) = UrlOptions::split(url)?;
    let near = near(&mut options)?;
    let lease = options.take("lease", DURATION_OR_OFF)?.unwrap_or(Some(LEASE));
    let grace = outage_grace(&mut options)?;
    let tiered = Tiered::new(near, Redis::builder().connect_to(address, options).await?).outage_grace(grace);
    Ok(match lease {
        Some(span) => Cache::new(tiered.lease(span)),
        None => Cache::new(tiered),
    })
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
    use crate::backend::{memcached::Memcached, tiered::Tiered};

    let (address, mut options) = UrlOptions::split(url)?;
    let near = near(&mut options)?;
    let grace = outage_grace(&mut options)?;
    Ok(Cache::new(Tiered::new(near, Memcached::builder().connect_to(address, options).await?).outage_grace(grace)))
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
fn memory(rest: &str) -> Result<Cache, Error> {
    let (size, mut options) = UrlOptions::split(rest)?;
    let bytes = MEMORY.parse(size).ok_or_else(|| {
        Error::invalid_input(
            "the URL `memory:` must have a size, a number of bytes or one with a unit, as in `memory:64mb`, of `16kb` at least: the environment \
             variable `LARDER_MODE=bypass` switches the cache off",
        )
    })?;
    let memory = memory_of(bytes, &mut options)?;
    options.finish()?;
    Ok(Cache::new(memory))
}

#[cfg(not(feature = "memory"))]
fn memory(_rest: &str) -> Result<Cache, Error> {
    Err(switched_off("memory"))
}

/// Shows no part of the URL: without a scheme, it may begin with a password.
const UNKNOWN_STORE: &str = "the URL of the store has an unknown scheme: use `memory:64mb`, `redis://host`, `memcached://host` or one of those after `tiered+`";
