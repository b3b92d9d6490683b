//! The suite: selects the cases, and runs each on a fresh backend.

use std::{any::Any, fmt, future::Future, pin::pin, sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{
    backend_under_test::{BackendUnderTest, Claims, Hook, LocalBoxFuture},
    cases::{CASES, Case},
    report::{NotPassed, Outcome, Report, Verdict},
};
use crate::{backend::contract::Backend, fetch::catch_panic::catch_panic, key::Key, tag::Tag};

/// A run of the cases, with the declared abilities of the backend under test.
///
/// ```
/// # #[tokio::main]
/// # async fn main() {
/// use larder::{Memory, conformance::Suite};
///
/// let report = Suite::new(|| async { Memory::new(64 << 20) }).keeps_bodies_up_to(1 << 20).run().await;
/// report.assert();
/// assert!(report.skipped().any(|outcome| outcome.case() == "corrupt"));
/// # }
/// ```
#[must_use = "a suite does nothing until `run`"]
pub struct Suite<'a, B> {
    factory: Box<dyn Fn() -> LocalBoxFuture<'a, B> + 'a>,
    cases: Vec<&'static Case>,
    claims: Claims,
    limit: Duration,
    peer: Option<Hook<'a, Arc<B>, Arc<dyn Backend>>>,
    corrupt: Option<Hook<'a, (Arc<B>, Key), ()>>,
    evict: Option<Hook<'a, (Arc<B>, Tag), ()>>,
    lose_all: Option<Hook<'a, Arc<B>, ()>>,
}

impl<'a, B: Backend> Suite<'a, B> {
    /// Creates a suite of all cases, for backends that `factory` creates, each of them fresh.
    pub fn new<F: Future<Output = B> + 'a>(factory: impl Fn() -> F + 'a) -> Self {
        Self {
            factory: Box::new(move || Box::pin(factory())),
            cases: CASES.iter().collect(),
            claims: Claims { body: 64 << 10, expiry: false, locks: false, holds: false },
            limit: Duration::from_secs(60),
            peer: None,
            corrupt: None,
            evict: None,
            lose_all: None,
        }
    }

    /// Requires that bodies of up to `bytes` are stored. Default: 64 KiB. Larger bodies may be refused.
    pub fn keeps_bodies_up_to(mut self, bytes: usize) -> Self {
        self.claims.body = bytes;
        self
    }

    /// Requires that expired entries are removed within seconds. Default: they may stay.
    pub fn forgets_expired(mut self) -> Self {
        self.claims.expiry = true;
        self
    }

    /// Requires fetch locks ([`Backend::lock_fetch`]). Default: every node may fetch for itself. What two nodes do needs a
    /// [`peer`](Self::peer), too.
    pub fn locks_fetches(mut self) -> Self {
        self.claims.locks = true;
        self
    }

    /// Requires that tags are held: that the backend implements [`hold_tags`](Backend::hold_tags). Default: it need not.
    pub fn holds_tags(mut self) -> Self {
        self.claims.holds = true;
        self
    }

    /// Enables the cases with two nodes: `peer` creates a second backend on the same store, for which each invalidation of the first is
    /// effective immediately.
    pub fn peer<P: Backend, F: Future<Output = P> + 'a>(mut self, peer: impl Fn(Arc<B>) -> F + 'a) -> Self {
        self.peer = Some(Arc::new(move |backend| {
            let peer = peer(backend);
            Box::pin(async move { Arc::new(peer.await) as Arc<dyn Backend> })
        }));
        self
    }

    /// Enables the cases about corruption: `corrupt` damages the value of a key in the store, bypassing the backend, as by a flipped bit or
    /// a foreign value.
    pub fn corrupt_with<F: Future<Output = ()> + 'a>(mut self, corrupt: impl Fn(Arc<B>, Key) -> F + 'a) -> Self {
        self.corrupt = Some(Arc::new(move |(backend, key)| Box::pin(corrupt(backend, key))));
        self
    }

    /// Enables the cases about eviction: `evict` removes the record of a tag from the store, as the store may do when it is full.
    pub fn evict_with<F: Future<Output = ()> + 'a>(mut self, evict: impl Fn(Arc<B>, Tag) -> F + 'a) -> Self {
        self.evict = Some(Arc::new(move |(backend, tag)| Box::pin(evict(backend, tag))));
        self
    }

    /// Enables the cases about data loss: `lose` removes everything from the store, including its clock, as by a restart without a disk.
    pub fn lose_with<F: Future<Output = ()> + 'a>(mut self, lose: impl Fn(Arc<B>) -> F + 'a) -> Self {
        self.lose_all = Some(Arc::new(move |backend| Box::pin(lose(backend))));
        self
    }

    /// Sets how long a case may take. Default: 60 seconds.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs only the cases with these names, to investigate a failure. Default: all cases.
    ///
    /// # Panics
    /// If there is no case with such a name.
    pub fn only<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        let case = |name| CASES.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("there is no case `{name}`"));
        self.cases = names.into_iter().map(case).collect();
        self
    }

    /// Runs the cases, one after another.
    ///
    /// # Panics
    /// If called outside of a tokio runtime, or in one without timers.
    pub async fn run(self) -> Report {
        let mut outcomes = Vec::with_capacity(self.cases.len());
        for case in &self.cases {
            let verdict = self.verdict(case).await;
            outcomes.push(Outcome::new(case.name, case.rule, verdict));
        }
        Report::new(outcomes)
    }

    async fn verdict(&self, case: &Case) -> Verdict {
        let trial = pin!(async {
            let subject = self.subject().await;
            (case.run)(&subject).await
        });
        match timeout(self.limit, catch_panic(trial)).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(panic)) => Err(NotPassed::Broken(format!("the backend panicked: {}", message(&*panic)))),
            Err(_) => Err(NotPassed::Broken(format!("the case did not end within {:?}", self.limit))),
        }
    }

    async fn subject(&self) -> BackendUnderTest<'a> {
        let backend = Arc::new((self.factory)().await);
        BackendUnderTest {
            claims: self.claims,
            peer: self.peer.as_ref().map(|peer| bound(peer, &backend, |backend, ()| backend)),
            corrupt: self.corrupt.as_ref().map(|corrupt| bound(corrupt, &backend, |backend, key| (backend, key))),
            evict: self.evict.as_ref().map(|evict| bound(evict, &backend, |backend, tag| (backend, tag))),
            lose_all: self.lose_all.as_ref().map(|lose| bound(lose, &backend, |backend, ()| backend)),
            backend,
        }
    }
}

/// Binds a hook to one backend.
fn bound<'a, B, In, All, Out>(hook: &Hook<'a, All, Out>, backend: &Arc<B>, with: fn(Arc<B>, In) -> All) -> Hook<'a, In, Out>
where
    B: 'a,
    In: 'a,
    All: 'a,
    Out: 'a,
{
    let (hook, backend) = (Arc::clone(hook), Arc::clone(backend));
    Arc::new(move |input| hook(with(Arc::clone(&backend), input)))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("with a value that is not text")
}

impl<B> fmt::Debug for Suite<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite").field("claims", &self.claims).field("limit", &self.limit).finish_non_exhaustive()
    }
}
