//! Tags that a handler adds to its response.

use std::sync::Arc;

use http::Extensions;

use crate::lists::IntoTags;

/// Tags that only the handler knows, as part of its response.
///
/// ```
/// use axum::{Json, extract::Path};
/// use larder::CacheTags;
///
/// async fn show(Path(id): Path<u64>) -> (CacheTags, Json<u64>) {
///     let author = id % 10;
///     (CacheTags::new(format!("author:{author}")), Json(id))
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
    pub fn new<S>(tags: impl IntoTags<S>) -> Self {
        Self(collect(tags))
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
        Self(tags.into_iter().map(Into::into).collect())
    }
}

pub(crate) fn collect<S>(tags: impl IntoTags<S>) -> Vec<Arc<str>> {
    let mut collected = Vec::new();
    tags.for_each_tag(|tag| collected.push(tag.into()));
    collected
}
