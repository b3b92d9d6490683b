//! A backend that records which tags are stored and which are invalidated, and the assertion that both are the same.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::wrap_backend::wrap_backend;
use crate::{
    backend::{
        contract::{Backend, Invalidation, PutOutcome, ReadOutcome, Receipt},
        health::Health,
    },
    entry::{epoch::Epoch, stored::Stored},
    error::Error,
    key::Key,
    tag::{
        Tag,
        escape::is_in_values,
        typed::{CacheTag, Part, parts},
    },
};

/// Wraps a backend, and records the tags of stored entries and of invalidations, for [`assert_tags_covered`].
///
/// Clones share the record and the backend. The tags that larder adds itself, such as those of URIs, are not recorded.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), larder::Error> {
/// use larder::{Cache, Memory, testing::TagLedger};
///
/// let ledger = TagLedger::new(Memory::new(1 << 20));
/// let cache = Cache::new(ledger.clone());
/// cache.invalidate_tags("posts").await?;
/// assert_eq!(ledger.invalidated(), ["posts"]);
/// # Ok(())
/// # }
/// ```
pub struct TagLedger<B: ?Sized> {
    record: Arc<Mutex<Record>>,
    inner: Arc<B>,
}

#[derive(Debug, Default)]
struct Record {
    stored: BTreeSet<String>,
    invalidated: BTreeSet<String>,
}

/// Asserts that the tests of an application have both stored and invalidated something with each tag that they have met.
///
/// It compares kinds of tags: the templates of `T`, an enum made by [`cache_tags!`](crate::cache_tags). One that was stored and never
/// invalidated (or expired) shows that a write path forgets it; one that was invalidated and never stored, that a read path does, or that it is
/// misspelled. A kind that was neither stored nor invalidated is not judged. Call it once, at the end of a run through the
/// application.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use std::time::Duration;
/// use axum::{Router, body::Body, http::Request, routing::get};
/// use larder::{Cache, Invalidate, Memory, testing::{TagLedger, assert_tags_covered}};
/// use tower::ServiceExt;
///
/// larder::cache_tags! { enum Tag { Posts = "posts" } }
///
/// let ledger = TagLedger::new(Memory::new(1 << 20));
/// let layer = Cache::new(ledger.clone()).layer().ttl(Duration::from_secs(60)).tags(Tag::POSTS);
/// let create = || async { Invalidate::tags(Tag::Posts) };
/// let app: Router = Router::new().route("/posts", get(|| async { "…" }).post(create).layer(layer));
///
/// for request in [Request::get("/posts"), Request::post("/posts")] {
///     app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
/// }
/// assert_tags_covered::<Tag>(&ledger);
/// # }
/// ```
///
/// # Panics
/// If a tag was stored and never invalidated, or invalidated and never stored, or is no tag of `T`. The message names each of them.
#[track_caller]
pub fn assert_tags_covered<T: CacheTag>(ledger: &TagLedger<impl Backend + ?Sized>) {
    let problems = problems(T::TEMPLATES, &ledger.stored(), &ledger.invalidated());
    assert!(problems.is_empty(), "the tags of the application are not covered:\n{}", problems.join("\n"));
}

/// What there is to say about tags that were stored, and tags that were invalidated.
fn problems(templates: &[&str], stored: &[String], invalidated: &[String]) -> Vec<String> {
    let example =
        |tags: &[String], template: &str| tags.iter().find(|tag| template_of(templates, tag) == Some(template)).cloned();
    let mut problems = Vec::new();
    for template in templates {
        match (example(stored, template), example(invalidated, template)) {
            (Some(tag), None) => problems.push(format!("`{template}` was stored (as `{tag}`) and never invalidated")),
            (None, Some(tag)) => problems.push(format!("`{template}` was invalidated (as `{tag}`) and never stored")),
            _ => {}
        }
    }
    for (tags, what) in [(stored, "stored"), (invalidated, "invalidated")] {
        let unknown = tags.iter().filter(|tag| template_of(templates, tag).is_none());
        problems.extend(unknown.map(|tag| format!("`{tag}` was {what}, and no variant makes that tag")));
    }
    problems
}

/// Returns the template of a tag; one without fields is preferred.
fn template_of<'t>(templates: &[&'t str], tag: &str) -> Option<&'t str> {
    let made = templates.iter().copied().filter(|template| may_have_made(template, tag));
    made.min_by_key(|template| *template != tag)
}

/// Returns whether a template can have made this tag.
fn may_have_made(template: &str, tag: &str) -> bool {
    let parts: Vec<_> = parts(template).collect();
    matches(&parts, tag)
}

