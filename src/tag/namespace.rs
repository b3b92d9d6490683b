//! Tags within the namespace of a cache, including those that larder adds to each entry.

use std::{cell::RefCell, sync::Arc};

use super::{Tag, check, path::normal_path, shared::shared};
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
        Ok(self.named("t:", &[name], shared))
    }

    /// Returns the name that a user chose for a tag of this namespace; `None` for the tags that larder adds.
    pub(crate) fn name_of<'t>(&self, tag: &'t Tag) -> Option<&'t str> {
        tag.as_str().strip_prefix(self.0.as_deref().unwrap_or_default())?.strip_prefix("t:")
    }

    /// Returns a tag for people: its kind, and its name; `None` for the tags of other namespaces.
    pub(crate) fn shown(&self, tag: &Tag) -> Option<String> {
        let rest = match &self.0 {
            Some(space) => tag.as_str().strip_prefix(&**space)?,
            None if tag.as_str().starts_with("in:") => return None,
            None => tag.as_str(),
        };
        Some(match rest.split_once(':') {
            None => "namespace".to_owned(),
            Some(("t", name)) => format!("tag {name}"),
            Some((kind, name)) => format!("{kind} {name}"),
        })
    }

    /// Returns the tag that each entry of the namespace carries; `None` without a namespace.
    pub(crate) fn everything(&self) -> Option<Tag> {
        self.0.as_ref().map(|space| Tag::unchecked(Arc::clone(space)))
    }

    /// Returns the tag of a path on any host, whatever its spelling: `path:/posts/7`.
    pub(crate) fn path(&self, path: &str) -> Tag {
        self.normal_path(&normal_path(path))
    }

    /// Returns the tag of a target URI with all its queries and variants, whatever the spelling of its path: `uri:example.com/posts/7`.
    pub(crate) fn uri(&self, authority: &str, path: &str) -> Tag {
        self.normal_uri(authority, &normal_path(path))
    }

    /// Returns both tags of a target, whose path is normalized once: [`uri`](Self::uri) and [`path`](Self::path).
    pub(crate) fn uri_and_path(&self, authority: &str, path: &str) -> [Tag; 2] {
        let path = normal_path(path);
        [self.normal_uri(authority, &path), self.normal_path(&path)]
    }

    fn normal_uri(&self, authority: &str, normal: &str) -> Tag {
        self.prefixed("uri:", &[authority, normal])
    }

    fn normal_path(&self, normal: &str) -> Tag {
        self.prefixed("path:", &[normal])
    }

    /// Returns the tag of a route: `route:/posts/{id}`.
    pub(crate) fn route(&self, route: &str) -> Tag {
        self.named("route:", &[route], shared)
    }

    /// Returns the tag of a cache group, which belongs to one origin (RFC 9875 §2). The scheme is left out, since HTTP/1.1 requests do not
    /// state it: at worst, the group of the same name on the other scheme is invalidated too.
    pub(crate) fn group(&self, authority: &str, group: &str) -> Tag {
        self.prefixed("group:", &[authority, " ", group])
    }

    /// A tag that no other entry is likely to have.
    fn prefixed(&self, kind: &str, parts: &[&str]) -> Tag {
        self.named(kind, parts, |name| Tag::unchecked(name))
    }

    fn named(&self, kind: &str, parts: &[&str], tag: fn(&str) -> Tag) -> Tag {
        thread_local! {
            /// A tag is put together here, so that it takes one allocation.
            static NAME: RefCell<String> = const { RefCell::new(String::new()) };
        }
        NAME.with_borrow_mut(|name| {
            name.clear();
            name.push_str(self.0.as_deref().unwrap_or_default());
            name.push_str(kind);
            parts.iter().for_each(|part| name.push_str(part));
            count(name.len());
            tag(name)
        })
    }
}
