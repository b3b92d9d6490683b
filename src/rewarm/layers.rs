//! The layers whose requests are repeated after an invalidation.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, Weak,
    atomic::{AtomicUsize, Ordering},
};

use super::{
    removed::Removed,
    requests::{Heat, RepeatedRequests, is_repeated_run},
};
use crate::backend::contract::Invalidation;

/// The layers of all handles to one store. It keeps none alive: they hold handlers, which may hold the cache.
#[derive(Debug, Default)]
pub(crate) struct RewarmedLayers {
    count: AtomicUsize,
    layers: Mutex<Layers>,
}

#[derive(Debug, Default)]
struct Layers {
    all: Vec<Weak<RepeatedRequests>>,
    /// Whether no more are added.
    is_closed: bool,
}

impl RewarmedLayers {
    /// Creates the requests of a layer, of which `count` are repeated after an invalidation; `None` for zero, and while the cache drains.
    pub(crate) fn begin(&self, count: usize) -> Option<Arc<RepeatedRequests>> {
        let requests = (count > 0).then(|| RepeatedRequests::new(count))?;
        let mut layers = self.lock();
        if layers.is_closed {
            return None;
        }
        layers.all.retain(|layer| layer.strong_count() > 0);
        layers.all.push(Arc::downgrade(&requests));
        self.count.store(layers.all.len(), Ordering::Relaxed);
        Some(requests)
    }

    /// Forgets all requests, and with them the handlers that they hold, for good: no further ones are kept.
    pub(crate) fn clear(&self) {
        self.lock().is_closed = true;
        self.alive().iter().for_each(|requests| requests.clear());
    }

    /// Repeats requests after an invalidation, unless it comes from the handler of a repeated one: two pages that invalidate each other would
    /// be repeated without end.
    pub(crate) fn invalidated(&self, invalidation: &Invalidation, heat: impl FnOnce() -> Heat) {
        if self.count.load(Ordering::Relaxed) == 0 || is_repeated_run() {
            return;
        }
        let (removed, heat) = (Removed::by(invalidation), heat());
        self.alive().iter().for_each(|requests| requests.invalidated(&removed, &heat));
    }

    /// Used outside of the lock: what is dropped with the last layer are handlers, whose code may come here again.
    fn alive(&self) -> Vec<Arc<RepeatedRequests>> {
        self.lock().all.iter().filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Layers> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
