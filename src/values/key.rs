//! The keys of values.

use crate::{cache::Cache, dependencies::Dependencies, key::Key};

/// Returns the key of a value. In a handler run that fills the cache for a prepared revision, it is that of the value of that revision.
#[inline]
pub(super) fn value_key(cache: &Cache, name: &str) -> Key {
    let prefix = &cache.inner.prefix;
    match Dependencies::prepared_prefix(prefix) {
        Some(prepared) => key_under(&Key::first_for_values(&prepared), name),
        None => key_under(&prefix.current().built_for_values, name),
    }
}

/// Returns the key of a value under this prefix.
#[inline]
pub(super) fn key_under(prefix: &Key, name: &str) -> Key {
    let mut key = prefix.clone();
    key.push(name.as_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KEY_VERSION;

    #[cfg(feature = "memory")]
    #[test]
    fn keys_of_values_are_pinned() {
        let cache = Cache::in_memory(1 << 20).with_namespace("shop");
        let expected = [&[KEY_VERSION, 4, 0, 0, 0][..], b"shop", &[0, 0, 0, 0, 2, 5, 0, 0, 0], b"top10"].concat();
        assert_eq!(value_key(&cache, "top10").as_bytes(), expected);
    }
}
