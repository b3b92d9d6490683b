//! Reads that are sent once for several callers.
//!
//! A caller can join a read until its bytes are taken to be sent, never later. So every caller receives a reply that was read after
//! its call.

use std::{
    borrow::Borrow,
    collections::HashSet,
    hash::{Hash, Hasher},
    ops::Deref,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use foldhash::fast::RandomState;
use tokio::sync::Notify;

use crate::{entry::stored::Stored, error::Error, key::Key};

/// The reads that have not been sent yet, by key.
///
/// Its owner adds and joins reads under the lock under which it takes their bytes to be sent, and [closes](Self::close) it there.
#[derive(Debug)]
pub(crate) struct JoinableReads<K, R>(HashSet<ByKey<K, R>, RandomState>);

/// A read for one of its callers.
#[derive(Debug)]
pub(crate) struct SharedRead<K, R>(Arc<State<K, R>>);

/// A read for the connection that will answer it. Its callers receive an error if it is dropped first.
#[derive(Debug)]
pub(crate) struct PendingRead<K, R>(Arc<State<K, R>>);

/// A read that has its reply.
#[derive(Debug)]
pub(crate) struct AnsweredRead<K, R>(Arc<State<K, R>>);

/// A decoded entry, and the id of the write that stored it.
#[derive(Debug, Clone)]
pub(crate) struct DecodedEntry {
    pub(crate) stored: Arc<Stored>,
    pub(crate) id: u64,
}

#[derive(Debug)]
struct State<K, R> {
    key: K,
    /// Whether the read has more than one caller.
    is_shared: AtomicBool,
    outcome: OnceLock<Result<R, Error>>,
    answered: Notify,
    /// The entry in the reply as decoded by the first of several callers. Boxed, since most reads have one caller.
    decoded: OnceLock<Box<(Key, DecodedEntry)>>,
}

impl<K: Hash + Eq, R> JoinableReads<K, R> {
    /// Joins the read of this key, if there is one.
    pub(crate) fn join(&self, key: &K) -> Option<SharedRead<K, R>> {
        let ByKey(state) = self.0.get(key)?;
        state.is_shared.store(true, Ordering::Relaxed);
        Some(SharedRead(Arc::clone(state)))
    }

    /// Adds a read of this key, for its first caller and for the connection.
    pub(crate) fn add(&mut self, key: K) -> (SharedRead<K, R>, PendingRead<K, R>) {
        let (is_shared, outcome, answered, decoded) = Default::default();
        let state = Arc::new(State { key, is_shared, outcome, answered, decoded });
        self.0.insert(ByKey(Arc::clone(&state)));
        (SharedRead(Arc::clone(&state)), PendingRead(state))
    }

    /// Forgets all reads, since they are about to be sent: later calls add reads of their own.
    pub(crate) fn close(&mut self) {
        self.0.clear();
    }
}

impl<K, R> SharedRead<K, R> {
    /// Waits for the reply.
    ///
    /// # Errors
    /// If the read failed, or was dropped without a reply.
    pub(crate) async fn answered(self) -> Result<AnsweredRead<K, R>, Error> {
        {
            // Created before the check: otherwise a notification in between would be lost.
            let answered = self.0.answered.notified();
            if self.0.outcome.get().is_none() {
                answered.await;
            }
        }
        match self.0.outcome.get() {
            Some(Ok(_)) => Ok(AnsweredRead(self.0)),
            Some(Err(error)) => Err(error.clone()),
            None => Err(dropped()),
        }
    }
}

impl<K, R> PendingRead<K, R> {
    /// Returns whether a caller still waits for the reply. Meaningful only after the read was closed to further callers.
    pub(crate) fn is_wanted(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    pub(crate) fn key(&self) -> &K {
        &self.0.key
    }

    /// Wakes all callers with this reply.
    pub(crate) fn answer(self, reply: R) {
        self.0.finish(Ok(reply));
    }

    /// Wakes all callers with this error.
    pub(crate) fn fail(self, error: Error) {
        self.0.finish(Err(error));
    }
}

impl<K, R> Drop for PendingRead<K, R> {
    fn drop(&mut self) {
        if self.0.outcome.get().is_none() {
            self.0.finish(Err(dropped()));
        }
    }
}

impl<K, R> AnsweredRead<K, R> {
    /// Returns the entry of this key, if another caller has decoded it from the reply.
    pub(crate) fn decoded(&self, key: &Key) -> Option<DecodedEntry> {
        // Reads are keyed by digests of cache keys: two cache keys may share one.
        let (of, decoded) = &**self.0.decoded.get()?;
        (of == key).then(|| decoded.clone())
    }

    /// Shares a decoded entry with the other callers, if there are any. Callers do not wait for it; the first one to finish is kept.
    pub(crate) fn memoize(&self, key: &Key, decoded: &DecodedEntry) {
        if self.0.is_shared.load(Ordering::Relaxed) {
            let _ = self.0.decoded.set(Box::new((key.clone(), decoded.clone())));
        }
    }
}

impl<K, R> Deref for AnsweredRead<K, R> {
    type Target = R;

    fn deref(&self) -> &R {
        self.0
            .outcome
            .get()
            .and_then(|outcome| outcome.as_ref().ok())
            .expect("made from a read with a reply, which never changes")
    }
}

impl<K, R> State<K, R> {
    /// The first outcome is kept.
    fn finish(&self, outcome: Result<R, Error>) {
        if self.outcome.set(outcome).is_ok() {
            self.answered.notify_waiters();
        }
    }
}

fn dropped() -> Error {
    Error::unavailable("the read was dropped before the store replied")
}

impl<K, R> Default for JoinableReads<K, R> {
    fn default() -> Self {
        Self(HashSet::default())
    }
}

/// Compares reads by their keys alone.
#[derive(Debug)]
struct ByKey<K, R>(Arc<State<K, R>>);

impl<K, R> Borrow<K> for ByKey<K, R> {
    fn borrow(&self) -> &K {
        &self.0.key
    }
}

impl<K: Hash, R> Hash for ByKey<K, R> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.key.hash(hasher);
    }
}

