//! What a probe has found.

use std::{collections::BTreeSet, fmt};

use super::attack_vectors::Vector;

/// What a probe has found.
#[derive(Debug, Clone, Default)]
#[must_use = "what was found is only in the report: call `assert`"]
pub struct ProbeReport {
    pub(super) tried: usize,
    pub(super) findings: Vec<Finding>,
    pub(super) unstored: Vec<(String, String)>,
}

/// Something that one client can send, and that changes what others get.
#[derive(Debug, Clone)]
pub struct Finding {
    page: String,
    vector: Vector,
    effect: String,
}

impl ProbeReport {
    /// What one client can do to others.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The pages that a clean request does not get stored, each with the reason: about them the probe says nothing.
    pub fn not_stored(&self) -> impl Iterator<Item = (&str, &str)> {
        self.unstored.iter().map(|(page, reason)| (page.as_str(), reason.as_str()))
    }

    /// How many requests were sent in an attacker's name.
    pub fn tried(&self) -> usize {
        self.tried
    }

    /// Asserts that nothing was found, and that every page was looked at.
    ///
    /// # Panics
    /// With the whole report, if something was found, or a page is not stored, or there was none.
    #[track_caller]
    pub fn assert(&self) {
        assert!(self.findings.is_empty() && self.unstored.is_empty() && self.tried > 0, "{self}");
    }
}

impl Finding {
    pub(super) fn new(page: String, vector: Vector, effect: String) -> Self {
        Self { page, vector, effect }
    }

    /// The page whose stored response changes.
    pub fn page(&self) -> &str {
        &self.page
    }

    /// What does it, such as `the field `x-theme: larder-canary``.
    pub fn sent(&self) -> String {
        self.vector.to_string()
    }

    /// How the others' response differs from a clean one.
    pub fn effect(&self) -> &str {
        &self.effect
    }

    /// What to do about it.
    pub fn advice(&self) -> String {
        self.vector.advice()
    }
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests in an attacker's name; {} of them change what others get", self.tried, self.findings.len())?;
        self.findings.iter().try_for_each(|finding| write!(f, "\n  {finding}"))?;
        // Once for all the values of a field.
        let advice: BTreeSet<_> = self.findings.iter().map(Finding::advice).collect();
        advice.iter().try_for_each(|advice| write!(f, "\n  → {advice}"))?;
        self.unstored.iter().try_for_each(|(page, reason)| write!(f, "\n  {page} is not stored, and was not looked at: {reason}"))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: after a request with {}, {} for everybody", self.page, self.vector, self.effect)
    }
}
