//! The leases that nodes announce in Redis, so that receipts of all nodes state them.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use redis::Value;

use super::clock::{ClockReading, Term};
use crate::backend::contract::Scope;

/// Returns the scope of an invalidation from the reply of its script: the clock, followed by the longest lease in use.
pub(super) fn scope(reply: &Value) -> Option<Scope> {
    let Value::BulkString(bytes) = reply else { return None };
    let longest = std::str::from_utf8(ClockReading::split(bytes)?.1).ok()?.parse().ok()?;
    Some(if longest == 0 { Scope::Nodes } else { Scope::NodesWithin(Duration::from_millis(longest)) })
}

/// Returns a duration as the scripts take it, limited to integers that Lua represents exactly.
pub(super) fn millis(duration: Duration) -> u64 {
    // Rounded up: a lease must not be reported as shorter than it is.
    let millis = duration.as_nanos().div_ceil(1_000_000);
    u64::try_from(millis).unwrap_or(u64::MAX).min(1 << 52)
}

/// The scope that the latest publication reported. Several invalidations may publish at the same time: each finds a scope that was
/// reported by its own publication or by a later one.
#[derive(Debug, Default)]
pub(super) struct LatestScope(Mutex<Option<(Term, u64, Scope)>>);

impl LatestScope {
    pub(super) fn note(&self, reading: &ClockReading, reply: &Value) {
        let Some(scope) = scope(reply) else { return };
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.is_none_or(|(term, sequence, _)| term != reading.term || sequence < reading.sequence) {
            *latest = Some((reading.term, reading.sequence, scope));
        }
    }

    pub(super) fn get(&self) -> Scope {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map_or(Scope::Nodes, |(_, _, scope)| scope)
    }
}
