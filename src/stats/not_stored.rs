//! Warns once about a route of which nothing is stored.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::{http::cache_status::Reason, policy::limits::advice};

/// After so many responses in a row that were not stored, a route is suspected of a mistake.
const SUSPICIOUS: u32 = 100;

/// The responses of a route in a row that were not stored.
#[derive(Debug, Default)]
pub(super) struct NotStored {
    row: AtomicU32,
    /// The number of hits when the row began: a route with hits since then is in order.
    hits_before: AtomicU64,
    warned: AtomicBool,
}

impl NotStored {
    /// Counts a response of a route that was not stored.
    pub(super) fn note(&self, route: &str, reason: Reason, hits: impl FnOnce() -> u64) {
        // Limits have warnings of their own.
        if is_intended(reason) || advice(reason).is_some() || self.warned.load(Ordering::Relaxed) {
            return;
        }
        match self.row.fetch_add(1, Ordering::Relaxed) + 1 {
            1 => self.hits_before.store(hits(), Ordering::Relaxed),
            SUSPICIOUS.. if hits() > self.hits_before.load(Ordering::Relaxed) => self.end_row(),
            SUSPICIOUS.. if !self.warned.swap(true, Ordering::Relaxed) => tracing::warn!(
                route,
                reason = reason.as_str(),
                "{SUSPICIOUS} responses in a row were not stored on the route `{route}`, the last one for this reason: {} \
                 `Cache::stats` counts all reasons. Logged once a route.",
                reason.explanation(),
            ),
            _ => {}
        }
    }

    /// A response was stored.
    pub(super) fn end_row(&self) {
        // Usually there is nothing to write.
        if self.row.load(Ordering::Relaxed) != 0 {
            self.row.store(0, Ordering::Relaxed);
        }
    }
}

/// Whether the application or the client has asked for it, so that it is no mistake.
fn is_intended(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Method
            | Reason::Head
            | Reason::RequestNoStore
            | Reason::KeyDeclined
            | Reason::BypassIf
            | Reason::RequestDirective
            | Reason::SwitchedOff
            | Reason::ReadOnly
            | Reason::NoStore
            | Reason::Private
            | Reason::StoreIf
            | Reason::InnerLayer
            | Reason::OnlyIfCached
            | Reason::StaleOnError
            | Reason::StaleValue
            | Reason::StaleWhileSlow
    )
}
