use std::{collections::HashSet, fmt, sync::Arc};

use http::Extensions;

use crate::{error::Error, scan::count};

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

fn check(name: &str) -> Result<(), Error> {
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

/// The namespace of a cache, as it stands in front of every tag.
///
/// What follows it says whose the tag is: `t:` stands before those that users name, so that none of them can be mistaken for
/// one of larder's own or for another namespace's.
#[derive(Debug, Clone, Default)]
pub(crate) struct TagSpace(Option<Arc<str>>);

impl TagSpace {
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

/// Tags that only the handler knows, as part of its response.
///
/// ```
/// use axum::{Json, extract::Path};
/// use larder::CacheTags;
///
/// async fn show(Path(id): Path<u64>) -> (CacheTags, Json<u64>) {
///     let author = id % 10;
///     (CacheTags::new([format!("author:{author}")]), Json(id))
/// }
/// # let _ = show;
/// ```
///
/// They add to the tags of the route's layer. A response with more than 128 tags, an empty one, or one over 256
/// bytes is served and not stored, because it could not be invalidated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheTags(Vec<Arc<str>>);

impl CacheTags {
    /// Collects the tags.
    pub fn new<T: Into<Arc<str>>>(tags: impl IntoIterator<Item = T>) -> Self {
        Self(tags.into_iter().map(Into::into).collect())
    }

    /// The tags, as given.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|tag| &**tag)
    }

    /// Adds these tags to those already with a response.
    pub fn add_to(self, extensions: &mut Extensions) {
        match extensions.get_mut::<Self>() {
            Some(present) => present.0.extend(self.0),
            None => drop(extensions.insert(self)),
        }
    }
}

impl<T: Into<Arc<str>>> FromIterator<T> for CacheTags {
    fn from_iter<I: IntoIterator<Item = T>>(tags: I) -> Self {
        Self::new(tags)
    }
}

/// A tag with the route's captures in it, such as `post:{id}`; `{{` and `}}` stand for the braces themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TagTemplate(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Capture(String),
}

impl TagTemplate {
    pub(crate) fn parse(template: &str) -> Self {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = template;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            text.push_str(before);
            if brace.starts_with("{{") || brace.starts_with("}}") {
                text.push_str(&brace[..1]);
                rest = &brace[2..];
            } else if let Some((name, after)) = brace.strip_prefix('{').and_then(|inside| inside.split_once('}')) {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
                pieces.push(Piece::Capture(name.trim_start_matches('*').to_owned()));
                rest = after;
            } else {
                // A brace without a partner can only be a slip: treated as a capture that no route has.
                pieces.push(Piece::Capture(brace.to_owned()));
                rest = "";
            }
        }
        text.push_str(rest);
        pieces.push(Piece::Text(text));
        Self(pieces)
    }

    /// The tag for one request, or the name of the first capture that `captures` does not know.
    pub(crate) fn expand<'t>(&'t self, captures: &[(&str, &str)]) -> Result<String, &'t str> {
        let mut tag = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => tag.push_str(text),
                Piece::Capture(name) => match captures.iter().find(|(capture, _)| capture == name) {
                    Some((_, value)) => {
                        count(value.len());
                        tag.push_str(value);
                    }
                    None => return Err(name),
                },
            }
        }
        Ok(tag)
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
        let (a, b) = (TagSpace::new("a"), TagSpace::new("b"));
        assert_ne!(a.tag("posts").unwrap(), b.tag("posts").unwrap());
        assert_ne!(a.tag("posts").unwrap(), TagSpace::new("").tag("posts").unwrap());
    }
}
