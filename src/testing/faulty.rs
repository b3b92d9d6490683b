//! A backend that fails on demand.

use std::{
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::wrap_backend::wrap_backend;
use crate::{
    backend::{
        contract::{Backend, Invalidation, PutOutcome, ReadOutcome, Receipt},
        health::Health,
    },
    entry::{epoch::Epoch, stored::Stored},
    error::Error,
    key::Key,
    tag::Tag,
};

/// A backend that fails on demand, and otherwise forwards to the backend inside.
///
/// Clones share the faults: a test keeps one clone, and gives another to the cache.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use larder::{Cache, Memory, testing::{Fault, Faulty, Operation}};
///
/// let backend = Faulty::new(Memory::new(1 << 20));
/// let cache = Cache::new(backend.clone());
///
/// backend.fail(Operation::Invalidate, Fault::Unavailable);
/// assert!(cache.invalidate_tags(["posts"]).await.unwrap_err().is_unavailable());
///
/// backend.heal();
/// assert!(cache.invalidate_tags(["posts"]).await.is_ok());
/// # }
/// ```
#[derive(Debug)]
pub struct Faulty<B: ?Sized> {
    plan: Arc<Mutex<Plan>>,
    inner: Arc<B>,
}

/// An operation of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// A lookup (`get_now` or `get`).
    Read,
    /// Storing an entry (`put`).
    Put,
    /// A check whether an entry would be valid (`is_alive`).
    IsAlive,
    /// Invalidation or expiry (`invalidate`).
    Invalidate,
}

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Has no effect and fails immediately ([`Error::is_unavailable`]).
    Unavailable,
    /// Takes effect, but its response is lost ([`Error::is_timeout`]).
    AnswerLost,
    /// Succeeds after this delay, by tokio's timer, which a test may pause.
    Slow(Duration),
    /// Has no effect and never returns.
    Hangs,
}

#[derive(Debug, Default)]
struct Plan {
    faults: [Option<Planned>; OPERATIONS],
    calls: [usize; OPERATIONS],
}

const OPERATIONS: usize = 4;

#[derive(Debug, Clone, Copy)]
struct Planned {
    fault: Fault,
    /// How often it will still fail.
    times: usize,
}

impl<B: Backend> Faulty<B> {
    /// Wraps a backend, without any faults yet.
    pub fn new(backend: B) -> Self {
        Self::shared(Arc::new(backend))
    }
}

impl<B: Backend + ?Sized> Faulty<B> {
    /// Wraps a shared backend, without any faults yet.
    pub fn shared(backend: Arc<B>) -> Self {
        Self { plan: Arc::default(), inner: backend }
    }

    /// Makes each such operation fail from now on. Replaces an earlier fault of the operation.
    pub fn fail(&self, operation: Operation, fault: Fault) {
        self.fail_times(operation, fault, usize::MAX);
    }

    /// Makes the next `times` such operations fail. Replaces an earlier fault of the operation.
    pub fn fail_times(&self, operation: Operation, fault: Fault, times: usize) {
        self.plan(|plan| plan.faults[operation as usize] = Some(Planned { fault, times }));
    }

    /// Makes all operations fail from now on, with [`Fault::Unavailable`].
    pub fn fail_all(&self) {
        let operations = [Operation::Read, Operation::Put, Operation::IsAlive, Operation::Invalidate];
        operations.into_iter().for_each(|operation| self.fail(operation, Fault::Unavailable));
    }

    /// Removes all faults.
    pub fn heal(&self) {
        self.plan(|plan| plan.faults = Default::default());
    }

    /// Returns the number of such operations so far, including failed ones.
    pub fn calls(&self, operation: Operation) -> usize {
        self.plan(|plan| plan.calls[operation as usize])
    }

    async fn run<T>(&self, operation: Operation, real: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match self.plan(|plan| plan.begin(operation)) {
            None => real.await,
            Some(Fault::Unavailable) => Err(Error::unavailable("the backend is unavailable, as requested by the test")),
            Some(Fault::AnswerLost) => {
                real.await?;
                Err(Error::timeout("the response of the backend is lost, as requested by the test"))
            }
            Some(Fault::Slow(delay)) => {
                tokio::time::sleep(delay).await;
                real.await
            }
            Some(Fault::Hangs) => pending().await,
        }
    }

    fn plan<T>(&self, with: impl FnOnce(&mut Plan) -> T) -> T {
        with(&mut self.plan.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Plan {
    /// Counts the operation, and returns its fault, if any.
    fn begin(&mut self, operation: Operation) -> Option<Fault> {
        self.calls[operation as usize] += 1;
        let planned = self.faults[operation as usize].as_mut().filter(|planned| planned.times > 0)?;
        planned.times -= 1;
        Some(planned.fault)
    }

    fn fails(&self, operation: Operation) -> bool {
        self.faults[operation as usize].is_some_and(|planned| planned.times > 0)
    }
}

wrap_backend!(Faulty {
    /// A read with a fault must go through `get`, which counts it.
    fn get_now(&self, key: &Key) -> Option<ReadOutcome> {
        if self.plan(|plan| plan.fails(Operation::Read)) {
            return None;
        }
        let read = self.inner.get_now(key)?;
        self.plan(|plan| plan.begin(Operation::Read));
        Some(read)
    }

    async fn get(&self, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        self.run(Operation::Read, self.inner.get(key, known)).await
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        self.run(Operation::Put, self.inner.put(key, stored)).await
    }

    async fn replace(&self, key: &Key, present: &Stored, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        self.run(Operation::Put, self.inner.replace(key, present, stored)).await
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        self.run(Operation::IsAlive, self.inner.is_alive(born, tags)).await
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        self.run(Operation::Invalidate, self.inner.invalidate(invalidation)).await
    }

    /// A fault of invalidations.
    async fn hold_tags(&self, tags: &[Tag], writer: u64, life: Duration) -> Result<(), Error> {
        self.run(Operation::Invalidate, self.inner.hold_tags(tags, writer, life)).await
    }

    /// A fault of invalidations.
    async fn release_tags(&self, tags: &[Tag], writer: u64) -> Result<(), Error> {
        self.run(Operation::Invalidate, self.inner.release_tags(tags, writer)).await
    }

    /// A store whose next read has a fault is not healthy; the fault is not used up.
    async fn health(&self) -> Health {
        if self.plan(|plan| plan.fails(Operation::Read)) {
            return Health::fails(Error::unavailable("a planned fault"));
        }
        self.inner.health().await
    }
});

impl<B: ?Sized> Clone for Faulty<B> {
    fn clone(&self) -> Self {
        Self { plan: Arc::clone(&self.plan), inner: Arc::clone(&self.inner) }
    }
}
