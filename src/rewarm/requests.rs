//! The requests of one layer that are repeated after an invalidation.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foldhash::quality::RandomState;
use tokio::{
    runtime::Handle,
    sync::Notify,
    task::JoinSet,
    task_local,
    time::{Instant, timeout_at},
};

use super::{allowance::Allowance, removed::Removed, repeat::Repeat};
use crate::{tag::Tag, timer};

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
    /// Wakes the task that repeats requests while it waits for one that was repeated too often.
    news: Notify,
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
    allowance: Allowance,
    repeat: Arc<dyn Repeat>,
}

impl RepeatedRequests {
    pub(crate) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { count, state: Mutex::default(), news: Notify::new() })
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
        let allowance = state.requests.get(&variant).map(|present| present.allowance).unwrap_or_default();
        let replaced = state.requests.insert(variant, Request { key, tags: tags.to_vec(), number, allowance, repeat });
        drop(state);
        drop((forgotten, replaced));
    }

    /// Repeats the hottest requests whose responses were removed.
    pub(super) fn invalidated(self: &Arc<Self>, removed: &Removed<'_>, heat: &Heat) {
        let Some(runtime) = Handle::try_current().ok().filter(|_| timer::is_on()) else { return };
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
        self.news.notify_one();
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
        self.news.notify_one();
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

    /// Takes the next ones to repeat from the queue.
    fn next(&mut self, now: Instant) -> Next {
        let (mut repeats, mut later, mut earliest) = (Vec::new(), VecDeque::new(), None::<Instant>);
        while let Some(variant) = self.queue.pop_front() {
            // It may have been forgotten.
            let Some(request) = self.requests.get_mut(&variant) else { continue };
            if repeats.len() == AT_ONCE {
                later.push_back(variant);
                continue;
            }
            match request.allowance.take(now) {
                Ok(()) => repeats.push(Arc::clone(&request.repeat)),
                Err(due) => {
                    later.push_back(variant);
                    earliest = Some(earliest.map_or(due, |earliest| earliest.min(due)));
                }
            }
        }
        self.queue = later;
        match earliest {
            _ if !repeats.is_empty() => Next::Repeat(repeats),
            Some(due) => Next::WaitUntil(due),
            None => Next::End,
        }
    }
}

/// What the task does next.
enum Next {
    Repeat(Vec<Arc<dyn Repeat>>),
    /// All that are to be repeated were repeated too often, until then.
    WaitUntil(Instant),
    /// The next invalidation begins another task.
    End,
}

/// The task that repeats requests, one for each layer: a request is never repeated twice at once.
struct Repeating {
    requests: Arc<RepeatedRequests>,
    /// Whether it has ended by itself: another task may have begun since.
    is_done: bool,
}

impl Repeating {
    async fn run(mut self) {
        loop {
            match self.next() {
                Next::Repeat(next) => {
                    // A handler that panics ends its own task only.
                    let repeated = |request: Arc<dyn Repeat>| REPEATED_RUN.scope((), async move { request.repeat().await });
                    let mut running: JoinSet<()> = next.into_iter().map(repeated).collect();
                    while running.join_next().await.is_some() {}
                }
                Next::WaitUntil(due) => drop(timeout_at(due, self.requests.news.notified()).await),
                Next::End => return,
            }
        }
    }

    fn next(&mut self) -> Next {
        let mut state = self.requests.lock();
        let next = state.next(Instant::now());
        if let Next::End = next {
            state.is_repeating = false;
            self.is_done = true;
        }
        next
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
