//! The result of a probe.

use std::{collections::BTreeSet, fmt};

use super::attack_vectors::Vector;

/// The result of a probe.
#[derive(Debug, Clone, Default)]
#[must_use = "the findings are only in the report: call `assert`"]
pub struct ProbeReport {
    pub(super) tried: usize,
    pub(super) findings: Vec<Finding>,
    pub(super) unstored: Vec<(String, String)>,
}

/// A request of one client that changes the response that others receive.
#[derive(Debug, Clone)]
pub struct Finding {
    page: String,
    vector: Vector,
    effect: String,
}

impl ProbeReport {
    /// Returns the requests that poison a page.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Returns the pages for which a second clean request is not answered from the cache, each with the reason. The probe says nothing about
    /// them.
    pub fn not_stored(&self) -> impl Iterator<Item = (&str, &str)> {
        self.unstored.iter().map(|(page, reason)| (page.as_str(), reason.as_str()))
    }

    /// Returns the number of attack requests that were sent.
    pub fn tried(&self) -> usize {
        self.tried
    }

    /// Asserts that there are no findings, and that every page was probed.
    ///
    /// # Panics
    /// With the whole report, if there is a finding, a page was not probed, or no page was named.
    #[track_caller]
    pub fn assert(&self) {
        assert!(self.findings.is_empty() && self.unstored.is_empty() && self.tried > 0, "{self}");
    }
}

impl Finding {
    pub(super) fn new(page: String, vector: Vector, effect: String) -> Self {
        Self { page, vector, effect }
    }

    /// Returns the page whose stored response changes.
    pub fn page(&self) -> &str {
        &self.page
    }

    /// Returns the part of the request that changes it, such as ``the field `x-theme: larder-canary` ``.
    pub fn sent(&self) -> String {
        self.vector.to_string()
    }

    /// Returns how the response to others differs from a clean one.
    pub fn effect(&self) -> &str {
        &self.effect
    }

    /// Returns how to fix the application.
    pub fn advice(&self) -> String {
        self.vector.advice()
    }
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} attack requests were sent; {} of them change the response to others", self.tried, self.findings.len())?;
        self.findings.iter().try_for_each(|finding| write!(f, "\n  {finding}"))?;
        // Once for all values of a field.
        let advice: BTreeSet<_> = self.findings.iter().map(Finding::advice).collect();
        advice.iter().try_for_each(|advice| write!(f, "\n  → {advice}"))?;
        self.unstored.iter().try_for_each(|(page, reason)| {
            write!(f, "\n  {page} was not probed, because a second clean request is not answered from the cache: {reason}")
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: after a request with {}, {} for all clients", self.page, self.vector, self.effect)
    }
}
