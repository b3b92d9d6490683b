//! Those who watch decisions live, and take as many as they can show.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use http::StatusCode;
use tokio::sync::mpsc;

use crate::http::{cache_status::CacheStatus, outcome::Outcome};

/// A decision as watchers receive it.
#[derive(Debug)]
#[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "only the operator's page watches"))]
pub(crate) struct WatchedDecision {
    pub(crate) outcome: Outcome,
    pub(crate) status: Option<CacheStatus>,
    pub(crate) response_status: Option<StatusCode>,
    pub(crate) route: String,
    pub(crate) digest: Option<String>,
    pub(crate) key: Option<String>,
}

/// The watchers of all handles to a store.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    count: AtomicUsize,
    channels: Mutex<Vec<mpsc::Sender<WatchedDecision>>>,
}

impl Watchers {
    /// Whether there is a watcher: nothing is computed otherwise.
    #[inline]
    pub(crate) fn are_there(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Adds a watcher, until the receiver is dropped. Decisions for which it has no room are not computed for it.
    #[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "only the operator's page watches"))]
    pub(crate) fn add(&self, room: usize) -> mpsc::Receiver<WatchedDecision> {
        let (sender, receiver) = mpsc::channel(room);
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.push(sender);
        self.count.store(channels.len(), Ordering::Relaxed);
        receiver
    }

    /// Gives a decision to each watcher that has room.
    pub(super) fn notify(&self, decision: impl Fn() -> WatchedDecision) {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.retain(|channel| !channel.is_closed());
        self.count.store(channels.len(), Ordering::Relaxed);
        for permit in channels.iter().filter_map(|channel| channel.try_reserve().ok()) {
            permit.send(decision());
        }
    }
}
