//! Whether hits agree with what the handler responds.

/// What shadow verification has found about a hit; see [`CacheLayer::verify_hits`](crate::CacheLayer::verify_hits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verification {
    /// The handler responds with the same status and body.
    Same,
    /// It responds with something else, and nothing has invalidated the stored response: an invalidation is forgotten, or the response is
    /// different each time.
    Different,
    /// The stored response was invalidated or replaced meanwhile, or the handler failed.
    Inconclusive,
}

impl Verification {
    /// Every result, in the order of their definition.
    pub const ALL: &'static [Self] = &[Self::Same, Self::Different, Self::Inconclusive];

    /// Returns the name, such as `same`. Names do not change between versions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Different => "different",
            Self::Inconclusive => "inconclusive",
        }
    }
}
