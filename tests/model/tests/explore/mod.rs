//! How far models are explored.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

use std::time::Duration;

/// Two threads: every execution there is.
pub const ALL: Option<usize> = None;
/// Three threads: where a slip shows, two or three preemptions in the wrong places are enough.
pub const SOME: Option<usize> = Some(3);
pub const FEW: Option<usize> = Some(2);

/// Explores `model` with at most so many preemptions in one execution.
pub fn explore(preemptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    let soak = std::env::var_os("LARDER_SOAK").is_some();
    builder.preemption_bound = if soak { ALL } else { preemptions };
    builder.max_duration = soak.then_some(TEN_MINUTES);
    builder.max_branches = 10_000;
    builder.check(model);
}

const TEN_MINUTES: Duration = Duration::from_secs(600);
