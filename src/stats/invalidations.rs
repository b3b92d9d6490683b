//! Counts invalidations, and logs each of them.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    backend::contract::{Invalidation, Receipt},
    clock::Timestamp,
    counting::histogram::{Durations, Histogram},
    error::Error,
    tag::{Tag, namespace::TagNamespace},
};

/// What an invalidation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InvalidationKind {
    /// It makes the responses with some tags unusable; those of URIs and routes are tags as well.
    Tags,
    /// It makes the responses with some tags stale.
    Expire,
    /// It makes all responses unusable.
    Everything,
}

impl InvalidationKind {
    /// Every kind, in the order of their definition.
    pub const ALL: &'static [Self] = &[Self::Tags, Self::Expire, Self::Everything];

    /// Returns the name, such as `tags`. Names do not change between versions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tags => "tags",
            Self::Expire => "expire",
            Self::Everything => "everything",
        }
    }

    fn of(invalidation: &Invalidation) -> Self {
        match invalidation {
            Invalidation::Tags(_) => Self::Tags,
            Invalidation::ExpireTags { .. } => Self::Expire,
            Invalidation::Everything => Self::Everything,
        }
    }
}

/// Counts the invalidations of a cache.
#[derive(Debug, Default)]
pub(crate) struct Invalidations {
    ok: [AtomicU64; InvalidationKind::ALL.len()],
    failed: [AtomicU64; InvalidationKind::ALL.len()],
    tags: AtomicU64,
    durations: Histogram,
    recent: Mutex<VecDeque<Recorded>>,
}

/// An invalidation by this process, see [`Cache::recent_invalidations`](crate::Cache::recent_invalidations).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PastInvalidation {
    /// When it ended, in milliseconds since the start of 1970, by the cache's clock.
    pub at_millis: u64,
    /// What it did.
    pub kind: InvalidationKind,
    /// The first 16 tags that it named: `tag posts`, `uri example.com/posts/7`, `path /posts/7`, `route /posts/{id}` or `group …`; `namespace` for
    /// everything in the namespace of the cache. Tags of other namespaces are left out.
    pub tags: Vec<String>,
    /// The number of tags that it named.
    pub tag_count: usize,
    /// How long it took.
    pub took: Duration,
    /// Why it failed; `None` if it took effect.
    pub error: Option<Error>,
}

/// An invalidation as it is kept.
#[derive(Debug, Clone)]
struct Recorded {
    at: Timestamp,
    kind: InvalidationKind,
    tags: Vec<Tag>,
    tag_count: usize,
    took: Duration,
    error: Option<Error>,
}

/// How many invalidations are kept, and how many tags of each: some 500 KiB at most.
const RECENT: usize = 256;
const KEPT_TAGS: usize = 16;

/// What a cache has counted of its invalidations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InvalidationStats {
    ok: [u64; InvalidationKind::ALL.len()],
    failed: [u64; InvalidationKind::ALL.len()],
    tags: u64,
    durations: Durations,
}

/// The most tags that the event of an invalidation names.
const NAMED_TAGS: usize = 5;

impl Invalidations {
    /// Counts an invalidation that has ended, and logs it: the trail by which an operator finds out why a page was computed again.
    pub(crate) fn ended(&self, at: Timestamp, invalidation: &Invalidation, outcome: &Result<Receipt, Error>, took: Duration) {
        let (kind, tags) = (InvalidationKind::of(invalidation), invalidation.tags());
        let counts = if outcome.is_ok() { &self.ok } else { &self.failed };
        counts[kind as usize].fetch_add(1, Ordering::Relaxed);
        self.tags.fetch_add(tags.len() as u64, Ordering::Relaxed);
        self.durations.record(took);
        self.keep(Recorded {
            at,
            kind,
            tags: tags[..tags.len().min(KEPT_TAGS)].to_vec(),
            tag_count: tags.len(),
            took,
            error: outcome.as_ref().err().cloned(),
        });
        tracing::info!(
            target: "larder::invalidation",
            kind = kind.as_str(),
            count = tags.len(),
            tags = ?&tags[..tags.len().min(NAMED_TAGS)],
            epoch = outcome.as_ref().ok().map(|receipt| receipt.epoch.get()),
            scope = outcome.as_ref().ok().map(|receipt| tracing::field::debug(receipt.scope)),
            error = outcome.as_ref().err().map(|error| error as &(dyn std::error::Error + 'static)),
            took_ms = took.as_secs_f64() * 1e3,
            "invalidated"
        );
    }

    fn keep(&self, recorded: Recorded) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(recorded);
    }

    /// Returns the latest invalidations, the last one first, as far as this namespace may know of them.
    pub(crate) fn recent(&self, count: usize, space: &TagNamespace) -> Vec<PastInvalidation> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let past = recent.iter().rev().filter_map(|Recorded { at, kind, tags, tag_count, took, error }| {
            let shown: Vec<_> = tags.iter().filter_map(|tag| space.shown(tag)).collect();
            (tags.is_empty() || !shown.is_empty()).then(|| PastInvalidation {
                at_millis: at.as_millis(),
                kind: *kind,
                tags: shown,
                tag_count: *tag_count,
                took: *took,
                error: error.clone(),
            })
        });
        past.take(count).collect()
    }

    pub(crate) fn snapshot(&self) -> InvalidationStats {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        InvalidationStats {
            ok: self.ok.each_ref().map(load),
            failed: self.failed.each_ref().map(load),
            tags: load(&self.tags),
            durations: self.durations.snapshot(),
        }
    }
}

impl InvalidationStats {
    /// Returns the number of invalidations of this kind that took effect.
    pub fn succeeded(&self, kind: InvalidationKind) -> u64 {
        self.ok[kind as usize]
    }

    /// Returns the number of invalidations of this kind that returned an error. A remote store repeats them.
    pub fn failed(&self, kind: InvalidationKind) -> u64 {
        self.failed[kind as usize]
    }

    /// Returns the number of tags that they named.
    pub fn tags(&self) -> u64 {
        self.tags
    }

    /// Returns how long they took.
    pub fn durations(&self) -> &Durations {
        &self.durations
    }

    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let since = |mut counts: [u64; 3], earlier: [u64; 3]| {
            counts.iter_mut().zip(earlier).for_each(|(count, earlier)| *count = count.saturating_sub(earlier));
            counts
        };
        Self {
            ok: since(self.ok, earlier.ok),
            failed: since(self.failed, earlier.failed),
            tags: self.tags.saturating_sub(earlier.tags),
            durations: self.durations.combined(&earlier.durations, u64::saturating_sub),
        }
    }
}
