//! An entry: what a store keeps under a key.

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

/// What a backend keeps under one key: a response, or the list of variants of one (RFC 9111 §4.1).
///
/// Backends carry it and judge its [`born`](Self::born) and [`tags`](Self::tags); what it says is not theirs to
/// read.
pub struct Stored {
    born: Epoch,
    tags: Box<[Tag]>,
    validated_at: AtomicU64,
    /// Once somebody has asked.
    weight: OnceLock<usize>,
    content: Content,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    Response(StoredResponse),
    Variants(Variants),
    /// How the latest response for a path treats the query.
    QueryVariance(QueryVariance),
    /// Nothing: what stood here must not be used, not even stale.
    Tombstone,
}

impl Stored {
    pub(crate) fn new(born: Epoch, tags: Vec<Tag>, content: Content) -> Self {
        Self { born, tags: tags.into(), validated_at: AtomicU64::new(0), weight: OnceLock::new(), content }
    }

    /// The epoch that was read before the handler was called.
    pub fn born(&self) -> Epoch {
        self.born
    }

    /// Every tag that can invalidate this, the automatic ones included.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// The epoch up to which this copy is known to be usable: a note that the backend which holds it may keep.
    pub fn validated_at(&self) -> Epoch {
        Epoch::of(self.born.incarnation(), self.validated_at.load(Ordering::Relaxed))
    }

    /// Notes that this copy was found usable at `epoch`.
    pub fn set_validated_at(&self, epoch: Epoch) {
        self.validated_at.store(epoch.get(), Ordering::Relaxed);
    }

    /// When this may be forgotten: it will not be used from then on. What can be validated is of use for an hour longer than it may be
    /// served, since its handler need not make the body again.
    pub fn expires(&self) -> Timestamp {
        const FOR_VALIDATION: Duration = Duration::from_secs(3600);
        match &self.content {
            Content::Response(response) if has_validator(&response.head.headers) => {
                response.fresh_until + response.stale.longest().max(FOR_VALIDATION)
            }
            Content::Response(response) => response.fresh_until + response.stale.longest(),
            // As good as any other until the next response says something else.
            Content::QueryVariance(_) => Timestamp::from_millis(u64::MAX),
            Content::Tombstone => Timestamp::from_millis(0),
            Content::Variants(variants) => variants.expires(),
        }
    }

    /// How many bytes this takes in memory, its own bookkeeping included.
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

/// How fresh a response is at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FreshnessState {
    now: Timestamp,
    /// When it becomes stale, or became so.
    until: Timestamp,
    stale: StaleWindows,
}

impl FreshnessState {
    /// How fresh `response` is at `now`, if it was not expired before its time.
    pub(crate) fn of(response: &StoredResponse, now: Timestamp) -> Self {
        Self { now, until: response.fresh_until, stale: response.stale }
    }

    /// The same of what was expired at `since`, by a clock that may be ahead of this one.
    pub(crate) fn expired(self, since: Timestamp) -> Self {
        Self { until: self.until.min(since).min(self.now), ..self }
    }

    pub(crate) fn is_fresh(self) -> bool {
        self.now < self.until
    }

    /// Whether it may be used while it is fetched anew (RFC 5861 §3).
    pub(crate) fn is_usable_while_revalidating(self) -> bool {
        self.is_within(self.stale.while_revalidate)
    }

    /// Whether it may be used because it could not be fetched anew (RFC 5861 §4).
    pub(crate) fn is_usable_on_error(self) -> bool {
        self.is_within(self.stale.if_error)
    }

    /// No window allows no stale use, also of what was expired at this very moment.
    fn is_within(self, window: u32) -> bool {
        window > 0 && self.now < self.until + Duration::from_millis(u64::from(window) * 10)
    }

    /// Whole seconds of freshness that are left; negative once it is stale (RFC 9211 §2.4).
    pub(crate) fn ttl(self) -> i64 {
        let seconds = |later: Timestamp, earlier| i64::try_from(later.seconds_since(earlier)).unwrap_or(i64::MAX);
        seconds(self.until, self.now) - seconds(self.now, self.until)
    }
}
