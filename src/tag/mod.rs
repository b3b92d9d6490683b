//! Tags: names by which stored responses are invalidated.

pub(crate) mod escape;
pub(crate) mod namespace;
pub(crate) mod path;
mod shared;
mod target;
pub(crate) mod template;
#[cfg(feature = "typed-tags")]
pub(crate) mod typed;

use std::{collections::HashSet, fmt, sync::Arc};

use crate::error::Error;

/// The longest tag, in bytes of UTF-8. Not a setting: a tag that is valid on one node has to be valid on all, and in every store.
pub(crate) const MAX_TAG_BYTES: usize = 256;

/// A name by which stored responses are invalidated together.
///
/// Any text of 1 to 256 bytes is a tag. No character has a special meaning, so a tag made from user input (`"*"`, `"a\nb"`) matches
/// only itself.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Tag(Arc<str>);

impl Tag {
    /// Creates a tag.
    ///
    /// # Errors
    /// [`Error::is_invalid_input`] if the name is empty or longer than 256 bytes.
    pub fn new(name: impl Into<Arc<str>>) -> Result<Self, Error> {
        let name = name.into();
        check(&name)?;
        Ok(Self::unchecked(name))
    }

    /// Creates a tag whose name larder makes, such as that of a URI, which may be longer than a user's tag.
    pub(crate) fn unchecked(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// Returns the tag's name as a backend stores it: prefixed with the cache's namespace, if it has one, and with `t:` for tags of users.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns the name under which a store keeps the writers that hold a tag.
#[allow(dead_code, reason = "only Redis Cluster and memcached keep them by name")]
pub(crate) fn writes_of(tag: &Tag) -> Tag {
    Tag::unchecked(["w:", tag.as_str()].concat())
}

/// Returns an error unless `name` is a valid tag of a user.
pub(crate) fn check(name: &str) -> Result<(), Error> {
    match name.len() {
        0 => Err(Error::invalid_input("a tag must not be empty: use a name such as \"posts\"")),
        1..=MAX_TAG_BYTES => Ok(()),
        length => Err(Error::invalid_input(format!(
            "a tag must not be longer than {MAX_TAG_BYTES} bytes, this one has {length}: shorten or hash it"
        ))),
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Removes duplicates; the first of each tag keeps its place.
pub(crate) fn deduplicate(tags: &mut Vec<Tag>) {
    /// Up to so many tags, comparing each with all costs less than a set.
    const FEW: usize = 8;
    if tags.len() <= FEW {
        let mut at = 1;
        while at < tags.len() {
            match tags[..at].contains(&tags[at]) {
                true => drop(tags.remove(at)),
                false => at += 1,
            }
        }
        return;
    }
    let mut seen = HashSet::with_capacity(tags.len());
    tags.retain(|tag| seen.insert(tag.clone()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::captures::{Captures, Unresolved};
    use crate::tag::namespace::TagNamespace;
    use crate::tag::template::TagTemplate;

    fn captures(all: &[(&str, &str)]) -> Captures {
        Captures::new(all.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(), "")
    }

    #[test]
    fn template_takes_captures_and_escaped_braces() {
        let template = TagTemplate::parse("post:{id}/{*rest}/{{x}}");
        assert_eq!(template.expand(&captures(&[("rest", "a/b"), ("id", "7")])), Ok("post:7/a/b/{x}".to_owned()));
    }

    #[test]
    fn template_names_the_capture_that_is_missing() {
        assert_eq!(TagTemplate::parse("post:{slug}").expand(&captures(&[("id", "7")])), Err(("slug", Unresolved::Missing)));
        assert_eq!(TagTemplate::parse("post:{id").expand(&captures(&[("id", "7")])), Err(("{id", Unresolved::Missing)));
    }

    #[test]
    fn d3_empty_and_oversized_tags_are_refused() {
        assert!(Tag::new("").is_err());
        assert!(Tag::new("x".repeat(MAX_TAG_BYTES)).is_ok());
        assert!(Tag::new("x".repeat(MAX_TAG_BYTES + 1)).is_err());
    }

    #[test]
    fn namespaces_do_not_share_tags() {
        let (a, b) = (TagNamespace::new("a"), TagNamespace::new("b"));
        assert_ne!(a.tag("posts").unwrap(), b.tag("posts").unwrap());
        assert_ne!(a.tag("posts").unwrap(), TagNamespace::new("").tag("posts").unwrap());
    }
}
