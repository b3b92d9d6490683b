//! Limits on concurrent fetches. A fetch whose client waits occupies a slot of its route; one whose client has left occupies a slot of the
//! abandoned fetches, for a limited time.

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

use crate::body::budget::{ByteBudget, HeldBytes};

/// The limits on the fetches of a cache.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FetchLimits {
    /// The largest number of handlers of one route that run concurrently to fill the cache.
    pub(crate) per_route: usize,
    /// The time for which a fetch continues without a client.
    pub(crate) abandoned_for: Duration,
    pub(crate) abandoned: usize,
    pub(crate) abandoned_bytes: u64,
    /// The largest number of bytes that are buffered ahead of clients.
    pub(crate) buffered_bytes: u64,
    /// The largest number of bytes of the content of requests that are held until their handlers have them.
    pub(crate) request_bytes: u64,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self {
            per_route: 1024,
            abandoned_for: Duration::from_secs(30),
            abandoned: 256,
            abandoned_bytes: 16 << 20,
            buffered_bytes: 64 << 20,
            request_bytes: 16 << 20,
        }
    }
}

/// The slots of all fetches of a cache.
pub(crate) struct FetchSlots {
    pub(crate) limits: FetchLimits,
    routes: Mutex<HashMap<u64, Arc<Route>, foldhash::fast::RandomState>>,
    hasher: RandomState,
    abandoned: Arc<Semaphore>,
    abandoned_bytes: Arc<ByteBudget>,
    buffered: Arc<ByteBudget>,
    pub(crate) requests: Arc<ByteBudget>,
}

impl FetchSlots {
    pub(crate) fn new(limits: FetchLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            routes: Mutex::default(),
            hasher: RandomState::default(),
            abandoned: semaphore(limits.abandoned),
            abandoned_bytes: ByteBudget::new(limits.abandoned_bytes),
            buffered: ByteBudget::new(limits.buffered_bytes),
            requests: ByteBudget::new(limits.request_bytes),
        })
    }

    /// Returns how many handlers of each route may run at once.
    pub(crate) fn per_route(&self) -> usize {
        self.limits.per_route
    }

    /// Creates the slot of a fetch for a route: for one layer, and for one path as the router has it.
    pub(crate) fn on_route(self: &Arc<Self>, namespace: &[u8], layer: usize, path: Option<&str>) -> FetchSlot {
        let route = self.route(self.hasher.hash_one((namespace, layer, path)), path);
        FetchSlot { slots: Arc::clone(self), route, state: Mutex::new(SlotState::Free) }
    }

    fn route(&self, route: u64, path: Option<&str>) -> Arc<Route> {
        /// Applications may create namespaces dynamically, so that unused routes are removed from this number on.
        const MANY: usize = 1024;
        let mut routes = lock(&self.routes);
        if routes.len() >= MANY && !routes.contains_key(&route) {
            routes.retain(|_, route| Arc::strong_count(route) > 1);
        }
        let new = || {
            let (permits, stalled) = (semaphore(self.limits.per_route), AtomicBool::new(false));
            Arc::new(Route { path: path.map(Into::into), permits, stalled })
        };
        Arc::clone(routes.entry(route).or_insert_with(new))
    }
}

impl fmt::Debug for FetchSlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.limits.fmt(f)
    }
}

/// The handlers of one route that run to fill the cache.
#[derive(Debug)]
struct Route {
    /// As the router has it; `None` without a router.
    path: Option<Box<str>>,
    permits: Arc<Semaphore>,
    /// Whether a fetch has waited in vain and no slot has been released since, so that further fetches do not wait.
    stalled: AtomicBool,
}

/// An occupied slot of a route.
#[derive(Debug)]
struct RouteSlot {
    route: Arc<Route>,
    _permit: OwnedSemaphorePermit,
}

impl Route {
    fn try_enter(self: &Arc<Self>) -> Option<RouteSlot> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        Some(RouteSlot { route: Arc::clone(self), _permit: permit })
    }

    async fn enter(self: &Arc<Self>, deadline: Instant) -> Option<RouteSlot> {
        if self.stalled.load(Ordering::Relaxed) {
            return None;
        }
        let Ok(Ok(permit)) = timeout_at(deadline, Arc::clone(&self.permits).acquire_owned()).await else {
            self.stalled.store(true, Ordering::Relaxed);
            return None;
        };
        Some(RouteSlot { route: Arc::clone(self), _permit: permit })
    }
}

