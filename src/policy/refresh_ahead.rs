//! When something fresh is refreshed before it becomes stale.

use std::time::Duration;

/// Whether a response or value that took `millis` to make and is fresh for the time `left` is due for a refresh. The probability rises towards
/// the end of its lifetime, earlier for what takes longer (Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede
/// Prevention, 2015).
pub(crate) fn is_due(eagerness: f64, millis: u32, left: Duration) -> bool {
    let head_start = f64::from(millis) / 1000.0 * eagerness * -(1.0 - fastrand::f64()).ln();
    head_start >= left.as_secs_f64()
}
