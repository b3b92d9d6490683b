//! What the result of a handler run, or of the computation of a value, depends on: tags, and the values that were read.
//!
//! A collector is set while the handler or the computation is polled. It is set on the thread, so that callees of any depth reach it, and
//! only while the future of that very run is polled: a task that the handler spawns has none, unless it runs
//! [`in_current_run`].

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    mem,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use crate::{
    clock::Timestamp,
    entry::epoch::Epoch,
    http::cache_status::Reason,
    key::revision::{NextRevision, Prefix},
    lists::IntoTags,
    tag::Tag,
};

/// Tags the response of the handler that runs now, or the value that is computed now, in addition to all other tags.
///
/// It saves functions below a handler from returning tags: the function that reads the posts of an author names them.
///
/// ```
/// async fn posts_of(author: u64) -> Vec<String> {
///     larder::add_tags(format!("author:{author}:posts"));
///     // … the query
/// #   Vec::new()
/// }
/// ```
///
/// Returns whether there is a run: `false` if no larder layer fetches the response of this handler (a write, or a request that bypasses the
/// cache), and in a task or a thread that the handler has spawned, unless it runs [`in_current_run`]. An empty tag, or one of more than
/// 256 bytes, makes that the response is not stored. Add tags before the handler returns its response: those that the stream of a body
/// adds later are not part of it.
pub fn add_tags<S>(tags: impl IntoTags<S>) -> bool {
    let Some(run) = Dependencies::current() else { return false };
    let mut names = Vec::new();
    tags.for_each_tag(|tag| names.push(Arc::from(tag)));
    run.add_names(&names);
    true
}

/// Returns a future that counts as a part of the handler run, or of the computation of a value, in which this is called, wherever it is
/// polled: the tags that it adds and the values that it reads are dependencies of that run.
///
/// It is for tasks. The handler has to wait for them: what it does not wait for is not part of its response.
///
/// ```
/// # async fn fetch() {}
/// async fn handler() {
///     let task = tokio::spawn(larder::in_current_run(fetch()));
///     // …
///     let _ = task.await;
/// }
/// ```
pub fn in_current_run<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let run = Dependencies::current();
    async move {
        let mut future = std::pin::pin!(future);
        match run {
            Some(run) => run.polled_in(future).await,
            None => future.as_mut().await,
        }
    }
}

/// The collector of one run.
#[derive(Debug)]
pub(crate) struct Dependencies {
    /// The address of the store whose entry the run makes.
    store: usize,
    /// The digest of the key of the value that is computed; `None` for a handler run.
    computes: Option<u64>,
    /// The revision for which the run fills the cache, if that is prepared only: it reads and makes the values of that revision.
    prepared: Option<NextRevision>,
    /// The run in which this one takes place. It depends on whatever this one depends on.
    outer: Option<Arc<Self>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    collected: Collected,
    is_closed: bool,
}

/// What a run depends on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Collected {
    /// Names of tags, in the namespace of the cache that stores the result.
    pub(crate) names: Vec<Arc<str>>,
    /// Tags of values, in the namespaces of their own caches.
    pub(crate) tags: Vec<Tag>,
    /// The earliest epoch at which the values are known to be valid.
    pub(crate) valid_at: Option<Epoch>,
    /// When the first of the values ceases to be fresh.
    pub(crate) fresh_until: Option<Timestamp>,
    /// Why the result must not be stored.
    pub(crate) refused: Option<Reason>,
}

/// A value that was read or computed in a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UsedValue<'v> {
    /// The address of its store.
    pub(crate) store: usize,
    pub(crate) tags: &'v [Tag],
    /// An epoch at which it was valid, by every invalidation with that epoch or an earlier one; `None` if its computation began in this run.
    pub(crate) valid_at: Option<Epoch>,
    pub(crate) fresh_until: Timestamp,
    pub(crate) is_stale: bool,
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Dependencies>>> = const { RefCell::new(None) };
}

impl Dependencies {
    /// Creates the collector of a handler run, inside the run in which it is called.
    pub(crate) fn of_handler(store: usize, prepared: Option<NextRevision>) -> Arc<Self> {
        Self::new(store, None, prepared)
    }

    /// Creates the collector of a computation of the value whose key has the digest `key`.
    pub(crate) fn of_computation(store: usize, key: u64) -> Arc<Self> {
        Self::new(store, Some(key), None)
    }

