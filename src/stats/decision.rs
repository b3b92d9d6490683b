//! One decision, for those who want each of them: a `tracing` event, and a function of the application.

use std::{fmt, sync::Arc};

use http::StatusCode;
use tracing::Level;

use super::watchers::{WatchedDecision, Watchers};
use crate::{
    http::{
        cache_status::{CacheStatus, Forward, Reason},
        outcome::Outcome,
    },
    key::{Key, shown_url::shown_url},
};

/// The decision about one request, as [`Cache::with_decision_listener`](crate::Cache::with_decision_listener) receives it.
pub struct Decision<'d> {
    outcome: Outcome,
    status: Option<&'d CacheStatus>,
    response_status: Option<StatusCode>,
    route: &'d str,
    key: Option<&'d Key>,
    reveals_keys: bool,
}

impl Decision<'_> {
    /// Returns the outcome, as it is counted.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Returns the status that the response has in its extensions; `None` if there was no response.
    pub fn status(&self) -> Option<&CacheStatus> {
        self.status
    }

    /// Returns the status code of the response, if it is known: a hit has the one that was stored.
    pub fn response_status(&self) -> Option<StatusCode> {
        self.response_status
    }

    /// Returns the route, as [`Stats::routes`](crate::Stats::routes) names it.
    pub fn route(&self) -> &str {
        self.route
    }

    /// Returns eight digits of the digest of the cache key, the same on every node; `None` if the request has no key. Computed by each
    /// call, which takes some hundred nanoseconds.
    pub fn key_digest(&self) -> Option<String> {
        self.key.map(digest)
    }

    /// Returns the URL in the cache key; `None` unless the cache [reveals](crate::Cache::with_revealed_keys) its keys.
    pub fn key(&self) -> Option<String> {
        self.key.filter(|_| self.reveals_keys).map(shown_url)
    }
}

/// The key is shown as [`Decision::key_digest`] and [`Decision::key`] say: it contains values of request fields.
impl fmt::Debug for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decision")
            .field("outcome", &self.outcome)
            .field("status", &self.status)
            .field("response_status", &self.response_status)
            .field("route", &self.route)
            .field("key_digest", &self.key_digest())
            .field("key", &self.key())
            .finish()
    }
}

/// Returns eight digits of the digest of a key, by which it can be followed through logs without saying what was requested.
pub(crate) fn digest(key: &Key) -> String {
    let [a, b, c, d, ..] = key.storage_digest();
    format!("{:08x}", u32::from_be_bytes([a, b, c, d]))
}

type OnDecision = Arc<dyn Fn(&Decision<'_>) + Send + Sync>;

/// What is called with each decision of a cache.
#[derive(Clone, Default)]
pub(crate) struct Listener {
    pub(crate) on_decision: Option<OnDecision>,
    pub(crate) reveals_keys: bool,
    /// Shared by all handles to a store.
    pub(crate) watchers: Arc<Watchers>,
}

impl Listener {
    /// Whether there is a listener, a watcher or a subscriber: nothing is computed otherwise.
    #[inline]
    pub(crate) fn is_heard(&self) -> bool {
        self.on_decision.is_some() || self.watchers.are_there() || tracing::enabled!(target: "larder::decision", Level::DEBUG)
    }

    /// Says what became of a request with this key, if it has one.
    #[cold]
    pub(crate) fn notify(&self, route: &str, outcome: Outcome, response: Option<(&CacheStatus, StatusCode)>, key: Option<&Key>) {
        let decision = &Decision {
            outcome,
            status: response.map(|(status, _)| status),
            response_status: response.map(|(_, code)| code),
            route,
            key,
            reveals_keys: self.reveals_keys,
        };
        let status = decision.status;
        tracing::debug!(
            target: "larder::decision",
            outcome = decision.outcome.as_str(),
            forward = status.and_then(CacheStatus::forward).map(Forward::as_str),
            reason = status.and_then(CacheStatus::reason).map(Reason::as_str),
            status = decision.response_status.map(|status| status.as_u16()),
            ttl = status.and_then(CacheStatus::ttl),
            age = status.and_then(CacheStatus::age),
            tags = status.map(CacheStatus::tags),
            route = decision.route,
            digest = decision.key_digest(),
            key = decision.key(),
        );
        if let Some(on_decision) = &self.on_decision {
            on_decision(decision);
        }
        if self.watchers.are_there() {
            self.watchers.notify(|| WatchedDecision {
                outcome: decision.outcome(),
                status: decision.status().copied(),
                response_status: decision.response_status(),
                route: decision.route().to_owned(),
                digest: decision.key_digest(),
                key: decision.key(),
            });
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("reveals_keys", &self.reveals_keys).finish_non_exhaustive()
    }
}
