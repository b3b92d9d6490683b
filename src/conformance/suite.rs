//! The suite: which cases run, and on what.

use std::{any::Any, fmt, future::Future, pin::pin, sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{
    backend_under_test::{Claims, Hook, Subject, Waiting},
    cases::{CASES, Case},
    report::{Finding, Outcome, Report, Verdict},
};
use crate::{backend::contract::Backend, fetch::catch_panic::catch_panic, key::Key, tag::Tag};

/// The cases, and what is known of the backend that is to pass them.
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
#[must_use = "nothing is tried before `run`"]
pub struct Suite<'a, B> {
    factory: Box<dyn Fn() -> Waiting<'a, B> + 'a>,
    cases: Vec<&'static Case>,
    claims: Claims,
    limit: Duration,
    peer: Option<Hook<'a, Arc<B>, Arc<dyn Backend>>>,
    corrupt: Option<Hook<'a, (Arc<B>, Key), ()>>,
    evict: Option<Hook<'a, (Arc<B>, Tag), ()>>,
    lose_all: Option<Hook<'a, Arc<B>, ()>>,
}

impl<'a, B: Backend> Suite<'a, B> {
    /// The cases for the backends that `factory` makes, each of them fresh.
    pub fn new<F: Future<Output = B> + 'a>(factory: impl Fn() -> F + 'a) -> Self {
        Self {
            factory: Box::new(move || Box::pin(factory())),
            cases: CASES.iter().collect(),
            claims: Claims { body: 64 << 10, expiry: false },
            limit: Duration::from_secs(60),
            peer: None,
            corrupt: None,
            evict: None,
            lose_all: None,
        }
    }

    /// Bodies of up to so many bytes must be kept; default: 64 KiB. Larger ones may be refused.
    pub fn keeps_bodies_up_to(mut self, bytes: usize) -> Self {
        self.claims.body = bytes;
        self
    }

    /// What has expired must be forgotten, by itself and within seconds; default: it may stay.
    pub fn forgets_expired(mut self) -> Self {
        self.claims.expiry = true;
        self
    }

    /// How to make a second node on the same store as a backend, which hears at once of the other's invalidations.
    pub fn peer<P: Backend, F: Future<Output = P> + 'a>(mut self, peer: impl Fn(Arc<B>) -> F + 'a) -> Self {
        self.peer = Some(Arc::new(move |backend| {
            let peer = peer(backend);
            Box::pin(async move { Arc::new(peer.await) as Arc<dyn Backend> })
        }));
        self
    }

    /// How to damage what is stored under a key, past the backend, as a flipped bit or somebody else's value would.
    pub fn corrupt_with<F: Future<Output = ()> + 'a>(mut self, corrupt: impl Fn(Arc<B>, Key) -> F + 'a) -> Self {
        self.corrupt = Some(Arc::new(move |(backend, key)| Box::pin(corrupt(backend, key))));
        self
    }

    /// How to make the store forget what it has recorded about a tag, as it may by itself when it runs out of room.
    pub fn evict_with<F: Future<Output = ()> + 'a>(mut self, evict: impl Fn(Arc<B>, Tag) -> F + 'a) -> Self {
        self.evict = Some(Arc::new(move |(backend, tag)| Box::pin(evict(backend, tag))));
        self
    }

    /// How to make the store lose everything, its clock included, as a restart without a disk would.
    pub fn lose_with<F: Future<Output = ()> + 'a>(mut self, lose: impl Fn(Arc<B>) -> F + 'a) -> Self {
        self.lose_all = Some(Arc::new(move |backend| Box::pin(lose(backend))));
        self
    }

    /// How long a case may take; default: 60 seconds.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Tries these cases alone, by name, to look into a failure; default: all.
    ///
    /// # Panics
    /// If there is no case of such a name.
    pub fn only<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        let case = |name| CASES.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("there is no case `{name}`"));
        self.cases = names.into_iter().map(case).collect();
        self
    }

    /// Tries the cases, one after the other.
    ///
    /// # Panics
    /// If called outside of a tokio runtime, or in one whose timer is off.
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
            Ok(Err(panic)) => Err(Finding::Broken(format!("the backend panicked: {}", message(&*panic)))),
            Err(_) => Err(Finding::Broken(format!("it did not come to an end within {:?}", self.limit))),
        }
    }

    async fn subject(&self) -> Subject<'a> {
        let backend = Arc::new((self.factory)().await);
        Subject {
            claims: self.claims,
            peer: self.peer.as_ref().map(|peer| bound(peer, &backend, |backend, ()| backend)),
            corrupt: self.corrupt.as_ref().map(|corrupt| bound(corrupt, &backend, |backend, key| (backend, key))),
            evict: self.evict.as_ref().map(|evict| bound(evict, &backend, |backend, tag| (backend, tag))),
            lose_all: self.lose_all.as_ref().map(|lose| bound(lose, &backend, |backend, ()| backend)),
            backend,
        }
    }
}

/// The hook for this backend alone.
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
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("with something that is no text")
}

impl<B> fmt::Debug for Suite<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite").field("claims", &self.claims).field("limit", &self.limit).finish_non_exhaustive()
    }
}
