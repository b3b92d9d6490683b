//! Publishes a snapshot to the recorder of the crate `metrics`.

use metrics::{Label, Unit};

use super::{
    metric_table::{Kind, METRICS, Metric},
    samples::{Sample, Value, samples},
    snapshot::Stats,
};

impl Stats {
    /// Publishes all metrics to the recorder of the crate [`metrics`](https://docs.rs/metrics) that is installed, and describes them; the
    /// module [`metrics`](crate::metrics) lists them. Call it every few seconds, or before each scrape: between calls nothing changes.
    ///
    /// Counters are set to whole numbers. A histogram is published as `…_count` and, as a gauge, `…_sum`: larder has counted it in
    /// buckets, and the facade takes single values only.
    ///
    /// ```
    /// let cache = larder::Cache::in_memory(64 << 20);
    /// // in a task: every ten seconds
    /// cache.stats().publish();
    /// ```
    pub fn publish(&self) {
        METRICS.iter().for_each(|metric| describe(metric));
        samples(self).iter().for_each(|sample| publish(sample, &self.moment().cache));
    }
}

fn describe(Metric { name, kind, question, .. }: &'static Metric) {
    let unit = match name {
        name if name.contains("_seconds") => Unit::Seconds,
        name if name.contains("_bytes") => Unit::Bytes,
        _ => Unit::Count,
    };
    match kind {
        Kind::Counter => metrics::describe_counter!(*name, unit, *question),
        Kind::Gauge => metrics::describe_gauge!(*name, unit, *question),
        Kind::Histogram => {
            metrics::describe_counter!(format!("{name}_count"), Unit::Count, *question);
            metrics::describe_gauge!(format!("{name}_sum"), unit, *question);
        }
    }
}

fn publish(sample: &Sample<'_>, cache: &str) {
    let Metric { name, kind, labels, .. } = sample.metric;
    let mut all = vec![Label::new("cache", cache.to_owned())];
    all.extend(labels.iter().zip(&sample.labels).map(|(label, value)| Label::new(*label, (*value).to_owned())));
    match (sample.value, kind) {
        (Value::Number(value), Kind::Counter) => metrics::counter!(*name, all).absolute(value as u64),
        (Value::Number(value), _) => metrics::gauge!(*name, all).set(value),
        (Value::Histogram(durations), _) => {
            metrics::counter!(format!("{name}_count"), all.clone()).absolute(durations.count());
            metrics::gauge!(format!("{name}_sum"), all).set(durations.sum().as_secs_f64());
        }
    }
}