impl<K: PartialEq, R> PartialEq for ByKey<K, R> {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl<K: Eq, R> Eq for ByKey<K, R> {}

#[cfg(test)]
mod tests {
    use super::*;

    type Reads = JoinableReads<&'static str, u8>;

    #[tokio::test]
    async fn a_read_is_joined_until_it_is_closed() {
        let mut reads = Reads::default();
        assert!(reads.join(&"a").is_none());
        let (first, pending) = reads.add("a");
        let joined = reads.join(&"a").unwrap();
        assert!(reads.join(&"b").is_none());
        reads.close();
        assert!(reads.join(&"a").is_none(), "its bytes may have been sent");
        let (later, pending_later) = reads.add("a");
        pending.answer(1);
        pending_later.answer(2);
        assert_eq!([*first.answered().await.unwrap(), *joined.answered().await.unwrap()], [1, 1]);
        assert_eq!(*later.answered().await.unwrap(), 2);
    }

    #[tokio::test]
    async fn callers_that_wait_are_woken() {
        let mut reads = Reads::default();
        let (first, pending) = reads.add("a");
        let second = reads.join(&"a").unwrap();
        let waiting = tokio::join!(first.answered(), second.answered(), async { pending.answer(7) });
        assert_eq!([*waiting.0.unwrap(), *waiting.1.unwrap()], [7, 7]);
    }

    #[tokio::test]
    async fn a_dropped_caller_does_not_affect_the_others() {
        let mut reads = Reads::default();
        let (left, pending) = reads.add("a");
        let stays = reads.join(&"a").unwrap();
        let (alone, unwanted) = reads.add("b");
        drop((left, alone));
        reads.close();
        assert!(pending.is_wanted() && !unwanted.is_wanted());
        pending.answer(7);
        assert_eq!(*stays.answered().await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_failure_reaches_every_caller() {
        let mut reads = Reads::default();
        let (first, pending) = reads.add("a");
        let second = reads.join(&"a").unwrap();
        pending.fail(Error::unavailable("gone"));
        for caller in [first, second] {
            assert_eq!(caller.answered().await.unwrap_err().to_string(), "gone");
        }
    }

    #[tokio::test]
    async fn a_dropped_read_fails() {
        let mut reads = Reads::default();
        let (caller, pending) = reads.add("a");
        drop(pending);
        assert!(caller.answered().await.unwrap_err().is_unavailable());
    }
}
