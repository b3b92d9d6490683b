//! What is measured of all routes, for as long as the cache lives.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    differences::Differences,
    route::{Measured, Read},
    writes::Writes,
};
use crate::{clock::Timestamp, http::cache_status::Reason};

/// The most routes that are measured; requests for further ones are only counted.
pub(super) const MOST_ROUTES: usize = 64;

/// The name of requests without a route.
pub(super) const NO_ROUTE: &str = "no route";

/// The measurements of all observers of a cache, and what shadow verification has found.
#[derive(Debug, Default)]
pub(crate) struct Observations {
    routes: RwLock<HashMap<Box<str>, Arc<Mutex<Measured>>>>,
    pub(super) totals: Totals,
    pub(crate) writes: Arc<Writes>,
    pub(crate) differences: Differences,
}

/// What is counted of all requests.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) requests: AtomicU64,
    pub(super) handler_millis: AtomicU64,
    /// GET requests for routes that are not measured.
    pub(super) beyond: AtomicU64,
    pub(super) beyond_millis: AtomicU64,
}

impl Totals {
    /// Counts a request whose handler has answered.
    pub(super) fn answered(&self, handler_time: Duration) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.handler_millis.fetch_add(millis(handler_time), Ordering::Relaxed);
    }

    /// Counts a GET for a route that is not measured.
    pub(super) fn not_measured(&self, handler_time: Duration) {
        self.beyond.fetch_add(1, Ordering::Relaxed);
        self.beyond_millis.fetch_add(millis(handler_time), Ordering::Relaxed);
    }
}

impl Observations {
    /// Returns the measurements of a route; `None` beyond the first 64 routes.
    pub(super) fn route(&self, name: Option<&str>, now: Timestamp) -> Option<Arc<Mutex<Measured>>> {
        let name = name.unwrap_or(NO_ROUTE);
        if let Some(route) = self.routes.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Some(Arc::clone(route));
        }
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        if routes.len() >= MOST_ROUTES && !routes.contains_key(name) {
            return None;
        }
        let new = || Arc::new(Mutex::new(Measured::new(now)));
        Some(Arc::clone(routes.entry(name.into()).or_insert_with(new)))
    }

    /// Returns all routes with their measurements.
    pub(super) fn routes(&self) -> Vec<(Box<str>, Arc<Mutex<Measured>>)> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        routes.iter().map(|(name, route)| (name.clone(), Arc::clone(route))).collect()
    }

    /// Counts a GET when its handler has answered.
    pub(super) fn answered(&self, route: Option<&Mutex<Measured>>, now: Timestamp, handler_time: Duration, answer: Answered) {
        if answer != Answered::FromCache {
            self.totals.answered(handler_time);
        }
        let Some(route) = route else { return self.totals.not_measured(handler_time) };
        let mut measured = lock(route);
        measured.last = measured.last.max(now);
        match answer {
            Answered::FromCache => measured.from_cache += 1,
            Answered::ByHandler { with_cookies, storable } => {
                measured.requests += 1;
                measured.handler_time += handler_time;
                measured.with_cookies += u64::from(with_cookies);
                match storable {
                    Ok(()) => measured.with_lifetime += 1,
                    Err(reason) => measured.blocked[reason as usize] += 1,
                }
            }
        }
    }

    /// Counts a response that has been observed to its end.
    pub(super) fn observe(&self, route: &Mutex<Measured>, read: Read) {
        lock(route).observe(read, &self.writes);
    }
}

/// Who has answered a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// A layer of the cache inside the observer, from a stored response.
    FromCache,
    ByHandler {
        with_cookies: bool,
        /// Whether the response states a lifetime and may be stored.
        storable: Result<(), Reason>,
    },
}

/// No code under this lock panics.
pub(super) fn lock(route: &Mutex<Measured>) -> MutexGuard<'_, Measured> {
    route.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
