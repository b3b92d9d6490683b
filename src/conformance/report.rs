//! The report of a run: which cases passed, failed, or were skipped.

use std::{fmt, fmt::Write as _};

use crate::error::Error;

/// The outcomes of all cases of a run.
#[derive(Debug, Clone)]
#[must_use = "failures are only in the report: call `assert`"]
pub struct Report {
    outcomes: Vec<Outcome>,
}

/// The outcome of one case.
#[derive(Debug, Clone)]
pub struct Outcome {
    case: &'static str,
    rule: &'static str,
    verdict: Verdict,
}

/// The verdict on a case.
pub(super) type Verdict<T = ()> = Result<T, NotPassed>;

/// Why a case has not passed.
#[derive(Debug, Clone)]
pub(super) enum NotPassed {
    /// The backend breaks the contract, in this way.
    Broken(String),
    /// The case was not run, because this is missing.
    Skipped(&'static str),
}

impl Report {
    pub(super) fn new(outcomes: Vec<Outcome>) -> Self {
        Self { outcomes }
    }

    /// Returns the cases that passed.
    pub fn passed(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| outcome.verdict.is_ok())
    }

    /// Returns the cases that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| matches!(outcome.verdict, Err(NotPassed::Broken(_))))
    }

    /// Returns the cases that were skipped, because they need an ability that the suite was not told about.
    pub fn skipped(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| matches!(outcome.verdict, Err(NotPassed::Skipped(_))))
    }

    /// Asserts that no case failed. Skipped cases do not fail.
    ///
    /// # Panics
    /// With the whole report, if a case failed.
    #[track_caller]
    pub fn assert(&self) {
        assert!(self.failures().next().is_none(), "the backend breaks its contract\n{self}");
    }
}

impl Outcome {
    pub(super) fn new(case: &'static str, rule: &'static str, verdict: Verdict) -> Self {
        Self { case, rule, verdict }
    }

    /// Returns the name of the case, such as `late-store`.
    pub fn case(&self) -> &'static str {
        self.case
    }

    /// Returns the rule of the contract that the case tests.
    pub fn rule(&self) -> &'static str {
        self.rule
    }

    /// Returns how the backend broke the rule, or what is missing to run the case; empty if the case passed.
    pub fn happened(&self) -> &str {
        match &self.verdict {
            Ok(()) => "",
            Err(NotPassed::Broken(happened)) => happened,
            Err(NotPassed::Skipped(wanted)) => wanted,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (passed, failed, skipped) = (self.passed().count(), self.failures().count(), self.skipped().count());
        write!(f, "{passed} cases passed, {failed} failed, {skipped} were skipped")?;
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

/// An operation that fails although no fault was injected breaks the contract.
impl From<Error> for NotPassed {
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

/// Ends a case as broken, with this message, unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($sentence:tt)+) => {
        if !$condition {
            return Err($crate::conformance::report::NotPassed::Broken(format!($($sentence)+)));
        }
    };
}
pub(super) use ensure;
