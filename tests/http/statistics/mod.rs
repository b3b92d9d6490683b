//! What the cache counts, and what it says that it decides.

mod events;
#[cfg(any(feature = "metrics", feature = "otel"))]
mod exporters;
mod fills;
mod hot;
mod identity;
mod metrics;
mod operations;
mod outcomes;
mod routes;

use larder::{Cache, Outcome};

/// The outcomes that occurred, with their counts.
fn outcomes(cache: &Cache) -> Vec<(Outcome, u64)> {
    let stats = cache.stats();
    let counts = Outcome::ALL.iter().map(|outcome| (*outcome, stats.total().outcome(*outcome)));
    counts.filter(|(_, count)| *count > 0).collect()
}
