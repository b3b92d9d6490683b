//! Who may do what.

/// The access of one request to the operator's page.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// None: the answer is 404, as if there were nothing.
    Denied,
    /// All screens, and some actions.
    Granted(Granted),
}

/// A principal, and the actions that it may take. Created by [`Access::full`] and [`Access::read_only`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    principal: String,
    actions: Vec<Action>,
}

/// An action of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Invalidate tags, a URI or a route.
    Invalidate,
    /// Expire tags.
    Expire,
    /// Refresh one URI, for which its handler runs.
    Refresh,
    /// Cancel a warm-up or a schedule.
    CancelJob,
    /// Change the mode of the cache.
    SetMode,
    /// Invalidate everything.
    Clear,
}

impl Action {
    /// Every action, in the order of their definition.
    pub const ALL: &'static [Self] =
        &[Self::Invalidate, Self::Expire, Self::Refresh, Self::CancelJob, Self::SetMode, Self::Clear];

    /// Returns the name, such as `set-mode`. Names do not change between versions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalidate => "invalidate",
            Self::Expire => "expire",
            Self::Refresh => "refresh",
            Self::CancelJob => "cancel-job",
            Self::SetMode => "set-mode",
            Self::Clear => "clear",
        }
    }
}

impl Access {
    /// Grants all screens and all actions. The name of the principal is in the log of each action.
    pub fn full(principal: impl Into<String>) -> Self {
        Self::Granted(Granted { principal: principal.into(), actions: Action::ALL.to_vec() })
    }

    /// Grants all screens and no action.
    pub fn read_only(principal: impl Into<String>) -> Self {
        Self::Granted(Granted { principal: principal.into(), actions: Vec::new() })
    }

    /// Grants one more action, unless access is denied.
    ///
    /// ```
    /// use larder::admin::{Access, Action};
    ///
    /// let editor = Access::read_only("ann").with(Action::Invalidate);
    /// ```
    #[must_use]
    pub fn with(mut self, action: Action) -> Self {
        if let Self::Granted(granted) = &mut self
            && !granted.allows(action)
        {
            granted.actions.push(action);
        }
        self
    }
}

impl Granted {
    /// Returns the name of the principal.
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// Returns whether the principal may take this action.
    pub fn allows(&self, action: Action) -> bool {
        self.actions.contains(&action)
    }
}
