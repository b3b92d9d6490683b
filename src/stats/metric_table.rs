//! Every metric, once: its name, type, labels, and the question that it answers. All exporters and the documentation follow from this.

/// A metric.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    /// The name in Prometheus, with the unit and `_total`.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// The labels besides `cache`.
    pub(crate) labels: &'static [&'static str],
    pub(crate) question: &'static str,
}

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $question:literal;)+) => {
        $(pub(super) static $constant: Metric =
            Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], question: $question };)+

        /// All metrics, in the order in which they are exported.
        pub(crate) static METRICS: &[&Metric] = &[$(&$constant),+];
    };
}

metrics! {
    REQUESTS = Counter "larder_requests_total" ["route", "outcome"] "What became of the requests? The hit ratio follows from it.";
    IN_FLIGHT = Gauge "larder_requests_in_flight" ["route"] "How many requests wait for a response?";
    FORWARDED = Counter "larder_forwarded_total" ["route", "why"] "Why did requests go to the handler (RFC 9211)?";
    FILLS = Counter "larder_fills_total" ["route", "trigger", "result"] "Why did handlers run, and were their responses stored? If not, why?";
    FILL_DURATION = Histogram "larder_fill_duration_seconds" ["route"] "How long do handlers take, to the head of the response?";
    BYPASSED = Counter "larder_bypassed_total" ["route", "reason"] "Why were requests forwarded without a lookup?";
    RESPONSE_BYTES = Counter "larder_response_bytes_total" ["route", "source"] "How many bytes of bodies came from the cache, and from handlers?";
    SAVED = Counter "larder_saved_seconds_total" ["route"] "How much time of the handlers did the cache save?";
    VERIFICATIONS = Counter "larder_verifications_total" ["route", "result"] "Do hits differ from what the handler responds (`different`)? Then an invalidation is forgotten.";
    WAIT_DURATION = Histogram "larder_wait_duration_seconds" [] "How long do requests wait for the fetches of others?";
    STALE_AGE = Histogram "larder_stale_age_seconds" [] "How long had the responses been stale that were served stale?";
    WAITERS = Gauge "larder_waiters" [] "How many requests wait for the fetches of others?";
    FETCHES_IN_FLIGHT = Gauge "larder_fetches_in_flight" [] "How many handlers run to fill the cache, with their bodies?";
    FETCH_LIMIT = Gauge "larder_fetch_limit" [] "How many of them may run at once on each route?";
    OUTAGE_HITS = Counter "larder_outage_hits_total" [] "How many hits came from near copies while the store could not be reached?";
    MODE = Gauge "larder_mode" [] "Is the cache on (0), read-only (1) or bypassed (2)?";
    HOTTEST_KEY = Gauge "larder_hottest_key_ratio" [] "Does one key get most of the hits? Estimated, for the last one to two minutes.";
    INVALIDATIONS = Counter "larder_invalidations_total" ["kind", "result"] "How often is the cache invalidated, and does it fail?";
    INVALIDATED_TAGS = Counter "larder_invalidated_tags_total" [] "How many tags did invalidations name?";
    INVALIDATION_DURATION = Histogram "larder_invalidation_duration_seconds" [] "How long do writes wait for invalidations?";
    STORE_OPERATIONS = Counter "larder_store_operations_total" ["store", "op"] "How much does the store have to do?";
    STORE_ERRORS = Counter "larder_store_errors_total" ["store", "op"] "How often does the store fail?";
    STORE_DURATION = Histogram "larder_store_duration_seconds" ["store", "op"] "How fast is the store?";
    STORE_SUSPENDED = Gauge "larder_store_suspended" ["store"] "Is the store not used, because it failed (1)?";
    OUTBOX_TAGS = Gauge "larder_outbox_tags" ["store"] "How many tags must still be invalidated when the store answers again?";
    CORRUPT_VALUES = Counter "larder_corrupt_values_total" ["store"] "Are values in the store damaged, or written by others?";
    MEMORY_BYTES = Gauge "larder_memory_bytes" ["store"] "How large are the entries in memory?";
    MEMORY_LIMIT = Gauge "larder_memory_limit_bytes" ["store"] "How large may they be?";
    MEMORY_ENTRIES = Gauge "larder_memory_entries" ["store"] "How many entries are in memory?";
    MEMORY_CURVE = Gauge "larder_memory_curve_ratio" ["store", "size"] "What would the hit ratio be with this many times the memory? Estimated.";
    EVICTIONS = Counter "larder_evictions_total" ["store"] "How many entries had to go because the memory was full?";
    TAG_RECORDS = Gauge "larder_tag_records" ["store"] "How many invalidated tags are remembered one by one?";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The rows of the documentation, as they follow from the table.
    fn rows() -> String {
        let row = |metric: &&Metric| {
            let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
            format!("| `{}` | {} | {labels} | {} |\n", metric.name, metric.kind.as_str(), metric.question)
        };
        METRICS.iter().map(row).collect()
    }

    #[test]
    fn page_lists_every_metric_with_its_question() {
        let page = include_str!("../docs/metrics.md");
        let listed: String = page.lines().filter(|line| line.starts_with("| `larder_")).map(|line| format!("{line}\n")).collect();
        assert_eq!(listed, rows(), "replace the rows of src/docs/metrics.md");
    }

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        assert_eq!(METRICS.iter().map(|metric| metric.name).collect::<HashSet<_>>().len(), METRICS.len());
        for Metric { name, kind, labels, question } in METRICS {
            assert!(name.starts_with("larder_") && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(*kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
            assert!(labels.iter().all(|label| !["cache", "le"].contains(label)), "{name}");
            assert!(!question.contains(['\n', '\\', '|']), "{name}");
        }
    }
}
