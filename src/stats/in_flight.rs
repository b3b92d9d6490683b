//! Requests between their entry and their response, each of which is counted once, however it ends.

use std::{sync::Arc, thread, time::Duration};

use http::StatusCode;
use tokio::time::Instant;

use super::{decision::Listener, hot::WAIT_SAMPLE, route_table::RouteId, statistics::Statistics};
use crate::{
    clock::Timestamp,
    http::{cache_status::CacheStatus, outcome::Outcome},
    key::Key,
};

/// Counts a request as an error if a function of the application panics while its key is made or looked up: nothing else of it has been
/// counted by then.
#[derive(Debug)]
pub(crate) struct CountPanic<'s> {
    pub(crate) statistics: &'s Statistics,
    pub(crate) route: RouteId,
}

impl Drop for CountPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.statistics.failed(self.route, Outcome::Error);
        }
    }
}

/// A request that waits for a response.
#[derive(Debug)]
pub(crate) struct InFlight {
    statistics: Arc<Statistics>,
    route: RouteId,
    is_counted: bool,
    /// What few requests need: those that are sampled, and all while there is a listener.
    detail: Option<Box<Detail>>,
}

#[derive(Debug)]
struct Detail {
    listener: Option<Arc<Listener>>,
    key: Option<Key>,
    /// When it was sampled, if it was.
    sampled: Option<Timestamp>,
}

impl InFlight {
    /// Begins to count a request with this key, if it has one.
    pub(crate) fn begin(
        statistics: &Arc<Statistics>,
        route: RouteId,
        listener: &Arc<Listener>,
        key: Option<&Key>,
        now: impl FnOnce() -> Timestamp,
    ) -> Self {
        let is_sampled = statistics.started(route) && key.is_some();
        let is_heard = listener.is_heard();
        let detail = (is_sampled || is_heard).then(|| {
            Box::new(Detail {
                listener: is_heard.then(|| Arc::clone(listener)),
                key: key.cloned(),
                sampled: is_sampled.then(now),
            })
        });
        Self { statistics: Arc::clone(statistics), route, is_counted: false, detail }
    }

    /// Counts the response, with a body of `bytes` bytes if that is known.
    pub(crate) fn answered(mut self, status: &CacheStatus, response_status: StatusCode, bytes: Option<u64>) {
        self.end();
        self.statistics.answered(self.route, status, bytes.unwrap_or(0));
        self.conclude(status.outcome(), Some((status, response_status)));
    }

    /// Counts an error of the inner service.
    pub(crate) fn failed(mut self) {
        self.end();
        self.statistics.failed(self.route, Outcome::Error);
        self.conclude(Outcome::Error, None);
    }

    /// Leaves the counting to a further call of the layer.
    pub(crate) fn hand_over(mut self) {
        self.end();
    }

    /// Before its outcome is counted: a snapshot that has the outcome does not have the request in flight, too.
    fn end(&mut self) {
        self.is_counted = true;
        self.statistics.ended(self.route);
    }

    fn conclude(&mut self, outcome: Outcome, response: Option<(&CacheStatus, StatusCode)>) {
        let Some(detail) = self.detail.take() else { return };
        let key = detail.key.as_ref();
        if let (Some(now), Some(key)) = (detail.sampled, key) {
            match outcome {
                Outcome::Hit | Outcome::Stale | Outcome::Collapsed => self.statistics.hot.hit(now, key, WAIT_SAMPLE),
                Outcome::Miss | Outcome::Uncached | Outcome::Revalidated => self.statistics.hot.missed(now, key, WAIT_SAMPLE),
                _ => {}
            }
        }
        if let Some(listener) = &detail.listener {
            listener.notify(self.statistics.route_name(self.route), outcome, response, key);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.is_counted {
            return;
        }
        self.end();
        let outcome = if thread::panicking() { Outcome::Error } else { Outcome::Abandoned };
        self.statistics.failed(self.route, outcome);
        // A function of the application must not run while its thread panics: a second panic would end the process.
        if !thread::panicking() {
            self.conclude(outcome, None);
        }
    }
}

/// A request that waits for the fetch of another.
#[derive(Debug)]
pub(crate) struct Waiting<'s> {
    statistics: &'s Statistics,
    began: Instant,
}

impl<'s> Waiting<'s> {
    pub(crate) fn begin(statistics: &'s Statistics) -> Self {
        statistics.wait_began();
        Self { statistics, began: Instant::now() }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let waited: Duration = self.began.elapsed();
        self.statistics.wait_ended(waited);
    }
}
