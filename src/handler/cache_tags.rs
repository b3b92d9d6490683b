//! Tags, as part of the response of a handler.

use std::sync::Arc;

use http::Extensions;

use crate::lists::IntoTags;

/// Tags of a response that only its handler knows, returned as part of the response.
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
/// They are added to the tags of the route's layer. A response with more tags than
/// [`CacheLayer::max_tags`](crate::CacheLayer::max_tags), with an empty tag or with one of more than 256
/// bytes is served but not stored, because it could not be invalidated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheTags(Vec<Arc<str>>);

impl CacheTags {
    /// Creates the response part from one tag, many, or a tuple.
    pub fn new<S>(tags: impl IntoTags<S>) -> Self {
        Self(collect(tags))
    }

    /// Returns the tags in the given order.
    pub fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.iter().map(|tag| &**tag)
    }

    /// Adds the tags to the extensions of a response, after tags that it has already.
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
