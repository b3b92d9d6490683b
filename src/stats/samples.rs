//! The values of all metrics in a snapshot, for exporters.

use super::{
    fill_result::{FillResult, Trigger},
    invalidations::InvalidationKind,
    metric_table::{
        BYPASSED, CORRUPT_VALUES, EVICTIONS, FETCH_LIMIT, FETCHES_IN_FLIGHT, FILL_DURATION, FILLS, FORWARDED, HOTTEST_KEY,
        IN_FLIGHT, INVALIDATED_TAGS, INVALIDATION_DURATION, INVALIDATIONS, MEMORY_BYTES, MEMORY_CURVE, MEMORY_ENTRIES,
        MEMORY_LIMIT, MODE, Metric, OUTAGE_HITS, OUTBOX_TAGS, REQUESTS, RESPONSE_BYTES, SAVED, STALE_AGE, STORE_DURATION,
        STORE_ERRORS, STORE_OPERATIONS, STORE_SUSPENDED, TAG_RECORDS, VERIFICATIONS, WAIT_DURATION, WAITERS,
    },
    snapshot::{RouteStats, Stats},
    verification::Verification,
};
use crate::{
    backend::{memory_curve::MemoryCurve, store_stats::StoreStats},
    counting::histogram::Durations,
    http::{
        cache_status::{Forward, Reason},
        outcome::Outcome,
    },
};

/// One value of a metric.
#[derive(Debug)]
pub(crate) struct Sample<'s> {
    pub(crate) metric: &'static Metric,
    /// The values of the metric's labels, in their order.
    pub(crate) labels: Vec<&'s str>,
    pub(crate) value: Value<'s>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'s> {
    Number(f64),
    Histogram(&'s Durations),
}

/// Returns the values of all metrics. Counters that are zero are left out where a label has many values.
pub(crate) fn samples(stats: &Stats) -> Vec<Sample<'_>> {
    let mut samples = Vec::new();
    for (route, stats) in stats.routes() {
        add_route(&mut samples, route, stats);
    }
    add_cache(&mut samples, stats);
    stats.stores().iter().for_each(|store| add_store(&mut samples, store));
    samples
}

fn number<'s>(samples: &mut Vec<Sample<'s>>, metric: &'static Metric, labels: &[&'s str], value: f64) {
    samples.push(Sample { metric, labels: labels.to_vec(), value: Value::Number(value) });
}

/// A counter that is left out while it is zero.
fn count<'s>(samples: &mut Vec<Sample<'s>>, metric: &'static Metric, labels: &[&'s str], value: u64) {
    if value > 0 {
        number(samples, metric, labels, value as f64);
    }
}

fn histogram<'s>(samples: &mut Vec<Sample<'s>>, metric: &'static Metric, labels: &[&'s str], durations: &'s Durations) {
    samples.push(Sample { metric, labels: labels.to_vec(), value: Value::Histogram(durations) });
}

fn add_route<'s>(samples: &mut Vec<Sample<'s>>, route: &'s str, stats: &'s RouteStats) {
    for outcome in Outcome::ALL {
        number(samples, &REQUESTS, &[route, outcome.as_str()], stats.outcome(*outcome) as f64);
    }
    number(samples, &IN_FLIGHT, &[route], stats.in_flight() as f64);
    for why in Forward::ALL {
        count(samples, &FORWARDED, &[route, why.as_str()], stats.forwarded(*why));
    }
    for trigger in Trigger::ALL {
        for result in FillResult::all() {
            count(samples, &FILLS, &[route, trigger.as_str(), result.as_str()], stats.fills(*trigger, result));
        }
    }
    histogram(samples, &FILL_DURATION, &[route], stats.fill_durations());
    for reason in Reason::ALL {
        count(samples, &BYPASSED, &[route, reason.as_str()], stats.bypassed(*reason));
    }
    number(samples, &RESPONSE_BYTES, &[route, "cache"], stats.bytes_from_cache() as f64);
    number(samples, &RESPONSE_BYTES, &[route, "handler"], stats.bytes_from_handler() as f64);
    number(samples, &SAVED, &[route], stats.saved().as_secs_f64());
    for verification in Verification::ALL {
        count(samples, &VERIFICATIONS, &[route, verification.as_str()], stats.verifications(*verification));
    }
}

fn add_cache<'s>(samples: &mut Vec<Sample<'s>>, stats: &'s Stats) {
    let (moment, invalidations) = (stats.moment(), stats.invalidations());
    histogram(samples, &WAIT_DURATION, &[], stats.waits());
    histogram(samples, &STALE_AGE, &[], stats.stale_ages());
    number(samples, &WAITERS, &[], stats.waiting() as f64);
    number(samples, &FETCHES_IN_FLIGHT, &[], stats.fetches_in_flight() as f64);
    number(samples, &FETCH_LIMIT, &[], moment.fetch_limit as f64);
    number(samples, &OUTAGE_HITS, &[], stats.outage_hits() as f64);
    number(samples, &MODE, &[], f64::from(moment.mode));
    number(samples, &HOTTEST_KEY, &[], moment.hottest_key_share.unwrap_or(0.0));
    for kind in InvalidationKind::ALL {
        number(samples, &INVALIDATIONS, &[kind.as_str(), "ok"], invalidations.succeeded(*kind) as f64);
        number(samples, &INVALIDATIONS, &[kind.as_str(), "failed"], invalidations.failed(*kind) as f64);
    }
    number(samples, &INVALIDATED_TAGS, &[], invalidations.tags() as f64);
    histogram(samples, &INVALIDATION_DURATION, &[], invalidations.durations());
}

fn add_store<'s>(samples: &mut Vec<Sample<'s>>, stats: &'s StoreStats) {
    let store = stats.store;
    for operation in &stats.operations {
        let labels = [store, operation.operation];
        number(samples, &STORE_OPERATIONS, &labels, operation.durations.count() as f64);
        number(samples, &STORE_ERRORS, &labels, operation.errors as f64);
        histogram(samples, &STORE_DURATION, &labels, &operation.durations);
    }
    let points = stats.memory_curve.as_ref().and_then(MemoryCurve::points);
    for (point, (_, size)) in points.iter().flatten().zip(MemoryCurve::SIZES) {
        number(samples, &MEMORY_CURVE, &[store, size], point.hit_ratio);
    }
    let known: [(&'static Metric, Option<u64>); 8] = [
        (&STORE_SUSPENDED, stats.suspended.map(u64::from)),
        (&OUTBOX_TAGS, stats.outbox_tags),
        (&CORRUPT_VALUES, stats.corrupt_values),
        (&MEMORY_BYTES, stats.bytes),
        (&MEMORY_LIMIT, stats.limit_bytes),
        (&MEMORY_ENTRIES, stats.entries),
        (&EVICTIONS, stats.evictions),
        (&TAG_RECORDS, stats.tag_records),
    ];
    for (metric, value) in known {
        if let Some(value) = value {
            number(samples, metric, &[store], value as f64);
        }
    }
}
