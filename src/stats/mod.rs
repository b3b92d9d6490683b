//! What larder counts: for each route the requests, fills and bytes, and their sums. Written without locks while requests are
//! answered, read as a snapshot.

mod counters;
pub(crate) mod decision;
pub(crate) mod fill;
pub(crate) mod fill_result;
mod heavy_hitters;
pub(crate) mod hot;
pub(crate) mod in_flight;
pub(crate) mod invalidations;
pub(crate) mod metric_table;
mod not_stored;
mod prometheus;
#[cfg(feature = "metrics")]
mod publish;
pub(crate) mod route_table;
pub(crate) mod samples;
pub(crate) mod snapshot;
pub(crate) mod statistics;
pub(crate) mod verification;
pub(crate) mod watchers;
