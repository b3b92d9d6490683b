use super::Standing;

/// How a tag, or everything, was invalidated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Force {
    /// Never to be used again.
    Hard,
    /// Stale from now on.
    Soft,
}

/// The judgement on something that was born at one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Judgement {
    Alive,
    Stale,
    Dead,
}

impl Judgement {
    /// How it may be used, if at all.
    pub(crate) fn standing(self) -> Option<Standing> {
        match self {
            Self::Alive => Some(Standing::Current),
            Self::Stale => Some(Standing::Expired),
            Self::Dead => None,
        }
    }
}
