//! The latest writes, and which of them came between two moments.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use http::Method;

use crate::clock::{Clock, Timestamp};

/// The most writes that are remembered; 60 bytes each, with one capture 120.
const MOST_WRITES: usize = 512;

/// The most pairs of method and route that are told apart; writes to further routes are not remembered.
const MOST_LABELS: usize = 128;

/// The values of a route's captures, as hashes.
pub(crate) type CapturedValues = Vec<(Box<str>, u32)>;

/// What a write was: its method and its route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteName {
    pub(super) method: Box<str>,
    pub(super) route: Box<str>,
}

impl WriteName {
    /// Returns the method, such as `PUT`.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Returns the route as the router has it, such as `/posts/{id}`; the path of no route is `no route`.
    pub fn route(&self) -> &str {
        &self.route
    }
}

impl fmt::Display for WriteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.route)
    }
}

/// The latest writes of this process, in the order in which they began.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    /// Advanced when a write begins and when it ends.
    sequence: AtomicU64,
    watched: AtomicBool,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    names: Vec<WriteName>,
    recent: VecDeque<Write>,
    /// The latest end of a write that has been forgotten.
    forgotten: u64,
}

#[derive(Debug)]
struct Write {
    began: u64,
    /// `u64::MAX` while it runs.
    ended: u64,
    ended_at: Timestamp,
    name: u16,
    captures: CapturedValues,
}

impl Writes {
    /// Returns the current position in the sequence of beginnings and ends.
    pub(crate) fn moment(&self) -> u64 {
        self.sequence.load(Ordering::Acquire)
    }

    /// Lets layers of the cache note writes from now on.
    pub(crate) fn watch(&self) {
        self.watched.store(true, Ordering::Relaxed);
    }

    /// Whether anybody uses what is noted.
    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// Notes that a write begins.
    pub(crate) fn begin(
        self: &Arc<Self>,
        method: &Method,
        route: Option<&str>,
        captures: CapturedValues,
        clock: &Clock,
    ) -> RunningWrite {
        let mut log = self.lock();
        let began = self.sequence.fetch_add(1, Ordering::AcqRel) + 1;
        let name = WriteName { method: shortened(method.as_str()), route: shortened(route.unwrap_or("no route")) };
        if let Some(name) = log.name(name) {
            if log.recent.len() >= MOST_WRITES
                && let Some(oldest) = log.recent.pop_front()
            {
                log.forgotten = log.forgotten.max(if oldest.ended == u64::MAX { began } else { oldest.ended });
            }
            log.recent.push_back(Write { began, ended: u64::MAX, ended_at: clock.now(), name, captures });
        }
        drop(log);
        RunningWrite { writes: Arc::clone(self), began, clock: clock.clone() }
    }

    /// Calls `visit` with each write that may have changed something after `since`: it ended later, or it still runs. Returns whether
    /// none of them has been forgotten.
    pub(super) fn between(&self, since: u64, mut visit: impl FnMut(u16, &CapturedValues)) -> bool {
        let log = self.lock();
        for write in log.recent.iter().filter(|write| write.ended > since) {
            visit(write.name, &write.captures);
        }
        log.forgotten <= since
    }

    /// Returns the end of the latest write that `matches`, if it has ended.
    pub(super) fn latest_end(&self, matches: impl Fn(u16, &CapturedValues) -> bool) -> u64 {
        let log = self.lock();
        let ended = log.recent.iter().filter(|write| write.ended != u64::MAX && matches(write.name, &write.captures));
        ended.map(|write| write.ended).max().unwrap_or(0)
    }

