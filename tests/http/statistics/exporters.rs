//! The exporters for the crates `metrics` and `opentelemetry`, read by those crates' own recorders and readers.

use larder::Cache;

use crate::support::{Runs, cache, get, minute, numbered, page};

/// One miss and two hits.
async fn used() -> Cache {
    let (cache, _) = cache();
    let app = page(minute(&cache), numbered(&Runs::default()));
    for _ in 0..3 {
        get(&app, "/page").await;
    }
    cache
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn recorder_has_the_figures() {
    use metrics_util::{
        MetricKind,
        debugging::{DebugValue, DebuggingRecorder},
    };

    let cache = used().await;
    let recorder = DebuggingRecorder::new();
    // Twice: counters are set, and not added to.
    metrics::with_local_recorder(&recorder, || {
        cache.stats().publish();
        cache.stats().publish();
    });
    let snapshot = recorder.snapshotter().snapshot().into_vec();
    let value = |kind: MetricKind, name: &str, labels: &[(&str, &str)]| {
        let found = snapshot.iter().find(|(key, ..)| {
            let has = |(label, value): &(&str, &str)| key.key().labels().any(|of| of.key() == *label && of.value() == *value);
            key.kind() == kind && key.key().name() == name && labels.iter().all(has)
        });
        let (.., description, value) = found.unwrap_or_else(|| panic!("no {name} {labels:?}"));
        assert!(description.is_some(), "{name}");
        match value {
            DebugValue::Counter(value) => *value as f64,
            DebugValue::Gauge(value) => value.0,
            DebugValue::Histogram(_) => panic!("{name}"),
        }
    };
    let route = ("route", "/page");
    assert_eq!(value(MetricKind::Counter, "larder_requests_total", &[route, ("outcome", "hit"), ("cache", "larder")]), 2.0);
    assert_eq!(value(MetricKind::Counter, "larder_fill_duration_seconds_count", &[route]), 1.0);
    assert_eq!(value(MetricKind::Gauge, "larder_memory_entries", &[("store", "memory")]), 1.0);
}

#[cfg(feature = "otel")]
#[tokio::test]
async fn instruments_have_the_figures() {
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::{
        InMemoryMetricExporter, PeriodicReader, SdkMeterProvider,
        data::{AggregatedMetrics, GaugeDataPoint, MetricData, ResourceMetrics, ScopeMetrics, SumDataPoint},
    };

    let cache = used().await;
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder().with_reader(PeriodicReader::builder(exporter.clone()).build()).build();
    cache.observe_with(&provider.meter("test"));
    tokio::task::spawn_blocking(move || provider.force_flush().unwrap()).await.unwrap();
    let exported = exporter.get_finished_metrics().unwrap();
    let value = |name: &str, label: (&str, &str)| {
        let metrics = exported.iter().flat_map(ResourceMetrics::scope_metrics).flat_map(ScopeMetrics::metrics);
        let metric = metrics.filter(|metric| metric.name() == name).last().unwrap_or_else(|| panic!("no {name}"));
        let has = |key: &str, of: &str| (key, of) == label;
        let AggregatedMetrics::F64(data) = metric.data() else { panic!("{name}") };
        match data {
            MetricData::Sum(sum) => sum
                .data_points()
                .find(|point| point.attributes().any(|pair| has(pair.key.as_str(), &pair.value.as_str())))
                .map(SumDataPoint::value),
            MetricData::Gauge(gauge) => gauge
                .data_points()
                .find(|point| point.attributes().any(|pair| has(pair.key.as_str(), &pair.value.as_str())))
                .map(GaugeDataPoint::value),
            _ => panic!("{name}"),
        }
    };
    assert_eq!(value("larder.requests", ("outcome", "hit")), Some(2.0));
    assert_eq!(value("larder.fill_duration_seconds.count", ("route", "/page")), Some(1.0));
    assert_eq!(value("larder.memory_entries", ("store", "memory")), Some(1.0));
    assert_eq!(value("larder.mode", ("cache", "larder")), Some(0.0));
}

/// A store that counts how often its statistics are read.
#[cfg(feature = "otel")]
#[derive(Debug)]
struct CountingReads {
    memory: larder::Memory,
    reads: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

#[cfg(feature = "otel")]
#[larder::backend::async_trait]
impl larder::backend::Backend for CountingReads {
    async fn get(
        &self,
        key: &larder::backend::Key,
        hint: &[larder::backend::Tag],
    ) -> Result<larder::backend::ReadOutcome, larder::Error> {
        self.memory.get(key, hint).await
    }

    async fn put(
        &self,
        key: &larder::backend::Key,
        stored: std::sync::Arc<larder::backend::Stored>,
    ) -> Result<larder::backend::PutOutcome, larder::Error> {
        self.memory.put(key, stored).await
    }

    async fn is_alive(&self, born: larder::backend::Epoch, tags: &[larder::backend::Tag]) -> Result<bool, larder::Error> {
        self.memory.is_alive(born, tags).await
    }

    async fn invalidate(&self, invalidation: &larder::backend::Invalidation) -> Result<larder::Receipt, larder::Error> {
        self.memory.invalidate(invalidation).await
    }

    fn stats(&self) -> Vec<larder::backend::StoreStats> {
        self.reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.memory.stats()
    }
}

#[cfg(feature = "otel")]
#[tokio::test]
async fn instruments_share_one_snapshot_for_each_collection() {
    use std::sync::atomic::Ordering;

    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};

    let reads = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
    let cache = Cache::new(CountingReads { memory: larder::Memory::new(1 << 20), reads: std::sync::Arc::clone(&reads) });
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder().with_reader(PeriodicReader::builder(exporter.clone()).build()).build();
    cache.observe_with(&provider.meter("test"));
    let app = page(minute(&cache), numbered(&Runs::default()));
    // One collection right after the other has the latest figures.
    for collections in 1..=3 {
        get(&app, "/page").await;
        provider.force_flush().unwrap();
        assert_eq!(reads.load(Ordering::Relaxed), collections);
    }
    let exported = format!("{:?}", exporter.get_finished_metrics().unwrap().last().unwrap());
    assert!(exported.contains("larder.requests") && exported.contains("value: 2.0"), "two hits: {exported}");
}
