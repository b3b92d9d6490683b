//! Tags.

pub(crate) mod namespace;
pub(crate) mod template;

use std::{collections::HashSet, fmt, sync::Arc};

use crate::error::Error;

/// The longest tag, in bytes of UTF-8.
pub(crate) const MAX_TAG_BYTES: usize = 256;

/// The most tags that one stored response may carry, the automatic ones not counted.
pub(crate) const MAX_TAGS: usize = 128;

/// A name shared by stored responses that become wrong together.
///
/// Any text from 1 to 256 bytes is a tag; no character has a special meaning, so a tag made from user input
/// (`"*"`, `"a\nb"`) names itself and nothing else.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Tag(Arc<str>);

impl Tag {
    /// Makes a tag.
    ///
    /// # Errors
    /// If the name is empty or longer than 256 bytes.
    pub fn new(name: impl Into<Arc<str>>) -> Result<Self, Error> {
        let name = name.into();
        check(&name)?;
        Ok(Self::unchecked(name))
    }

    /// For names that larder makes itself, such as that of a URI, which may be longer than a user's tag.
    pub(crate) fn unchecked(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The tag's name as stores have it: with the cache's namespace in front where one is set, and `t:` before what users name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

pub(crate) fn check(name: &str) -> Result<(), Error> {
    match name.len() {
        0 => Err(Error::invalid_input("a tag must not be empty: name what it stands for, such as \"posts\"")),
        1..=MAX_TAG_BYTES => Ok(()),
        length => Err(Error::invalid_input(format!(
            "a tag may have at most {MAX_TAG_BYTES} bytes, this one has {length}: hash or shorten it"
        ))),
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Removes repeated tags; the first of each stays where it is.
pub(crate) fn deduplicate(tags: &mut Vec<Tag>) {
    if tags.len() < 2 {
        return;
    }
    let mut seen = HashSet::with_capacity(tags.len());
    tags.retain(|tag| seen.insert(tag.clone()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tag::namespace::TagNamespace;
    use crate::tag::template::TagTemplate;

    #[test]
    fn template_takes_captures_and_escaped_braces() {
        let template = TagTemplate::parse("post:{id}/{*rest}/{{x}}");
        assert_eq!(template.expand(&[("rest", "a/b"), ("id", "7")]), Ok("post:7/a/b/{x}".to_owned()));
    }

    #[test]
    fn template_names_the_capture_that_is_missing() {
        assert_eq!(TagTemplate::parse("post:{slug}").expand(&[("id", "7")]), Err("slug"));
        assert_eq!(TagTemplate::parse("post:{id").expand(&[("id", "7")]), Err("{id"));
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
