//! The report of a run: which cases hold, fail, or were skipped.

use std::{fmt, fmt::Write as _};

use crate::error::Error;

/// What became of each case.
#[derive(Debug, Clone)]
#[must_use = "a failure is only in the report: call `assert`"]
pub struct Report {
    outcomes: Vec<Outcome>,
}

/// What became of one case.
#[derive(Debug, Clone)]
pub struct Outcome {
    case: &'static str,
    rule: &'static str,
    verdict: Verdict,
}

/// Whether a case holds.
pub(super) type Verdict<T = ()> = Result<T, Finding>;

/// Why a case does not hold.
#[derive(Debug, Clone)]
pub(super) enum Finding {
    /// It was tried, and this happened.
    Broken(String),
    /// It could not be tried, for want of this.
    Skipped(&'static str),
}

impl Report {
    pub(super) fn new(outcomes: Vec<Outcome>) -> Self {
        Self { outcomes }
    }

    /// The cases that hold.
    pub fn passed(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| outcome.verdict.is_ok())
    }

    /// The cases that do not hold.
    pub fn failures(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| matches!(outcome.verdict, Err(Finding::Broken(_))))
    }

    /// The cases that could not be tried.
    pub fn skipped(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| matches!(outcome.verdict, Err(Finding::Skipped(_))))
    }

    /// Asserts that no case fails.
    ///
    /// # Panics
    /// With the whole report, if one does.
    #[track_caller]
    pub fn assert(&self) {
        assert!(self.failures().next().is_none(), "the backend breaks its contract\n{self}");
    }
}

impl Outcome {
    pub(super) fn new(case: &'static str, rule: &'static str, verdict: Verdict) -> Self {
        Self { case, rule, verdict }
    }

    /// The case's name, such as `late-store`.
    pub fn case(&self) -> &'static str {
        self.case
    }

    /// The rule that the case tries.
    pub fn rule(&self) -> &'static str {
        self.rule
    }

    /// What happened that should not have, or what it would take to try the case; empty if it holds.
    pub fn happened(&self) -> &str {
        match &self.verdict {
            Ok(()) => "",
            Err(Finding::Broken(happened)) => happened,
            Err(Finding::Skipped(wanted)) => wanted,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (passed, failed, skipped) = (self.passed().count(), self.failures().count(), self.skipped().count());
        write!(f, "{passed} cases hold, {failed} fail, {skipped} could not be tried")?;
        self.failures().try_for_each(|outcome| write!(f, "\n  FAILED {outcome}"))?;
        self.skipped().try_for_each(|outcome| write!(f, "\n  skipped {outcome}"))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.case, self.rule)?;
        if !self.happened().is_empty() {
            write!(f, "\n    {}", self.happened())?;
        }
        Ok(())
    }
}

/// Any operation that fails without a fault is one that the case needed.
impl From<Error> for Finding {
    fn from(error: Error) -> Self {
        let mut text = format!("an operation failed: {error}");
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        Self::Broken(text)
    }
}

/// Leaves a case with a sentence about what happened, unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($sentence:tt)+) => {
        if !$condition {
            return Err($crate::conformance::report::Finding::Broken(format!($($sentence)+)));
        }
    };
}
pub(super) use ensure;