fn matches(parts: &[Part<'_>], tag: &str) -> bool {
    match parts {
        [] => tag.is_empty(),
        [Part::Text(text), rest @ ..] => tag.strip_prefix(text).is_some_and(|tag| matches(rest, tag)),
        [Part::Field(_), rest @ ..] => {
            let longest = tag.bytes().take_while(|byte| is_in_values(*byte)).count();
            (0..=longest).any(|length| matches(rest, &tag[length..]))
        }
    }
}

impl<B: Backend> TagLedger<B> {
    /// Wraps a backend, with an empty record.
    pub fn new(backend: B) -> Self {
        Self::shared(Arc::new(backend))
    }
}

impl<B: Backend + ?Sized> TagLedger<B> {
    /// Wraps a shared backend, with an empty record.
    pub fn shared(backend: Arc<B>) -> Self {
        Self { record: Arc::default(), inner: backend }
    }

    /// Returns the tags of the entries that were to be stored so far, sorted.
    pub fn stored(&self) -> Vec<String> {
        self.record().stored.iter().cloned().collect()
    }

    /// Returns the tags that were invalidated or expired so far, sorted.
    pub fn invalidated(&self) -> Vec<String> {
        self.record().invalidated.iter().cloned().collect()
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn names(tags: &[Tag]) -> impl Iterator<Item = String> {
    tags.iter().filter_map(user_tag).map(str::to_owned)
}

/// Returns the name that a user chose for a tag of any namespace; `None` for the tags that larder adds.
fn user_tag(tag: &Tag) -> Option<&str> {
    let name = tag.as_str();
    let rest = match name.strip_prefix("in:").and_then(|rest| rest.split_once(':')) {
        Some((length, rest)) => rest.get(length.parse::<usize>().ok()?..)?.strip_prefix(':')?,
        None => name,
    };
    rest.strip_prefix("t:")
}

wrap_backend!(TagLedger {
    fn get_now(&self, key: &Key) -> Option<ReadOutcome> {
        self.inner.get_now(key)
    }

    async fn get(&self, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        self.inner.get(key, known).await
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        self.record().stored.extend(names(stored.tags()));
        self.inner.put(key, stored).await
    }

    async fn replace(&self, key: &Key, present: &Stored, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        self.inner.replace(key, present, stored).await
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        self.inner.is_alive(born, tags).await
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        self.record().invalidated.extend(names(invalidation.tags()));
        self.inner.invalidate(invalidation).await
    }

    async fn hold_tags(&self, tags: &[Tag], writer: u64, life: Duration) -> Result<(), Error> {
        self.inner.hold_tags(tags, writer, life).await
    }

    async fn release_tags(&self, tags: &[Tag], writer: u64) -> Result<(), Error> {
        self.inner.release_tags(tags, writer).await
    }

    async fn health(&self) -> Health {
        self.inner.health().await
    }
});

impl<B: ?Sized> Clone for TagLedger<B> {
    fn clone(&self) -> Self {
        Self { record: Arc::clone(&self.record), inner: Arc::clone(&self.inner) }
    }
}

impl<B: fmt::Debug + ?Sized> fmt::Debug for TagLedger<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TagLedger").field("record", &self.record).field("inner", &&*self.inner).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_recognizes_its_tags() {
        for (template, tag, made) in [
            ("posts", "posts", true),
            ("posts", "post", false),
            ("post:{id}", "post:7", true),
            ("post:{id}", "post:", true),
            ("post:{id}", "post:a%3Ab", true),
            ("post:{id}", "post:7:comments", false),
            ("post:{id}", "posts:7", false),
            ("author:{author}:posts", "author:7:posts", true),
            ("author:{author}:posts", "author:7:post", false),
            ("{a}x:{b}", "xx:1", true),
            ("{a}x:{b}", "y:1", false),
        ] {
            assert_eq!(may_have_made(template, tag), made, "{template} {tag}");
        }
    }

    #[test]
    fn problems_name_each_tag() {
        let tags = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
        let templates = ["posts", "post:{id}", "post:new", "never"];
        assert!(problems(&templates, &tags(&["posts", "post:7"]), &tags(&["post:8", "posts"])).is_empty());
        let problems = problems(&templates, &tags(&["post:7", "pots"]), &tags(&["posts", "post:new"]));
        assert_eq!(
            problems,
            [
                "`posts` was invalidated (as `posts`) and never stored",
                "`post:{id}` was stored (as `post:7`) and never invalidated",
                "`post:new` was invalidated (as `post:new`) and never stored",
                "`pots` was stored, and no variant makes that tag",
            ]
        );
    }
}
