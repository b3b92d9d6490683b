//! The requests of one layer that are repeated after an invalidation.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foldhash::quality::RandomState;
use tokio::{runtime::Handle, task::JoinSet, task_local};

use super::{removed::Removed, repeat::Repeat};
use crate::tag::Tag;

/// How many requests are kept for each that may be repeated, within these bounds. A request takes one to two KiB.
const KEPT: usize = 16;
const FEWEST: usize = 64;
const MOST: usize = 1024;

/// How many requests are repeated at once.
const AT_ONCE: usize = 4;

task_local! {
    /// Set while a request is repeated. A task that its handler spawns does not have it.
    static REPEATED_RUN: ();
}

/// Whether a request is repeated by the task that asks.
pub(super) fn is_repeated_run() -> bool {
    REPEATED_RUN.try_with(|()| ()).is_ok()
}

/// How often each key is requested, by its digest.
pub(crate) type Heat = HashMap<u64, u64>;

/// The requests of one layer whose responses are stored and shared by all.
pub(crate) struct RepeatedRequests {
    /// How many are repeated after an invalidation.
    count: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    requests: HashMap<u64, Request, RandomState>,
    /// The number of the latest one.
    latest: u64,
    /// Those that are to be repeated.
    queue: VecDeque<u64>,
    is_repeating: bool,
    /// Whether no more requests are kept.
    is_closed: bool,
}

struct Request {
    /// The digest of the key, without the fields that select a variant.
    key: u64,
    tags: Vec<Tag>,
    number: u64,
    repeat: Arc<dyn Repeat>,
}

impl RepeatedRequests {
    pub(crate) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { count, state: Mutex::default() })
    }

    /// Notes a request whose response has been stored with these tags; `variant` tells the variants of a key apart.
    pub(crate) fn note(&self, variant: u64, key: u64, tags: &[Tag], repeat: Arc<dyn Repeat>, heat: impl FnOnce() -> Heat) {
        let mut state = self.lock();
        if state.is_closed {
            return;
        }
        let most = self.count.saturating_mul(KEPT).clamp(FEWEST, MOST);
        let is_full = state.requests.len() >= most && !state.requests.contains_key(&variant);
        let forgotten = is_full.then(|| state.take_coldest(&heat()));
        state.latest += 1;
        let number = state.latest;
        let replaced = state.requests.insert(variant, Request { key, tags: tags.to_vec(), number, repeat });
        drop(state);
        drop((forgotten, replaced));
    }

    /// Repeats the hottest requests whose responses were removed.
    pub(super) fn invalidated(self: &Arc<Self>, removed: &Removed<'_>, heat: &Heat) {
        let Ok(runtime) = Handle::try_current() else { return };
        let mut state = self.lock();
        let killed = state.requests.iter().filter(|(_, request)| removed.has_any(&request.tags));
        let mut hottest: Vec<_> = killed.map(|(variant, _)| *variant).collect();
        hottest.sort_by_cached_key(|variant| std::cmp::Reverse(state.requests.get(variant).map(|request| request.rank(heat))));
        for variant in hottest.into_iter().take(self.count) {
            if !state.queue.contains(&variant) {
                state.queue.push_back(variant);
            }
        }
        let starts = !state.queue.is_empty() && !state.is_repeating;
        state.is_repeating |= starts;
        // A runtime that shuts down drops the task in `spawn`, and the task locks the state.
        drop(state);
        if starts {
            runtime.spawn(Repeating { requests: Arc::clone(self), is_done: false }.run());
        }
    }

    /// Forgets all requests, and keeps no further ones.
    pub(super) fn clear(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        let requests = std::mem::take(&mut state.requests);
        drop(state);
        // Outside of the lock: these are handlers of the application.
        drop(requests);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Request {
    /// The hottest first, and of those that are not sampled the latest.
    fn rank(&self, heat: &Heat) -> (u64, u64) {
        (heat.get(&self.key).copied().unwrap_or(0), self.number)
    }
}

impl State {
    fn take_coldest(&mut self, heat: &Heat) -> Option<Request> {
        let coldest = self.requests.iter().min_by_key(|(_, request)| request.rank(heat)).map(|(variant, _)| *variant);
        coldest.and_then(|variant| self.requests.remove(&variant))
    }

    /// The next ones to repeat; none at the end.
    fn next(&mut self) -> Vec<Arc<dyn Repeat>> {
        let count = self.queue.len().min(AT_ONCE);
        let variants: Vec<_> = self.queue.drain(..count).collect();
        variants.iter().filter_map(|variant| Some(Arc::clone(&self.requests.get(variant)?.repeat))).collect()
    }
}

/// The task that repeats requests, one for each layer: a request is never repeated twice at once.
struct Repeating {
    requests: Arc<RepeatedRequests>,
    /// Whether it has ended by itself: another task may have begun since.
    is_done: bool,
}

impl Repeating {
    async fn run(mut self) {
        while let Some(next) = self.next() {
            // A handler that panics ends its own task only.
            let repeated = |request: Arc<dyn Repeat>| REPEATED_RUN.scope((), async move { request.repeat().await });
            let mut running: JoinSet<()> = next.into_iter().map(repeated).collect();
            while running.join_next().await.is_some() {}
        }
    }

    /// The next ones to repeat. `None` at the end, after which the next invalidation begins another task.
    fn next(&mut self) -> Option<Vec<Arc<dyn Repeat>>> {
        let mut state = self.requests.lock();
        if state.queue.is_empty() {
            state.is_repeating = false;
            self.is_done = true;
            return None;
        }
        Some(state.next())
    }
}

/// A runtime that ends drops the task before its end: the next invalidation begins another one.
impl Drop for Repeating {
    fn drop(&mut self) {
        if !self.is_done {
            self.requests.lock().is_repeating = false;
        }
    }
}

impl fmt::Debug for RepeatedRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepeatedRequests").field("count", &self.count).finish_non_exhaustive()
    }
}
