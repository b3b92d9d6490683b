//! The keys of values.

use crate::{cache::Cache, dependencies::Dependencies, key::Key};

/// Returns the key of a value. In a handler run that fills the cache for a prepared revision, it is that of the value of that revision.
#[inline(never)]
pub(super) fn value_key(cache: &Cache, name: &str) -> Key {
    let prefix = &cache.inner.prefix;
    let mut key = Key::new();
    match Dependencies::prepared_prefix(prefix) {
        Some(prepared) => key.push_under(&Key::first_for_values(&prepared), name.as_bytes()),
        None => key.push_under(&prefix.current().built_for_values, name.as_bytes()),
    }
    key
}

#[cfg(feature = "memory")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KEY_VERSION;

    #[test]
    fn keys_of_values_are_pinned() {
        let cache = Cache::in_memory(1 << 20).with_namespace("shop");
        let expected = [&[KEY_VERSION, 4, 0, 0, 0][..], b"shop", &[0, 0, 0, 0, 2, 5, 0, 0, 0], b"top10"].concat();
        assert_eq!(value_key(&cache, "top10").as_bytes(), expected);
    }
}
