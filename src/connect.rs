use crate::{cache::Cache, error::Error};

impl Cache {
    /// A cache in the store that `url` names:
    ///
    /// | URL | store | feature |
    /// |---|---|---|
    /// | `memory:64mb` | the memory of this process, with `kb`, `mb` or `gb` after the number, or none for bytes | `memory` |
    /// | `redis://host`, `redis+sentinel://…`, `redis+cluster://…` | Redis, shared by all nodes | `redis` |
    ///
    /// A remote store need not be there yet: handlers answer until it is.
    ///
    /// # Errors
    /// If the URL cannot be read, or names a store whose feature is off.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        match url.split_once(':') {
            Some(("memory", size)) => memory(size),
            Some((scheme, _)) if is_redis(scheme) => redis(url).await,
            Some((scheme, _)) => Err(Error::invalid_input(unknown_scheme(scheme))),
            None => Err(Error::invalid_input(format!("`{url}` names no store: begin with one, as in `memory:64mb`"))),
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

#[cfg(not(all(feature = "memory", feature = "redis")))]
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

fn unknown_scheme(scheme: &str) -> String {
    format!("`{scheme}:` is no store that this version of larder knows: it has `memory:64mb`, `redis://host`")
}
