//! The revision of a handle, which may be replaced while the process runs, and the beginning of the handle's keys.

use std::sync::{Arc, OnceLock};

use crate::key::Key;

/// A revision, and the one that has replaced it. All handles that were made from one another share it.
#[derive(Debug)]
pub(crate) struct Revision {
    pub(crate) name: Box<str>,
    next: OnceLock<Arc<Self>>,
}

impl Revision {
    pub(crate) fn new(name: &str) -> Arc<Self> {
        Arc::new(Self { name: name.into(), next: OnceLock::new() })
    }

    /// Returns the revision that has replaced this one, or this one.
    pub(crate) fn current(self: &Arc<Self>) -> &Arc<Self> {
        let mut revision = self;
        while let Some(next) = revision.next.get() {
            revision = next;
        }
        revision
    }

    /// Replaces the current revision by `next`, for all handles at the same moment.
    pub(crate) fn replace_by(self: &Arc<Self>, next: &Arc<Self>) {
        // A revision is activated once at most: activated again, it would follow itself.
        while !Arc::ptr_eq(self.current(), next) && self.current().next.set(Arc::clone(next)).is_err() {}
    }
}

/// A revision that is prepared while another one is in use.
#[derive(Debug, Clone)]
pub(crate) struct NextRevision {
    pub(crate) present: Arc<Revision>,
    pub(crate) next: Arc<Revision>,
}

impl NextRevision {
    /// Returns the beginning of the keys of a handle under the prepared revision; `None` if the handle already has it, or does not follow the
    /// revision that is to be replaced.
    pub(crate) fn prefix(&self, of: &Prefix) -> Option<Vec<u8>> {
        let prefix = of.current();
        Arc::ptr_eq(&prefix.revision, &self.present).then(|| prefix.under(&self.next))
    }
}

/// The beginning of all keys of a handle: namespace and revision.
///
/// Requests read [`built`](Self::built), a plain field, until a revision is activated: that is a bit of the mode, which they read
/// anyway. From then on they read [`current`](Self::current), which follows one pointer for each activation since the handle was made.
#[derive(Debug)]
pub(crate) struct Prefix {
    /// The beginning of the keys under the revision with which the handle was made.
    pub(crate) built: Vec<u8>,
    /// The beginning of the keys of values under the same revision.
    pub(crate) built_for_values: Vec<u8>,
    namespace: Box<str>,
    pub(crate) revision: Arc<Revision>,
    next: OnceLock<Box<Self>>,
}

impl Prefix {
    pub(crate) fn new(namespace: &str, revision: &Arc<Revision>) -> Self {
        Self::exactly(namespace, revision.current())
    }

    /// Returns the prefix under the current revision.
    pub(crate) fn current(&self) -> &Self {
        let mut prefix = self;
        while let Some(next) = prefix.revision.next.get() {
            prefix = prefix.next.get_or_init(|| Box::new(Self::exactly(&self.namespace, next)));
        }
        prefix
    }

    /// Returns the beginning of the keys of this handle under another revision.
    pub(crate) fn under(&self, revision: &Revision) -> Vec<u8> {
        Key::first(&self.namespace, &revision.name).as_bytes().to_vec()
    }

    /// The prefix under this revision, even if another has replaced it.
    fn exactly(namespace: &str, revision: &Arc<Revision>) -> Self {
        let built = Key::first(namespace, &revision.name).as_bytes().to_vec();
        let built_for_values = Key::first_for_values(&built);
        Self { built, built_for_values, namespace: namespace.into(), revision: Arc::clone(revision), next: OnceLock::new() }
    }
}

impl Clone for Prefix {
    fn clone(&self) -> Self {
        Self::new(&self.namespace, &self.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_follows_each_activation() {
        let (one, two, three) = (Revision::new("1"), Revision::new("2"), Revision::new("3"));
        let (plain, shop) = (Prefix::new("", &one), Prefix::new("shop", &one));
        let expected = |namespace: &str, revision: &str| Key::first(namespace, revision).as_bytes().to_vec();
        assert_eq!(plain.current().built, expected("", "1"));
        one.replace_by(&two);
        one.replace_by(&two);
        assert_eq!(shop.current().built, expected("shop", "2"));
        let later = shop.clone();
        one.replace_by(&three);
        for (prefix, namespace) in [(&plain, ""), (&shop, "shop"), (&later, "shop")] {
            assert_eq!(prefix.current().built, expected(namespace, "3"));
        }
    }
}
