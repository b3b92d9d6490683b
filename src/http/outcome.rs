//! What became of a request, in one word.

/// What became of a request that entered a larder layer. Each request has exactly one outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Outcome {
    /// A fresh stored response answered.
    Hit,
    /// A stale stored response answered: while it is revalidated, because the client allows it, or because the handler failed or is slow.
    Stale,
    /// The fetch of another request answered.
    Collapsed,
    /// The handler confirmed the stored response with a 304, and that response answered.
    Revalidated,
    /// The handler answered, and its response is stored, or will be stored once its body is complete.
    Miss,
    /// The handler answered, and its response is not stored.
    Uncached,
    /// The request was forwarded without a lookup, such as a write.
    Bypass,
    /// The client allowed only a stored response (`only-if-cached`), and there was none: 504.
    Unsatisfied,
    /// The inner service returned an error, or panicked.
    Error,
    /// The client left before there was a response.
    Abandoned,
}

impl Outcome {
    /// Every outcome, in the order of their definition.
    pub const ALL: &'static [Self] = &[
        Self::Hit,
        Self::Stale,
        Self::Collapsed,
        Self::Revalidated,
        Self::Miss,
        Self::Uncached,
        Self::Bypass,
        Self::Unsatisfied,
        Self::Error,
        Self::Abandoned,
    ];

    /// Returns the name, such as `hit`. Names do not change between versions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Collapsed => "collapsed",
            Self::Revalidated => "revalidated",
            Self::Miss => "miss",
            Self::Uncached => "uncached",
            Self::Bypass => "bypass",
            Self::Unsatisfied => "unsatisfied",
            Self::Error => "error",
            Self::Abandoned => "abandoned",
        }
    }

    /// Returns whether the request was answered without a handler run of its own: hit, stale or collapsed.
    pub const fn is_from_cache(self) -> bool {
        matches!(self, Self::Hit | Self::Stale | Self::Collapsed)
    }

    /// Returns whether the request counts in a hit ratio: it got a response that a cache may in principle store.
    pub(crate) const fn counts_in_ratio(self) -> bool {
        self.is_from_cache() || matches!(self, Self::Revalidated | Self::Miss | Self::Uncached)
    }
}
