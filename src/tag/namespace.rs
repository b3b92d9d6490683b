//! Tags within the namespace of a cache, the tags that every entry has included.

use std::sync::Arc;

use super::{Tag, check};
use crate::{error::Error, http::field::scan::count};

/// The namespace of a cache, as it stands in front of every tag.
///
/// What follows it says whose the tag is: `t:` stands before those that users name, so that none of them can be mistaken for
/// one of larder's own or for another namespace's.
#[derive(Debug, Clone, Default)]
pub(crate) struct TagNamespace(Option<Arc<str>>);

impl TagNamespace {
    pub(crate) fn new(namespace: &str) -> Self {
        if namespace.is_empty() { Self(None) } else { Self(Some(format!("in:{}:{namespace}:", namespace.len()).into())) }
    }

    /// The tag that a user means by `name` in this namespace.
    pub(crate) fn tag(&self, name: &str) -> Result<Tag, Error> {
        check(name)?;
        Ok(self.own("t:", &[name]))
    }

    /// The tag that every response in this namespace carries; `None` outside of any namespace.
    pub(crate) fn everything(&self) -> Option<Tag> {
        self.0.as_ref().map(|space| Tag::unchecked(Arc::clone(space)))
    }

    /// The tag of one path, whatever the host: `path:/posts/7`.
    pub(crate) fn path(&self, path: &str) -> Tag {
        self.own("path:", &[path])
    }

    /// The tag of one target URI, all its queries and variants: `uri:example.com/posts/7`.
    pub(crate) fn uri(&self, authority: &str, path: &str) -> Tag {
        self.own("uri:", &[authority, path])
    }

    /// The tag of a route: `route:/posts/{id}`.
    pub(crate) fn route(&self, route: &str) -> Tag {
        self.own("route:", &[route])
    }

    /// The tag of a cache group, which belongs to one origin (RFC 9875 §2). The scheme is left out, since HTTP/1.1 does not
    /// tell it: at worst a group of the same host's other scheme is invalidated with it.
    pub(crate) fn group(&self, authority: &str, group: &str) -> Tag {
        self.own("group:", &[authority, " ", group])
    }

    fn own(&self, kind: &str, parts: &[&str]) -> Tag {
        let space = self.0.as_deref().unwrap_or_default();
        let mut name = String::with_capacity(space.len() + kind.len() + parts.iter().map(|part| part.len()).sum::<usize>());
        name.push_str(space);
        name.push_str(kind);
        parts.iter().for_each(|part| name.push_str(part));
        count(name.len());
        Tag::unchecked(name)
    }
}