impl Drop for RouteSlot {
    fn drop(&mut self) {
        self.route.stalled.store(false, Ordering::Relaxed);
    }
}

/// The slot of one fetch, released when the fetch drops it.
#[derive(Debug)]
pub(crate) struct FetchSlot {
    slots: Arc<FetchSlots>,
    route: Arc<Route>,
    state: Mutex<SlotState>,
}

#[derive(Debug)]
enum SlotState {
    /// No slot is occupied.
    Free,
    /// A slot of the route, for a client.
    ForClient { _slot: RouteSlot },
    /// A slot of the route, for a background refresh.
    InBackground { _slot: RouteSlot, deadline: Instant },
    /// A slot of the abandoned fetches.
    Abandoned { _permit: OwnedSemaphorePermit, deadline: Instant },
}

impl FetchSlot {
    /// Returns the path of the route, as the router has it.
    pub(crate) fn path(&self) -> Option<&str> {
        self.route.path.as_deref()
    }

    /// Occupies a slot of the route, if one is free.
    pub(crate) fn try_take(&self) -> bool {
        let Some(slot) = self.route.try_enter() else { return false };
        *lock(&self.state) = SlotState::ForClient { _slot: slot };
        true
    }

    /// Waits for a slot of the route, in the order of arrival; from `deadline` on the fetch runs without one. Returns whether it has one.
    pub(crate) async fn take(&self, deadline: Instant) -> bool {
        let Some(slot) = self.route.enter(deadline).await else { return false };
        *lock(&self.state) = SlotState::ForClient { _slot: slot };
        true
    }

    /// Occupies a slot of the route for a background refresh, and returns its deadline; `None` if no slot is free.
    pub(crate) fn take_in_background(&self) -> Option<Instant> {
        let slot = self.route.try_enter()?;
        let deadline = Instant::now() + self.slots.limits.abandoned_for;
        *lock(&self.state) = SlotState::InBackground { _slot: slot, deadline };
        Some(deadline)
    }

    /// Releases the slot of the route when the handler has answered and the client reads the body.
    pub(crate) fn leave_route(&self) {
        let mut state = lock(&self.state);
        if let SlotState::ForClient { .. } = *state {
            *state = SlotState::Free;
        }
    }

    /// Releases the slot, whatever it is.
    pub(crate) fn release(&self) {
        *lock(&self.state) = SlotState::Free;
    }

    /// Returns whether the limits allow any fetch to continue without a client.
    pub(crate) fn may_be_abandoned(&self) -> bool {
        self.slots.limits.abandoned > 0
    }

    /// Creates the counter of the bytes that this fetch buffers, in the budget of its slot.
    pub(crate) fn held_bytes(&self) -> HeldBytes {
        HeldBytes::none_of(match *lock(&self.state) {
            SlotState::Abandoned { .. } => &self.slots.abandoned_bytes,
            SlotState::Free | SlotState::ForClient { .. } | SlotState::InBackground { .. } => &self.slots.buffered,
        })
    }
}

impl FetchSlot {
    /// Moves the fetch to a slot of the abandoned fetches. Every call returns the same deadline: head and body share it.
    pub(crate) fn on_disconnect(&self) -> Option<Instant> {
        let mut state = lock(&self.state);
        if let SlotState::InBackground { deadline, .. } | SlotState::Abandoned { deadline, .. } = *state {
            return Some(deadline);
        }
        // The slot of the route is released even if no slot of the abandoned fetches is free.
        *state = SlotState::Free;
        let permit = Arc::clone(&self.slots.abandoned).try_acquire_owned().ok()?;
        let deadline = Instant::now() + self.slots.limits.abandoned_for;
        *state = SlotState::Abandoned { _permit: permit, deadline };
        Some(deadline)
    }
}

fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))
}

/// No code under such a lock panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
