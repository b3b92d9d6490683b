//! Durations in buckets, as Prometheus counts them.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The upper bounds of the buckets; a last bucket without a bound follows.
const BOUNDS: [Duration; 13] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(300),
];

/// Counts durations; one addition to a shared counter and one to the sum, so not for hits.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    pub(crate) fn record(&self, duration: Duration) {
        let bucket = BOUNDS.iter().position(|bound| duration <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Durations {
        Durations {
            buckets: self.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed)),
            micros: self.micros.load(Ordering::Relaxed),
        }
    }
}

/// Durations that were counted in buckets, from 1 ms to 5 minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Durations {
    buckets: [u64; BOUNDS.len() + 1],
    micros: u64,
}

impl Durations {
    /// Returns how many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Returns their sum.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.micros)
    }

    /// Returns each upper bound with the number of durations up to it; the last bucket has no bound.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> + '_ {
        let bounds = BOUNDS.into_iter().map(Some).chain([None]);
        let up_to = self.buckets.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        bounds.zip(up_to)
    }

    /// Returns the smallest bound that a share of `quantile`, from 0 to 1, does not exceed; `None` if there were no durations, or if it is
    /// above five minutes.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let rank = (self.count() as f64 * quantile.clamp(0.0, 1.0)).ceil().max(1.0) as u64;
        self.buckets().find(|(_, up_to)| *up_to >= rank).and_then(|(bound, _)| bound)
    }

    pub(crate) fn combined(&self, other: &Self, combine: fn(u64, u64) -> u64) -> Self {
        let mut buckets = self.buckets;
        for (bucket, other) in buckets.iter_mut().zip(other.buckets) {
            *bucket = combine(*bucket, other);
        }
        Self { buckets, micros: combine(self.micros, other.micros) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_the_bounds_of_buckets() {
        let histogram = Histogram::default();
        assert_eq!(histogram.snapshot().quantile(0.5), None);
        for millis in [1, 3, 3, 40, 400_000] {
            histogram.record(Duration::from_millis(millis));
        }
        let durations = histogram.snapshot();
        assert_eq!((durations.count(), durations.sum()), (5, Duration::from_millis(400_047)));
        assert_eq!(durations.quantile(0.0), Some(Duration::from_millis(1)));
        assert_eq!(durations.quantile(0.5), Some(Duration::from_millis(5)));
        assert_eq!(durations.quantile(0.8), Some(Duration::from_millis(50)));
        assert_eq!(durations.quantile(1.0), None);
        assert_eq!(durations.buckets().last(), Some((None, 5)));
    }
}
