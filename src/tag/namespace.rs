//! Tags within the namespace of a cache, including those that larder adds to each entry.

use std::sync::Arc;

use super::{Tag, check};
use crate::{error::Error, http::field::scan::count};

/// The namespace of a cache, which prefixes each tag.
///
/// It is followed by the kind of the tag. The kind of user tags is `t:`, so that no user tag equals a tag that larder adds, or a tag of
/// another namespace.
#[derive(Debug, Clone, Default)]
pub(crate) struct TagNamespace(Option<Arc<str>>);

impl TagNamespace {
    pub(crate) fn new(namespace: &str) -> Self {
        if namespace.is_empty() { Self(None) } else { Self(Some(format!("in:{}:{namespace}:", namespace.len()).into())) }
    }

    /// Returns the tag for a name that a user chose; an error if the name is not a valid tag.
    pub(crate) fn tag(&self, name: &str) -> Result<Tag, Error> {
        check(name)?;
        Ok(self.prefixed("t:", &[name]))
    }

    /// Returns the tag that each entry of the namespace carries; `None` without a namespace.
    pub(crate) fn everything(&self) -> Option<Tag> {
        self.0.as_ref().map(|space| Tag::unchecked(Arc::clone(space)))
    }

    /// Returns the tag of a path on any host: `path:/posts/7`.
    pub(crate) fn path(&self, path: &str) -> Tag {
        self.prefixed("path:", &[path])
    }

    /// Returns the tag of a target URI with all its queries and variants: `uri:example.com/posts/7`.
    pub(crate) fn uri(&self, authority: &str, path: &str) -> Tag {
        self.prefixed("uri:", &[authority, path])
    }

    /// Returns the tag of a route: `route:/posts/{id}`.
    pub(crate) fn route(&self, route: &str) -> Tag {
        self.prefixed("route:", &[route])
    }

    /// Returns the tag of a cache group, which belongs to one origin (RFC 9875 §2). The scheme is left out, since HTTP/1.1 requests do not
    /// state it: at worst, the group of the same name on the other scheme is invalidated too.
    pub(crate) fn group(&self, authority: &str, group: &str) -> Tag {
        self.prefixed("group:", &[authority, " ", group])
    }

    fn prefixed(&self, kind: &str, parts: &[&str]) -> Tag {
        let space = self.0.as_deref().unwrap_or_default();
        let mut name = String::with_capacity(space.len() + kind.len() + parts.iter().map(|part| part.len()).sum::<usize>());
        name.push_str(space);
        name.push_str(kind);
        parts.iter().for_each(|part| name.push_str(part));
        count(name.len());
        Tag::unchecked(name)
    }
}
