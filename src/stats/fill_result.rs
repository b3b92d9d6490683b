//! What made a handler run, and what became of its response.

use crate::http::cache_status::Reason;

/// What made the handler run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Trigger {
    /// A request that the cache could not answer.
    Request,
    /// A stale response that was served, and is refreshed in the background.
    Refresh,
    /// A fresh response that is refreshed before it becomes stale (`refresh_ahead`).
    Ahead,
    /// [`Cache::refresh`](crate::Cache::refresh), a warm-up, or a schedule.
    Warm,
}

impl Trigger {
    /// Every trigger, in the order of their definition.
    pub const ALL: &'static [Self] = &[Self::Request, Self::Refresh, Self::Ahead, Self::Warm];

    /// Returns the name, such as `request`. Names do not change between versions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Refresh => "refresh",
            Self::Ahead => "ahead",
            Self::Warm => "warm",
        }
    }
}

/// What became of a handler's response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FillResult {
    /// It is stored.
    Stored,
    /// It was a 304, and the response that was stored is fresh again.
    Revalidated,
    /// It is not stored.
    NotStored(Reason),
}

impl FillResult {
    pub(super) const COUNT: usize = 2 + Reason::ALL.len();

    pub(super) fn index(self) -> usize {
        match self {
            Self::Stored => 0,
            Self::Revalidated => 1,
            Self::NotStored(reason) => 2 + reason as usize,
        }
    }

    pub(super) fn all() -> impl Iterator<Item = Self> {
        [Self::Stored, Self::Revalidated].into_iter().chain(Reason::ALL.iter().copied().map(Self::NotStored))
    }

    /// Returns `stored`, `revalidated`, or the token of the reason.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Revalidated => "revalidated",
            Self::NotStored(reason) => reason.as_str(),
        }
    }
}
