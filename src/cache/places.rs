//! The place of a fetch among those that run at once: while a client waits for it, among the handlers of its route; without a client, among
//! the abandoned fetches, for a limited time.

use std::{
    collections::HashMap,
    fmt,
    hash::BuildHasher as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use foldhash::quality::RandomState;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::detached::Abandon;
use crate::body::budget::{ByteBudget, HeldBytes};

/// What the fetches of a cache may take of the process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FetchLimits {
    /// How many handlers of one route run at once to fill the cache.
    pub(crate) per_route: usize,
    /// How long a fetch goes on that no client waits for.
    pub(crate) abandoned_for: Duration,
    pub(crate) abandoned: usize,
    pub(crate) abandoned_bytes: u64,
    /// How many bytes are held at once that were read ahead of clients.
    pub(crate) buffered_bytes: u64,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self {
            per_route: 1024,
            abandoned_for: Duration::from_secs(30),
            abandoned: 256,
            abandoned_bytes: 16 << 20,
            buffered_bytes: 64 << 20,
        }
    }
}

/// All places that there are.
pub(crate) struct Places {
    pub(crate) limits: FetchLimits,
    routes: Mutex<HashMap<u64, Arc<Route>>>,
    hasher: RandomState,
    abandoned: Arc<Semaphore>,
    abandoned_bytes: Arc<ByteBudget>,
    buffered: Arc<ByteBudget>,
}

impl Places {
    pub(crate) fn new(limits: FetchLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            routes: Mutex::default(),
            hasher: RandomState::default(),
            abandoned: semaphore(limits.abandoned),
            abandoned_bytes: ByteBudget::new(limits.abandoned_bytes),
            buffered: ByteBudget::new(limits.buffered_bytes),
        })
    }

    /// The place of a fetch for a route: of one layer, and of one path as the router has it.
    pub(crate) fn on_route(self: &Arc<Self>, namespace: &[u8], layer: usize, path: Option<&str>) -> Place {
        let route = self.route(self.hasher.hash_one((namespace, layer, path)));
        Place { places: Arc::clone(self), route, taken: Mutex::new(Taken::Nothing) }
    }

    fn route(&self, route: u64) -> Arc<Route> {
        /// Namespaces may come and go, so those are forgotten that nobody uses.
        const MANY: usize = 1024;
        let mut routes = lock(&self.routes);
        if routes.len() >= MANY && !routes.contains_key(&route) {
            routes.retain(|_, route| Arc::strong_count(route) > 1);
        }
        let new = || Arc::new(Route { places: semaphore(self.limits.per_route), stalled: AtomicBool::new(false) });
        Arc::clone(routes.entry(route).or_insert_with(new))
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.limits.fmt(f)
    }
}

/// The handlers of one route that run to fill the cache.
#[derive(Debug)]
struct Route {
    places: Arc<Semaphore>,
    /// Whether a fetch queued in vain, and no place has been given back since: then it is in vain for others, too.
    stalled: AtomicBool,
}

/// A place among the handlers of a route.
#[derive(Debug)]
struct OnRoute {
    route: Arc<Route>,
    _permit: OwnedSemaphorePermit,
}

impl Route {
    fn try_enter(self: &Arc<Self>) -> Option<OnRoute> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(OnRoute { route: Arc::clone(self), _permit: permit })
    }

    async fn enter(self: &Arc<Self>, deadline: Instant) -> Option<OnRoute> {
        if self.stalled.load(Ordering::Relaxed) {
            return None;
        }
        let Ok(Ok(permit)) = timeout_at(deadline, Arc::clone(&self.places).acquire_owned()).await else {
            self.stalled.store(true, Ordering::Relaxed);
            return None;
        };
        Some(OnRoute { route: Arc::clone(self), _permit: permit })
    }
}

impl Drop for OnRoute {
    fn drop(&mut self) {
        self.route.stalled.store(false, Ordering::Relaxed);
    }
}

/// The place of one fetch; given back when it is dropped, with the fetch.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    route: Arc<Route>,
    taken: Mutex<Taken>,
}

#[derive(Debug)]
enum Taken {
    Nothing,
    /// Among the handlers of its route, for a client.
    ForClient {
        _place: OnRoute,
    },
    /// Among the handlers of its route, for the cache itself.
    InBackground {
        _place: OnRoute,
        deadline: Instant,
    },
    /// Among the fetches whose client has left.
    Abandoned {
        _permit: OwnedSemaphorePermit,
        deadline: Instant,
    },
}

impl Place {
    /// Takes a place among the handlers of the route, if one is free.
    pub(crate) fn try_take(&self) -> bool {
        let Some(place) = self.route.try_enter() else { return false };
        *lock(&self.taken) = Taken::ForClient { _place: place };
        true
    }

    /// Takes a place among the handlers of the route, in the order of arrival; from `deadline` on it does without.
    pub(crate) async fn take(&self, deadline: Instant) {
        if let Some(place) = self.route.enter(deadline).await {
            *lock(&self.taken) = Taken::ForClient { _place: place };
        }
    }

    /// Takes a place for a fetch that no client waits for from the start; until when it may go on, or `None` if no place is free.
    pub(crate) fn take_in_background(&self) -> Option<Instant> {
        let place = self.route.try_enter()?;
        let deadline = Instant::now() + self.places.limits.abandoned_for;
        *lock(&self.taken) = Taken::InBackground { _place: place, deadline };
        Some(deadline)
    }

    /// The handler has done its part, and the body is its client's to read.
    pub(crate) fn leave_route(&self) {
        let mut taken = lock(&self.taken);
        if let Taken::ForClient { .. } = *taken {
            *taken = Taken::Nothing;
        }
    }

    /// What counts the bytes that this fetch holds.
    pub(crate) fn holds(&self) -> HeldBytes {
        HeldBytes::none_of(match *lock(&self.taken) {
            Taken::Abandoned { .. } => &self.places.abandoned_bytes,
            Taken::Nothing | Taken::ForClient { .. } | Taken::InBackground { .. } => &self.places.buffered,
        })
    }
}

impl Abandon for Place {
    /// Changes to the places of abandoned fetches. The deadline is the same each time: head and body share it.
    fn abandon(&self) -> Option<Instant> {
        let mut taken = lock(&self.taken);
        if let Taken::InBackground { deadline, .. } | Taken::Abandoned { deadline, .. } = *taken {
            return Some(deadline);
        }
        // Even if there is none, the place on the route is free from here on.
        *taken = Taken::Nothing;
        let permit = Arc::clone(&self.places.abandoned).try_acquire_owned().ok()?;
        let deadline = Instant::now() + self.places.limits.abandoned_for;
        *taken = Taken::Abandoned { _permit: permit, deadline };
        Some(deadline)
    }
}

fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))
}

/// Nothing that is done under such a lock panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
