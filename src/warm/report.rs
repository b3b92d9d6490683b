//! What a warm-up has done.

use std::fmt;

use http::StatusCode;

use crate::{cache::jobs::WarmProgress, fetch::refresh::RefreshOutcome, http::cache_status::Reason};

/// The most failures that are described.
const DESCRIBED: usize = 100;

/// The token of a response that no layer of the cache has met.
const NO_LAYER: &str = "no-layer";

/// The result of a warm-up. `Display` sums it up: `1980 stored, 12 fresh, 8 not stored: set-cookie (5), no-freshness (3)`.
#[derive(Debug, Clone, Default)]
pub struct WarmReport {
    progress: WarmProgress,
    validated: u64,
    /// The most frequent first, once it is complete.
    reasons: Vec<(Reason, u64)>,
    without_layer: u64,
    failures: Vec<WarmFailure>,
    end: WarmEnd,
}

/// A request of a warm-up that failed. It may grow.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WarmFailure {
    /// The URI of the request.
    pub uri: String,
    /// What happened: the error with its causes, a panic, or the status.
    pub problem: String,
}

/// Why a warm-up ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WarmEnd {
    /// All requests were sent.
    #[default]
    Complete,
    /// It was cancelled.
    Cancelled,
    /// The cache was being drained: the process is about to exit.
    Drained,
    /// There are more requests than `limit` allows.
    Limit,
    /// As many requests failed as `stop_after_failures` allows.
    Failures,
    /// The handlers stayed slower than at the start, with one request at a time.
    SlowHandlers,
}

impl WarmEnd {
    /// Returns the name, such as `slow-handlers`. Names do not change between versions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Cancelled => "cancelled",
            Self::Drained => "drained",
            Self::Limit => "limit",
            Self::Failures => "failures",
            Self::SlowHandlers => "slow-handlers",
        }
    }

    const fn explanation(self) -> &'static str {
        match self {
            Self::Complete => "",
            Self::Cancelled => "it was cancelled",
            Self::Drained => "the cache is being drained",
            Self::Limit => "there are more requests than its limit",
            Self::Failures => "too many requests failed",
            Self::SlowHandlers => "the handlers stayed slower than at its start",
        }
    }
}

impl WarmReport {
    /// Returns how many responses were stored, those included that were validated with a 304.
    pub fn stored(&self) -> u64 {
        self.progress.stored
    }

    /// Returns how many stored responses the handlers validated with a 304 (RFC 9110 §15.4.5).
    pub fn validated(&self) -> u64 {
        self.validated
    }

    /// Returns how many responses were there already, and fresh: with [`skip_fresh`](crate::Warm::skip_fresh) only.
    pub fn fresh(&self) -> u64 {
        self.progress.fresh
    }

    /// Returns how many responses were not stored, those without a layer included.
    pub fn not_stored(&self) -> u64 {
        self.progress.not_stored
    }

    /// Returns why responses were not stored, and how many for each reason, the most frequent first.
    pub fn reasons(&self) -> &[(Reason, u64)] {
        &self.reasons
    }

    /// Returns how many requests no layer of the cache has met: for paths that do not exist, or routes that are not cached.
    pub fn without_layer(&self) -> u64 {
        self.without_layer
    }

    /// Returns how many requests failed: errors, panics, and responses with a status of 500 or more.
    pub fn failed(&self) -> u64 {
        self.progress.failed
    }

    /// Returns the first 100 failures.
    pub fn failures(&self) -> &[WarmFailure] {
        &self.failures
    }

    /// Returns why it ended.
    pub fn end(&self) -> WarmEnd {
        self.end
    }

    /// Returns whether all requests were sent and none failed. Responses may have been refused, see [`reasons`](Self::reasons).
    pub fn is_complete(&self) -> bool {
        self.end == WarmEnd::Complete && self.failed() == 0
    }

    pub(super) fn new(total: Option<u64>, concurrency: usize) -> Self {
        Self { progress: WarmProgress { total, concurrency, ..WarmProgress::default() }, ..Self::default() }
    }

    pub(super) fn ended(mut self, end: WarmEnd) -> Self {
        self.end = end;
        self.reasons.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.as_str().cmp(other.0.as_str())));
        self
    }

    pub(super) fn progress(&self) -> &WarmProgress {
        &self.progress
    }

    pub(super) fn set_concurrency(&mut self, concurrency: usize) {
        self.progress.concurrency = concurrency;
    }

    pub(super) fn note(&mut self, uri: String, status: StatusCode, outcome: RefreshOutcome) {
        self.progress.done += 1;
        let Some(cache_status) = outcome.status else {
            return match status.is_server_error() {
                true => self.add_failure(uri, format!("the response has the status {status}")),
                false => self.note_without_layer(),
            };
        };
        match cache_status.reason() {
            _ if cache_status.is_stored() => {
                self.progress.stored += 1;
                self.validated += u64::from(cache_status.is_validated());
            }
            None => self.progress.fresh += 1,
            Some(Reason::StaleOnError) => self.add_failure(uri, "the handler failed, and the stale response remains".to_owned()),
            Some(_) if status.is_server_error() => self.add_failure(uri, format!("the response has the status {status}")),
            Some(reason) => self.note_not_stored(reason),
        }
    }

    pub(super) fn fail(&mut self, uri: String, problem: String) {
        self.progress.done += 1;
        self.add_failure(uri, problem);
    }

    fn add_failure(&mut self, uri: String, problem: String) {
        self.progress.failed += 1;
        if self.failures.len() < DESCRIBED {
            self.failures.push(WarmFailure { uri, problem });
        }
    }

    fn note_without_layer(&mut self) {
        self.progress.not_stored += 1;
        self.without_layer += 1;
    }

    fn note_not_stored(&mut self, reason: Reason) {
        self.progress.not_stored += 1;
        match self.reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => self.reasons.push((reason, 1)),
        }
    }
}

impl fmt::Display for WarmReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} stored", self.stored())?;
        if self.fresh() > 0 {
            write!(f, ", {} fresh", self.fresh())?;
        }
        if self.not_stored() > 0 {
            write!(f, ", {} not stored: ", self.not_stored())?;
            let reasons = self.reasons.iter().map(|(reason, count)| (reason.as_str(), *count));
            let without_layer = (self.without_layer > 0).then_some((NO_LAYER, self.without_layer));
            for (number, (reason, count)) in reasons.chain(without_layer).enumerate() {
                write!(f, "{}{reason} ({count})", if number > 0 { ", " } else { "" })?;
            }
        }
        if let Some(failure) = self.failures.first() {
            write!(f, ", {} failed, first {}: {}", self.failed(), failure.uri, failure.problem)?;
        }
        if self.end != WarmEnd::Complete {
            write!(f, "; ended early: {}", self.end.explanation())?;
        }
        Ok(())
    }
}
