//! Observers of an application, and what they advise.

use std::sync::Arc;

use http::request::Parts;

use super::Cache;
use crate::{
    advisor::{Advice, Difference, Observer, RunningWrite, captured},
    router,
};

/// What a cache would do, and which invalidation is forgotten.
impl Cache {
    /// Returns an observer of an application without a cache: its layer passes everything through, stores nothing, and measures what layers of
    /// this cache would do. [`advice`](Self::advice) says what follows. The module [`advisor`](crate::advisor) has the details.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use larder::Cache;
    ///
    /// let cache = Cache::in_memory(64 << 20);
    /// let app: Router = Router::new()
    ///     .route("/posts/{id}", get(|| async { "a post" }))
    ///     .layer(cache.observer().layer());
    /// // … an hour of traffic
    /// println!("{}", cache.advice());
    /// # let _ = app;
    /// ```
    pub fn observer(&self) -> Observer {
        Observer::new(Arc::clone(&self.inner.observations), self.inner.clock.clone())
    }

    /// Returns what follows from what the [observers](Self::observer) of this cache have measured since it was created: for each route whether a
    /// layer would help, and the code to write. Routes are in the order of the handlers' time that would be saved.
    ///
    /// It takes up to some hundred microseconds a route, during which requests of the route wait at the end of their bodies.
    pub fn advice(&self) -> Advice {
        Advice::of(&self.inner.observations)
    }

    /// Returns the latest `count` hits that differed from what the handler responds, at most 64, the last one first. They are found by
    /// [`verify_hits`](crate::CacheLayer::verify_hits).
    pub fn recent_differences(&self, count: usize) -> Vec<Difference> {
        self.inner.observations.differences.latest(count)
    }

    /// Notes that a write begins, if an observer or a layer that verifies its hits wants to know.
    pub(crate) fn note_write(&self, parts: &mut Parts) -> Option<RunningWrite> {
        let writes = &self.inner.observations.writes;
        if !writes.is_watched() {
            return None;
        }
        let captures = captured(parts);
        Some(writes.begin(&parts.method, router::route(&parts.extensions), captures, &self.inner.clock))
    }
}
