//! How many lookups a memory store would answer if it were smaller or larger.

/// Whether the memory is large enough: the hit ratio that a store has, and what it would be with half, twice and four times the memory, as
/// returned by [`Cache::memory_curve`](crate::Cache::memory_curve).
///
/// The hit ratio is the share of lookups that find an entry, be it fresh or stale, among those that could have been answered by more memory:
/// responses that were invalidated are left out, and so are those that cannot be stored. The first lookup of a URL, and one after its response
/// has expired and was removed, is a miss with any size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryCurve {
    pub(crate) limit_bytes: u64,
    /// Of so many keys one is simulated.
    pub(crate) rate: u64,
    /// All lookups that the store has answered.
    pub(crate) hits: u64,
    /// All responses that were stored where there was no entry.
    pub(crate) misses: u64,
    pub(crate) sampled_hits: u64,
    pub(crate) sampled_misses: u64,
    pub(crate) simulated_hits: [u64; MemoryCurve::SIZES.len()],
}

/// The hit ratio with one size of the memory.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct MemoryPoint {
    /// The size as a multiple of the store's own: 0.5, 1, 2 or 4.
    pub size: f64,
    /// The size in bytes.
    pub bytes: u64,
    /// The estimated hit ratio.
    pub hit_ratio: f64,
}

impl MemoryCurve {
    /// The simulated sizes, with their names in metrics.
    pub(crate) const SIZES: [(f64, &str); 4] = [(0.5, "0.5"), (1.0, "1"), (2.0, "2"), (4.0, "4")];

    /// Returns the estimated hit ratios with half the memory, the present one, twice and four times as much; `None` before a sampled response
    /// was looked up.
    pub fn points(&self) -> Option<[MemoryPoint; 4]> {
        let sampled = self.sampled_hits + self.sampled_misses;
        if sampled == 0 {
            return None;
        }
        // Few keys get most lookups, and are in the sample or not. So the sample says by which factor misses change, and their number comes
        // from all lookups: popular keys outside of the sample are hits with any size.
        let misses = if self.sampled_misses > 0 { self.misses as f64 / self.sampled_misses as f64 } else { self.rate as f64 };
        let lookups = (self.hits + self.misses).max(1) as f64;
        let ratio = |hits: u64| (1.0 - sampled.saturating_sub(hits) as f64 * misses / lookups).clamp(0.0, 1.0);
        let mut points =
            Self::SIZES.map(|(size, _)| MemoryPoint { size, bytes: (self.limit_bytes as f64 * size) as u64, hit_ratio: 0.0 });
        points.iter_mut().zip(self.simulated_hits).for_each(|(point, hits)| point.hit_ratio = ratio(hits));
        Some(points)
    }

    /// Returns the hit ratio that the store really has, of all lookups.
    pub fn measured(&self) -> Option<f64> {
        let lookups = self.hits + self.misses;
        (lookups > 0).then(|| self.hits as f64 / lookups as f64)
    }

    /// Returns by how much the simulation of the present size is wrong: what it says less what was measured. Trust the other points no
    /// more than this.
    pub fn error(&self) -> Option<f64> {
        Some(self.points()?[1].hit_ratio - self.measured()?)
    }

    /// Returns the number of sampled lookups. With fewer than some thousands, the curve says little.
    pub fn sampled(&self) -> u64 {
        self.sampled_hits + self.sampled_misses
    }

    /// Returns the curve since `earlier`, one of the same store: without the time in which the store was filled, for example.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            hits: self.hits.saturating_sub(earlier.hits),
            misses: self.misses.saturating_sub(earlier.misses),
            sampled_hits: self.sampled_hits.saturating_sub(earlier.sampled_hits),
            sampled_misses: self.sampled_misses.saturating_sub(earlier.sampled_misses),
            simulated_hits: std::array::from_fn(|at| self.simulated_hits[at].saturating_sub(earlier.simulated_hits[at])),
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURVE: MemoryCurve = MemoryCurve {
        limit_bytes: 1 << 20,
        rate: 64,
        hits: 6400,
        misses: 2560,
        sampled_hits: 60,
        sampled_misses: 40,
        simulated_hits: [40, 58, 80, 90],
    };

    #[test]
    fn misses_of_all_lookups_change_by_the_factor_of_the_sample() {
        // The sample has 40 misses, and 60 with half the size; of all lookups, 2 of 7 are misses, so that it were 3 of 7.
        let ratios = CURVE.points().unwrap().map(|point| (point.hit_ratio * 140.0).round());
        assert_eq!(ratios, [80.0, 98.0, 120.0, 130.0]);
        assert_eq!((CURVE.measured().unwrap() * 8960.0).round(), 6400.0);
        assert!(CURVE.error().unwrap() < 0.0 && CURVE.error().unwrap() > -0.02);
    }

    #[test]
    fn nothing_is_known_before_a_lookup() {
        let nothing = CURVE.since(&CURVE);
        assert_eq!((nothing.points(), nothing.measured(), nothing.sampled()), (None, None, 0));
    }
}
