//! What the screens and actions work with.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
};

use http::{HeaderMap, Uri};

use super::{guard::Guard, history::History};
use crate::{cache::Cache, http::cache_status::CacheStatus};

/// Sends a request through the application, and returns the decision of its layer.
pub(super) type Refresher =
    Arc<dyn Fn(Uri, HeaderMap) -> Pin<Box<dyn Future<Output = Option<CacheStatus>> + Send>> + Send + Sync>;

/// The state of a mounted page.
pub(super) struct State {
    pub(super) cache: Cache,
    pub(super) guard: Guard,
    pub(super) refresher: Option<Refresher>,
    history: OnceLock<Arc<History>>,
}

impl State {
    pub(super) fn new(cache: Cache, guard: Guard, refresher: Option<Refresher>) -> Self {
        let state = Self { cache, guard, refresher, history: OnceLock::new() };
        // Without a runtime it begins with the first request.
        if tokio::runtime::Handle::try_current().is_ok() {
            state.history();
        }
        state
    }

    /// The figures of the last minutes and hours.
    pub(super) fn history(&self) -> &Arc<History> {
        self.history.get_or_init(|| History::begin(&self.cache))
    }

    /// What must be typed to clear the cache.
    pub(super) fn clear_phrase(&self) -> &str {
        let inner = &self.cache.inner;
        if inner.namespace.is_empty() { &inner.name } else { &inner.namespace }
    }
}