    /// Returns which writes may have changed something after `since`, each once, those with one of these captures first.
    pub(crate) fn names_since(&self, since: Timestamp, captures: &CapturedValues) -> Vec<WriteName> {
        let (mut close, mut others) = (Vec::new(), Vec::new());
        let log = self.lock();
        for write in log.recent.iter().filter(|write| write.ended == u64::MAX || write.ended_at >= since) {
            let shares = write.captures.iter().any(|(_, value)| captures.iter().any(|(_, own)| own == value));
            let names = if shares { &mut close } else { &mut others };
            if !names.contains(&write.name) {
                names.push(write.name);
            }
        }
        others.retain(|name| !close.contains(name));
        close.into_iter().chain(others).filter_map(|name| log.names.get(usize::from(name)).cloned()).collect()
    }

    /// Whether a write that began before `until` still runs.
    pub(crate) fn is_running(&self, until: u64) -> bool {
        self.lock().recent.iter().any(|write| write.began <= until && write.ended == u64::MAX)
    }

    pub(super) fn name(&self, name: u16) -> Option<WriteName> {
        self.lock().names.get(usize::from(name)).cloned()
    }

    fn end(&self, began: u64, failed: bool, now: Timestamp) {
        let mut log = self.lock();
        let ended = self.sequence.fetch_add(1, Ordering::AcqRel) + 1;
        let Ok(at) = log.recent.binary_search_by_key(&began, |write| write.began) else { return };
        match log.recent.get_mut(at) {
            Some(write) if !failed => (write.ended, write.ended_at) = (ended, now),
            _ => drop(log.recent.remove(at)),
        }
    }

    /// No code under this lock panics.
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn name(&mut self, name: WriteName) -> Option<u16> {
        let at = self.names.iter().position(|known| *known == name).or_else(|| {
            let has_room = self.names.len() < MOST_LABELS;
            has_room.then(|| {
                self.names.push(name);
                self.names.len() - 1
            })
        });
        at.and_then(|at| u16::try_from(at).ok())
    }
}

/// Methods and routes are short; one that is not is of no use here.
fn shortened(text: &str) -> Box<str> {
    text.chars().take(128).collect::<String>().into()
}

/// A write that runs. Dropped before its response, it counts as one that has ended: it may have changed something.
#[derive(Debug)]
pub(crate) struct RunningWrite {
    writes: Arc<Writes>,
    began: u64,
    clock: Clock,
}

impl RunningWrite {
    /// Forgets the write: it has changed nothing.
    pub(crate) fn failed(mut self) {
        self.writes.end(self.began, true, self.clock.now());
        self.began = 0;
    }
}

impl Drop for RunningWrite {
    fn drop(&mut self) {
        if self.began > 0 {
            self.writes.end(self.began, false, self.clock.now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(writes: &Arc<Writes>, id: u32) -> RunningWrite {
        writes.begin(&Method::PUT, Some("/posts/{id}"), vec![("id".into(), id)], &Clock::default())
    }

    #[test]
    fn writes_that_ended_later_or_still_run_came_between() {
        let writes = Arc::new(Writes::default());
        drop(put(&writes, 1));
        let since = writes.moment();
        let running = put(&writes, 2);
        put(&writes, 3).failed();
        let seen = |since| {
            let mut seen = Vec::new();
            assert!(writes.between(since, |_, captures| seen.push(captures[0].1)));
            seen
        };
        assert_eq!((seen(since), seen(0), writes.is_running(writes.moment())), (vec![2], vec![1, 2], true));
        drop(running);
        assert_eq!((seen(since), seen(writes.moment()), writes.is_running(writes.moment())), (vec![2], vec![], false));
    }

    #[test]
    fn log_is_bounded_and_says_so() {
        let writes = Arc::new(Writes::default());
        for id in 0..2_000 {
            drop(put(&writes, id));
            drop(writes.begin(&Method::POST, Some(&format!("/{id}")), Vec::new(), &Clock::default()));
        }
        let log = writes.lock();
        assert_eq!((log.recent.len(), log.names.len()), (MOST_WRITES, MOST_LABELS));
        drop(log);
        assert!(!writes.between(0, |_, _| {}));
        assert!(writes.between(writes.moment(), |_, _| {}));
    }
}
