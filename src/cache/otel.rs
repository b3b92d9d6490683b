//! The metrics of a cache as instruments of OpenTelemetry.

use std::{
    iter,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrument, Meter},
};
use tokio::time::Instant;

use super::Cache;
use crate::stats::{
    metric_table::{Kind, METRICS, Metric},
    samples::{Sample, Value, samples},
};

/// Which number of a metric an instrument observes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Value,
    Count,
    Sum,
}

impl Cache {
    /// Creates observable instruments for all metrics, which read [`stats`](Self::stats) once for each collection. They keep the cache
    /// alive as long as their meter.
    ///
    /// Names have dots, and no `_total`: `larder.requests`, `larder.saved_seconds`. A histogram is observed as two counters,
    /// `….count` and `….sum`, since larder has counted it in buckets. The module [`metrics`](crate::metrics) lists the metrics.
    ///
    /// ```
    /// let cache = larder::Cache::in_memory(64 << 20);
    /// cache.observe_with(&opentelemetry::global::meter("my-service"));
    /// ```
    pub fn observe_with(&self, meter: &Meter) {
        let collections = Arc::new(Collections::new(self.clone()));
        for metric in METRICS {
            match metric.kind {
                Kind::Histogram => {
                    collections.instrument(meter, metric, Part::Count);
                    collections.instrument(meter, metric, Part::Sum);
                }
                Kind::Counter | Kind::Gauge => collections.instrument(meter, metric, Part::Value),
            }
        }
    }
}

/// Shares one snapshot among the instruments that are collected together: the interface calls each of them, and does not say when a collection
/// begins.
struct Collections {
    cache: Cache,
    latest: Mutex<Option<Collection>>,
}

/// The values of one collection.
struct Collection {
    taken: Instant,
    values: Arc<[Observed]>,
    /// The instruments that have observed it.
    observed: Vec<(&'static Metric, Part)>,
}

/// One value of a metric, with its labels. A histogram has a count and a sum.
struct Observed {
    metric: &'static Metric,
    labels: Vec<KeyValue>,
    value: f64,
    sum: f64,
}

/// A snapshot is not shared for longer, whichever instruments a reader leaves out.
const LONGEST_COLLECTION: Duration = Duration::from_secs(1);

impl Collections {
    fn new(cache: Cache) -> Self {
        Self { cache, latest: Mutex::default() }
    }

    fn instrument(self: &Arc<Self>, meter: &Meter, metric: &'static Metric, part: Part) {
        let collections = Arc::clone(self);
        let observe = move |observer: &dyn AsyncInstrument<f64>| collections.observe(metric, part, observer);
        let name = name(metric, part);
        match metric.kind {
            Kind::Gauge => _ = meter.f64_observable_gauge(name).with_description(metric.question).with_callback(observe).build(),
            Kind::Counter | Kind::Histogram => {
                _ = meter.f64_observable_counter(name).with_description(metric.question).with_callback(observe).build();
            }
        }
    }

    fn observe(&self, metric: &'static Metric, part: Part, observer: &dyn AsyncInstrument<f64>) {
        for observed in self.values(metric, part).iter().filter(|observed| std::ptr::eq(observed.metric, metric)) {
            observer.observe(if part == Part::Sum { observed.sum } else { observed.value }, &observed.labels);
        }
    }

    /// Returns the values of this collection. An instrument that has observed the latest one begins the next.
    fn values(&self, metric: &'static Metric, part: Part) -> Arc<[Observed]> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let collection = match latest.take() {
            Some(collection) if collection.is_for((metric, part)) => latest.insert(collection),
            _ => latest.insert(Collection { taken: Instant::now(), values: self.snapshot(), observed: Vec::new() }),
        };
        collection.observed.push((metric, part));
        Arc::clone(&collection.values)
    }

    fn snapshot(&self) -> Arc<[Observed]> {
        let stats = self.cache.stats();
        let observed = |Sample { metric, labels, value }| {
            let named = metric.labels.iter().zip(&labels).map(|(label, value)| KeyValue::new(*label, (*value).to_owned()));
            let labels = iter::once(KeyValue::new("cache", self.cache.inner.name.to_string())).chain(named).collect();
            let (value, sum) = match value {
                Value::Number(value) => (value, 0.0),
                Value::Histogram(durations) => (durations.count() as f64, durations.sum().as_secs_f64()),
            };
            Observed { metric, labels, value, sum }
        };
        samples(&stats).into_iter().map(observed).collect()
    }
}

impl Collection {
    fn is_for(&self, instrument: (&'static Metric, Part)) -> bool {
        !self.observed.contains(&instrument) && self.taken.elapsed() < LONGEST_COLLECTION
    }
}

/// `larder.requests` for `larder_requests_total`.
fn name(metric: &Metric, part: Part) -> String {
    let name = metric.name.trim_end_matches("_total").replacen('_', ".", 1);
    match part {
        Part::Value => name,
        Part::Count => format!("{name}.count"),
        Part::Sum => format!("{name}.sum"),
    }
}