    fn new(store: usize, computes: Option<u64>, prepared: Option<NextRevision>) -> Arc<Self> {
        let outer = Self::current();
        let prepared = prepared.or_else(|| outer.as_ref()?.prepared.clone());
        Arc::new(Self { store, computes, prepared, outer, state: Mutex::default() })
    }

    /// Returns the collector of the run that is polled on this thread.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Returns whether a run is polled on this thread.
    #[inline]
    pub(crate) fn is_collecting() -> bool {
        CURRENT.with_borrow(Option::is_some)
    }

    /// Returns the beginning of keys, if this run fills the cache for a revision that is prepared only.
    #[inline]
    pub(crate) fn prepared_prefix(prefix: &Prefix) -> Option<Vec<u8>> {
        CURRENT.with_borrow(|current| current.as_ref()?.prepared.as_ref()?.prefix(prefix))
    }

    /// Returns whether the value is being computed in this run: a caller that waited for it here would wait for itself.
    pub(crate) fn is_computing(store: usize, key: u64) -> bool {
        let current = Self::current();
        let mut run = current.as_deref();
        while let Some(inner) = run {
            if inner.store == store && inner.computes == Some(key) {
                return true;
            }
            run = inner.outer.as_deref();
        }
        false
    }

    /// Returns whether a value is being computed in this run.
    pub(crate) fn is_in_computation() -> bool {
        CURRENT.with_borrow(|current| current.as_ref().is_some_and(|run| run.computes.is_some()))
    }

    /// Runs `poll` with this collector.
    pub(crate) fn enter<T>(self: &Arc<Self>, poll: impl FnOnce() -> T) -> T {
        /// Puts the previous collector back, also after a panic.
        struct Reset(Option<Arc<Dependencies>>);

        impl Drop for Reset {
            fn drop(&mut self) {
                let previous = self.0.take();
                CURRENT.with_borrow_mut(|current| *current = previous);
            }
        }

        let _reset = Reset(CURRENT.with_borrow_mut(|current| current.replace(Arc::clone(self))));
        poll()
    }

    /// Polls `future` with this collector.
    pub(crate) fn polled_in<F: Future>(self: &Arc<Self>, mut future: Pin<&mut F>) -> impl Future<Output = F::Output> {
        poll_fn(move |cx: &mut Context<'_>| -> Poll<F::Output> { self.enter(|| future.as_mut().poll(cx)) })
    }

    /// Adds tags by their names, for this run and those around it.
    pub(crate) fn add_names(&self, names: &[Arc<str>]) {
        self.each(|_, collected| collected.names.extend_from_slice(names));
    }

    /// Adds a value that was read.
    pub(crate) fn add_value(&self, value: UsedValue<'_>) {
        self.each(|run, collected| match run.store == value.store {
            true => collected.add(value),
            false => collected.refuse(Reason::OtherStore),
        });
    }

    /// Makes that nothing is stored that depends on this run.
    pub(crate) fn refuse(&self, reason: Reason) {
        self.each(|_, collected| collected.refuse(reason));
    }

    fn each(&self, add: impl Fn(&Self, &mut Collected)) {
        if self.lock().is_closed {
            warn_of_late_dependency();
        }
        let mut run = Some(self);
        while let Some(inner) = run {
            add(inner, &mut inner.lock().collected);
            run = inner.outer.as_deref();
        }
    }

    /// Returns what the run depends on, once it has ended. Called once.
    pub(crate) fn close(&self) -> Collected {
        let mut state = self.lock();
        state.is_closed = true;
        mem::take(&mut state.collected)
    }

    /// No code under the lock panics.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collected {
    fn add(&mut self, value: UsedValue<'_>) {
        self.tags.extend_from_slice(value.tags);
        self.fresh_until = Some(self.fresh_until.map_or(value.fresh_until, |until| until.min(value.fresh_until)));
        if value.is_stale {
            self.refuse(Reason::StaleValue);
        }
        match (self.valid_at, value.valid_at) {
            (Some(earliest), Some(valid_at)) if earliest <= valid_at => {}
            // Of different incarnations: one of the values is dead by now.
            (Some(earliest), Some(valid_at)) if earliest.incarnation() != valid_at.incarnation() => {
                self.refuse(Reason::Invalidated);
            }
            (_, valid_at) => self.valid_at = valid_at.or(self.valid_at),
        }
    }

    fn refuse(&mut self, reason: Reason) {
        self.refused.get_or_insert(reason);
    }

    /// Returns the epoch at which a result is born whose run began at `born`: not later than the values in it are known to be valid. Their
    /// tags are compared with it, and an invalidation that a value does not take into account must be later. The error is the reason why
    /// it must not be stored.
    pub(crate) fn born(&self, born: Epoch) -> Result<Epoch, Reason> {
        if let Some(reason) = self.refused {
            return Err(reason);
        }
        match self.valid_at {
            None => Ok(born),
            Some(valid_at) if valid_at.incarnation() != born.incarnation() => Err(Reason::Invalidated),
            Some(valid_at) => Ok(if valid_at < born { valid_at } else { born }),
        }
    }

    /// Returns until when a result is fresh: not longer than the values in it.
    pub(crate) fn fresh_until(&self, own: Timestamp, now: Timestamp) -> Result<Timestamp, Reason> {
        match self.fresh_until {
            Some(until) if until <= now => Err(Reason::StaleValue),
            Some(until) => Ok(own.min(until)),
            None => Ok(own),
        }
    }
}

/// Logs once that a tag or a value was added after the run had ended.
fn warn_of_late_dependency() {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !WARNED.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            "a tag was added, or a cached value read, after the handler had returned its response or the value was computed: it is no \
             part of it. A handler has to wait for the tasks that it spawns with `larder::in_current_run`. Logged once."
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: usize = 1;
    const LATER: Timestamp = Timestamp::from_millis(1_000);

    fn used(valid_at: Epoch) -> UsedValue<'static> {
        UsedValue { store: STORE, tags: &[], valid_at: Some(valid_at), fresh_until: LATER, is_stale: false }
    }

