//! The text format of Prometheus, version 0.0.4.

use std::fmt::{self, Write as _};

use super::{
    metric_table::METRICS,
    samples::{Sample, Value, samples},
    snapshot::Stats,
};

impl Stats {
    /// Returns all metrics in the text format of Prometheus, version 0.0.4 (`text/plain; version=0.0.4`). The module
    /// [`metrics`](crate::metrics) lists them.
    ///
    /// ```
    /// use axum::{Router, http::header::CONTENT_TYPE, routing::get};
    /// use larder::Cache;
    ///
    /// let cache = Cache::in_memory(64 << 20);
    /// let metrics = move || async move { ([(CONTENT_TYPE, "text/plain; version=0.0.4")], cache.stats().prometheus()) };
    /// let app: Router = Router::new().route("/metrics", get(metrics));
    /// # let _ = app;
    /// ```
    pub fn prometheus(&self) -> String {
        let samples = samples(self);
        let mut text = String::new();
        for metric in METRICS {
            let mut of_metric = samples.iter().filter(|sample| std::ptr::eq(sample.metric, *metric)).peekable();
            if of_metric.peek().is_none() {
                continue;
            }
            // Writing to a `String` does not fail.
            _ = writeln!(text, "# HELP {} {}", metric.name, metric.question);
            _ = writeln!(text, "# TYPE {} {}", metric.name, metric.kind.as_str());
            of_metric.for_each(|sample| _ = write_sample(&mut text, &self.moment().cache, sample));
        }
        text
    }
}

fn write_sample(text: &mut String, cache: &str, sample: &Sample<'_>) -> fmt::Result {
    let name = sample.metric.name;
    let mut labels = format!("cache=\"{}\"", Escaped(cache));
    for (label, value) in sample.metric.labels.iter().zip(&sample.labels) {
        write!(labels, ",{label}=\"{}\"", Escaped(value))?;
    }
    let durations = match sample.value {
        Value::Number(value) => return writeln!(text, "{name}{{{labels}}} {value}"),
        Value::Histogram(durations) => durations,
    };
    for (bound, up_to) in durations.buckets() {
        match bound {
            Some(bound) => writeln!(text, "{name}_bucket{{{labels},le=\"{}\"}} {up_to}", bound.as_secs_f64())?,
            None => writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {up_to}")?,
        }
    }
    writeln!(text, "{name}_sum{{{labels}}} {}", durations.sum().as_secs_f64())?;
    writeln!(text, "{name}_count{{{labels}}} {}", durations.count())
}

/// The value of a label.
struct Escaped<'v>(&'v str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}
