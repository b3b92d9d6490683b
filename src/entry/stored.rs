//! An entry: the value that a store keeps under a key.

use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    epoch::Epoch,
    response::{StaleWindows, StoredResponse},
    variants::Variants,
};
use crate::{
    clock::Timestamp,
    http::{conditional::has_validator, no_vary_search::QueryVariance},
    tag::Tag,
};

/// An entry, the value that a backend keeps under a key: a response, or the list of its variants (RFC 9111 §4.1).
///
/// The content is opaque to backends. They store it, and decide by [`born`](Self::born) and [`tags`](Self::tags) whether it is valid.
pub struct Stored {
    born: Epoch,
    tags: Box<[Tag]>,
    validated_at: AtomicU64,
    /// Computed on first use.
    weight: OnceLock<usize>,
    content: Content,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    Response(StoredResponse),
    Variants(Variants),
    /// The `No-Vary-Search` rule of the latest response for a path.
    QueryVariance(QueryVariance),
    /// Replaces a response that must not be used any more, not even stale.
    Tombstone,
}

impl Stored {
    pub(crate) fn new(born: Epoch, tags: Vec<Tag>, content: Content) -> Self {
        Self { born, tags: tags.into(), validated_at: AtomicU64::new(0), weight: OnceLock::new(), content }
    }

    /// Returns the epoch that was read before the handler was called.
    pub fn born(&self) -> Epoch {
        self.born
    }

    /// Returns all tags by which the entry can be invalidated, including those that larder adds.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// Returns the latest epoch at which this copy was found valid, as recorded by the backend that holds it; number 0 if none was.
    pub fn validated_at(&self) -> Epoch {
        Epoch::of(self.born.incarnation(), self.validated_at.load(Ordering::Relaxed))
    }

    /// Records that this copy was found valid at `epoch`, for the backend that holds it.
    pub fn set_validated_at(&self, epoch: Epoch) {
        self.validated_at.store(epoch.get(), Ordering::Relaxed);
    }

    /// Returns when the backend may drop the entry, because it will not be used any more. A response with a validator is kept for at least
    /// an hour after it became stale: if the handler validates it, it need not build the body again.
    pub fn expires(&self) -> Timestamp {
        const FOR_VALIDATION: Duration = Duration::from_secs(3600);
        match &self.content {
            Content::Response(response) if has_validator(&response.head.headers) => {
                response.fresh_until + response.stale.longest().max(FOR_VALIDATION)
            }
            Content::Response(response) => response.fresh_until + response.stale.longest(),
            // Applies until the next response for the path has another rule.
            Content::QueryVariance(_) => Timestamp::from_millis(u64::MAX),
            Content::Tombstone => Timestamp::from_millis(0),
            Content::Variants(variants) => variants.expires(),
        }
    }

    /// Returns the approximate size in memory, in bytes, including larder's own data. Computed once per entry.
    pub fn weight(&self) -> usize {
        *self.weight.get_or_init(|| {
            let tags: usize = self.tags.iter().map(|tag| size_of::<Tag>() + tag.as_str().len()).sum();
            size_of::<Self>() + tags + self.content.weight()
        })
    }

    pub(crate) fn content(&self) -> &Content {
        &self.content
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").field("born", &self.born).field("tags", &self.tags).finish_non_exhaustive()
    }
}

impl Content {
    fn weight(&self) -> usize {
        match self {
            Self::Response(response) => response.weight(),
            Self::Variants(variants) => variants.weight(),
            Self::QueryVariance(_) | Self::Tombstone => 0,
        }
    }
}

/// The freshness of a stored response at one point in time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FreshnessState {
    now: Timestamp,
    /// When it becomes stale, or became stale.
    until: Timestamp,
    stale: StaleWindows,
}

impl FreshnessState {
    /// Computes the freshness of a response whose tags have not been expired.
    pub(crate) fn of(response: &StoredResponse, now: Timestamp) -> Self {
        Self { now, until: response.fresh_until, stale: response.stale }
    }

    /// Returns the same for a response whose tags were expired at `since`, by a clock that may be ahead of this one.
    pub(crate) fn expired(self, since: Timestamp) -> Self {
        Self { until: self.until.min(since).min(self.now), ..self }
    }

    pub(crate) fn is_fresh(self) -> bool {
        self.now < self.until
    }

    /// Returns whether the response may be served while it is revalidated (RFC 5861 §3).
    pub(crate) fn is_usable_while_revalidating(self) -> bool {
        self.is_within(self.stale.while_revalidate)
    }

    /// Returns whether the response may be served because revalidation has failed (RFC 5861 §4).
    pub(crate) fn is_usable_on_error(self) -> bool {
        self.is_within(self.stale.if_error)
    }

    /// A window of zero allows no stale use, not even of a response that was expired at this very moment.
    fn is_within(self, window: u32) -> bool {
        window > 0 && self.now < self.until + Duration::from_millis(u64::from(window) * 10)
    }

    /// Returns the remaining freshness in whole seconds, negative once the response is stale (RFC 9211 §2.4).
    pub(crate) fn ttl(self) -> i64 {
        let seconds = |later: Timestamp, earlier| i64::try_from(later.seconds_since(earlier)).unwrap_or(i64::MAX);
        seconds(self.until, self.now) - seconds(self.now, self.until)
    }
}