    fn born(values: &[Epoch], born: Epoch) -> Result<Epoch, Reason> {
        let run = Dependencies::of_handler(STORE, None);
        values.iter().for_each(|epoch| run.add_value(used(*epoch)));
        run.close().born(born)
    }

    #[test]
    fn a_result_is_born_when_its_values_were_valid_at_the_latest() {
        assert_eq!(born(&[], Epoch::new(7)), Ok(Epoch::new(7)));
        assert_eq!(born(&[Epoch::new(9)], Epoch::new(7)), Ok(Epoch::new(7)));
        assert_eq!(born(&[Epoch::new(9), Epoch::new(5), Epoch::new(6)], Epoch::new(7)), Ok(Epoch::new(5)));
    }

    #[test]
    fn epochs_of_two_incarnations_store_nothing() {
        assert_eq!(born(&[Epoch::of(1, 5)], Epoch::of(2, 3)), Err(Reason::Invalidated));
        assert_eq!(born(&[Epoch::of(1, 5), Epoch::of(2, 9)], Epoch::of(2, 9)), Err(Reason::Invalidated));
    }

    #[test]
    fn a_result_is_fresh_as_long_as_its_values() {
        let run = Dependencies::of_handler(STORE, None);
        run.add_value(used(Epoch::new(1)));
        let collected = run.close();
        assert_eq!(collected.fresh_until(Timestamp::from_millis(5_000), Timestamp::from_millis(0)), Ok(LATER));
        assert_eq!(
            collected.fresh_until(Timestamp::from_millis(500), Timestamp::from_millis(0)),
            Ok(Timestamp::from_millis(500))
        );
        assert_eq!(collected.fresh_until(Timestamp::from_millis(5_000), LATER), Err(Reason::StaleValue));
    }

    #[test]
    fn runs_around_a_run_depend_on_the_same() {
        let outer = Dependencies::of_handler(STORE, None);
        let other = outer.enter(|| Dependencies::of_computation(STORE + 1, 7));
        other.enter(|| {
            assert!(Dependencies::is_computing(STORE + 1, 7) && !Dependencies::is_computing(STORE, 7));
            add_tags("posts");
            Dependencies::current().unwrap().add_value(used(Epoch::new(3)));
        });
        assert!(!Dependencies::is_collecting());
        let (outer, other) = (outer.close(), other.close());
        assert_eq!((outer.names, other.names), (vec!["posts".into()], vec!["posts".into()]));
        assert_eq!((outer.refused, outer.valid_at), (None, Some(Epoch::new(3))));
        assert_eq!(other.refused, Some(Reason::OtherStore));
    }
}
