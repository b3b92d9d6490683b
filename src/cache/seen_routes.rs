//! The routes of the application, as far as this process has met them.

use std::{
    collections::HashSet,
    sync::{PoisonError, RwLock},
};

use foldhash::quality::RandomState;

/// The most routes that are remembered; further ones are never reported as unknown.
const MOST: usize = 4096;

/// The routes for which this process has computed tags, and those that it has reported as unknown.
#[derive(Debug, Default)]
pub(crate) struct SeenRoutes(RwLock<Routes>);

#[derive(Debug, Default)]
struct Routes {
    seen: HashSet<Box<str>, RandomState>,
    reported: HashSet<Box<str>, RandomState>,
}

impl SeenRoutes {
    pub(crate) fn note(&self, route: &str) {
        let routes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if routes.seen.contains(route) || routes.seen.len() >= MOST {
            return;
        }
        drop(routes);
        self.0.write().unwrap_or_else(PoisonError::into_inner).seen.insert(route.into());
    }

    /// Warns about the invalidation of a route that this process has not met, once for each route. A process that has met none cannot
    /// judge: it may be a command-line tool, or may have just started.
    pub(crate) fn check(&self, route: &str) {
        let routes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let is_known = routes.seen.contains(route) || routes.reported.contains(route);
        if is_known || routes.seen.is_empty() || routes.seen.len().max(routes.reported.len()) >= MOST {
            return;
        }
        drop(routes);
        if self.0.write().unwrap_or_else(PoisonError::into_inner).reported.insert(route.into()) {
            tracing::warn!(
                route,
                "the route `{route}` was invalidated, and this process has stored no response for it so far: if it is not written \
                 as in the router, with the prefixes of nested routers, nothing was invalidated"
            );
        }
    }
}
