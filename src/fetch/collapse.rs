//! Collapsed forwarding: which request fetches, and which waits for the fetch of another request or another node.

use std::{
    future::Future,
    ops::ControlFlow,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Response, header::RANGE};
use http_body::Body;
use tokio::time::{Instant, timeout_at};

use super::context::FetchContext;
use crate::{
    body::ResponseBody,
    cache::{
        Cache,
        fetch_lock::{Attempt, FetchLockGuard},
        fetch_slots::FetchSlot,
        flights::{FetchOutcome, Follower, Joined, LeaderGuard},
    },
    entry::epoch::Epoch,
    http::cache_status::{Forward, Reason},
    lookup::reuse::Miss,
    policy::{
        cacheable_request::{CacheableMethod, CacheableRequest},
        settings::Collapsing,
        store_rules::Profile,
    },
    timer,
};

/// The role of a request that runs the handler.
pub(crate) enum Role {
    /// Its response is also for the requests that wait for it.
    Leader(FetchPermit),
    /// Its response is for itself, and is stored.
    Solo,
    /// Its response is for itself and is not stored, because another fetch may store one at any moment.
    Passthrough,
}

impl Role {
    /// Reports the outcome of the fetch to its followers, if it has any.
    pub(crate) fn finish(self, outcome: FetchOutcome) {
        if let Self::Leader(permit) = self {
            permit.leader.finish(outcome);
        }
    }
}

/// The next step after a miss.
pub(crate) enum Next {
    /// Run the handler.
    Fetch(Role),
    /// Wait first: for another request's fetch, for other nodes, or for a slot of the route.
    Wait(Epoch, Joined),
}

/// The next step after a wait.
pub(crate) enum Waited<B: Body> {
    Answered(Response<ResponseBody<B>>),
    Fetch(Role),
}

/// The next step of a follower.
enum Followed<B: Body> {
    Answered(Response<ResponseBody<B>>),
    Fetch(Role),
    /// Join the fetches of the key again.
    Rejoin,
}

/// The result of a further lookup by a request that waits.
enum LookedAgain<B: Body> {
    Answered(Response<ResponseBody<B>>),
    /// There is no response for this request: it has been invalidated meanwhile, or is another variant.
    NotFound,
    /// The store has failed.
    Failed,
}

/// The fetches that a request waits for: the latest, and earlier ones that take longer than the wait limit.
pub(crate) struct Fetches {
    pub(crate) followers: Vec<Follower>,
    pub(crate) deadline: Instant,
    /// One of them has failed.
    pub(crate) failed: bool,
}

impl Fetches {
    /// Waits for none yet, for `limit` at most.
    pub(crate) fn within(limit: Duration) -> Self {
        Self { followers: Vec::new(), deadline: Instant::now() + limit, failed: false }
    }
}

impl Future for Fetches {
    type Output = FetchOutcome;

    /// Returns the first outcome; a fetch that has failed is ignored while others run.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<FetchOutcome> {
        let mut index = 0;
        while index < self.followers.len() {
            match Pin::new(&mut self.followers[index]).poll(cx) {
                Poll::Ready(FetchOutcome::Failed) if self.followers.len() > 1 => {
                    self.failed = true;
                    drop(self.followers.remove(index));
                }
                Poll::Ready(outcome) => {
                    drop(self.followers.remove(index));
                    return Poll::Ready(outcome);
                }
                Poll::Pending => index += 1,
            }
        }
        Poll::Pending
    }
}

/// The next step of a leader that had to agree with other nodes.
enum Agreed<B: Body> {
    Answered(Response<ResponseBody<B>>),
    /// Run the handler, with the fetch lock if the store has given it.
    Fetch(Option<FetchLockGuard>),
}

/// The right to fetch for all followers.
#[derive(Debug)]
pub(crate) struct FetchPermit {
    leader: LeaderGuard,
    /// Released when the fetch has ended.
    _lock: Option<FetchLockGuard>,
}

impl FetchContext {
    /// Joins the requests for the same key; the common case, in which no other request fetches it, does not wait.
    pub(crate) fn join_or_lead(&self, miss: &Miss) -> Next {
        let Some(epoch) = miss.epoch.filter(|_| self.collapses(miss)) else { return Next::Fetch(Role::Solo) };
        let leader = match self.join(miss, epoch) {
            Joined::Leader(leader) if self.settings.across_nodes.is_none() => leader,
            joined => return Next::Wait(epoch, joined),
        };
        match self.slot.try_take() {
            true => Next::Fetch(Role::Leader(FetchPermit { leader, _lock: None })),
            false => Next::Wait(epoch, Joined::Leader(leader)),
        }
    }

    /// Waits until another fetch has stored the response, or until this request may fetch.
    ///
    /// After each `wait_limit` without an outcome, one of the waiting requests runs the handler as well, and the others wait for
    /// either run. Once a fetch has failed, a request does not extend its wait: at its present deadline it fetches for itself, and stores
    /// nothing.
    ///
    /// Each further lookup updates `miss`.
    pub(crate) async fn wait<B: Body>(&self, miss: &mut Miss, mut epoch: Epoch, joined: Joined) -> Waited<B> {
        let mut fetches = Fetches::within(self.settings.wait_limit);
        let mut soft_deadline = self.soft_deadline(miss);
        let mut joined = Some(joined);
        loop {
            let joined = match joined.take() {
                Some(joined) => joined,
                None => self.join(miss, epoch),
            };
            match self.join_older(joined, miss, epoch).await {
                Joined::Leader(leader) => return self.lead(leader, miss, epoch, fetches.deadline).await,
                Joined::Follower(follower) => fetches.followers.push(follower),
                Joined::Outdated(_) | Joined::Full => return Waited::Fetch(Role::Passthrough),
            }
            match self.follow(&mut fetches, miss, &mut epoch, soft_deadline.take()).await {
                Followed::Answered(response) => return Waited::Answered(response),
                Followed::Fetch(role) => return Waited::Fetch(role),
                Followed::Rejoin => {}
            }
        }
    }

    /// Waits until this leader may run the handler: until other nodes agree, and until a slot of the route is free.
    async fn lead<B: Body>(&self, leader: LeaderGuard, miss: &mut Miss, mut epoch: Epoch, deadline: Instant) -> Waited<B> {
        let agreed = match self.settings.across_nodes {
            Some(lifetime) => self.agree_with_nodes(lifetime, miss, &mut epoch, deadline).await,
            None => Agreed::Fetch(None),
        };
        match agreed {
            Agreed::Answered(response) => {
                leader.finish(FetchOutcome::Stored);
                Waited::Answered(response)
            }
            Agreed::Fetch(lock) => Waited::Fetch(self.leader_role(leader, lock, deadline).await),
        }
    }

    /// Waits for a slot of the route until `deadline`. From then on it fetches without a slot: its response is stored, and others wait for
    /// it.
    async fn leader_role(&self, leader: LeaderGuard, lock: Option<FetchLockGuard>, deadline: Instant) -> Role {
        if !self.slot.take(deadline).await {
            self.settings.warn_once(self.slot.path(), "max_fetches", |route| {
                tracing::warn!(
                    route,
                    "more handlers ran at once on the route `{route}` than `Cache::with_max_fetches` allows: fetches waited for \
                     `CacheLayer::wait_limit`, and then ran without a limit. Logged once a route."
                );
            });
        }
        Role::Leader(FetchPermit { leader, _lock: lock })
    }

    /// Waits for the first outcome of `fetches`; from the soft deadline on, a stale response is an answer.
    async fn follow<B: Body>(
        &self,
        fetches: &mut Fetches,
        miss: &mut Miss,
        epoch: &mut Epoch,
        soft_deadline: Option<Instant>,
    ) -> Followed<B> {
        let mut outcome = None;
        if let Some(soft_deadline) = soft_deadline.filter(|soft| *soft < fetches.deadline) {
            outcome = timeout_at(soft_deadline, &mut *fetches).await.ok();
            if outcome.is_none()
                && let Some(stale) = self.answer_stale(Reason::StaleWhileSlow).await
            {
                return Followed::Answered(stale);
            }
        }
        loop {
            let outcome = match outcome.take() {
                Some(outcome) => Some(outcome),
                None => timeout_at(fetches.deadline, &mut *fetches).await.ok(),
            };
            match outcome {
                Some(outcome) => {
                    fetches.failed |= outcome == FetchOutcome::Failed;
                    return self.answer_after(outcome, miss, epoch).await;
                }
                None if fetches.failed => return Followed::Fetch(Role::Passthrough),
                None => {
                    if let ControlFlow::Break(next) = self.overtake(fetches, miss, epoch).await {
                        return next;
                    }
                }
            }
        }
    }

    /// Runs the handler beside a fetch that takes longer than the wait limit, or waits for another request that has begun to.
    async fn overtake<B: Body>(&self, fetches: &mut Fetches, miss: &mut Miss, epoch: &mut Epoch) -> ControlFlow<Followed<B>> {
        // The lookup brings the epoch up to date: the new run begins now.
        match self.look_again(miss, epoch, false).await {
            LookedAgain::Answered(response) => return ControlFlow::Break(Followed::Answered(response)),
            LookedAgain::Failed => return ControlFlow::Break(Followed::Fetch(Role::Solo)),
            LookedAgain::NotFound => {}
        }
        fetches.deadline = Instant::now() + self.settings.wait_limit;
        let Some(latest) = fetches.followers.last() else { return ControlFlow::Break(Followed::Rejoin) };
        ControlFlow::Break(match self.cache.inner.flights.overtake(miss.key(&self.request).as_bytes(), *epoch, latest) {
            Some(Joined::Leader(leader)) => Followed::Fetch(self.leader_role(leader, None, fetches.deadline).await),
            Some(Joined::Follower(follower)) => {
                fetches.followers.push(follower);
                return ControlFlow::Continue(());
            }
            Some(Joined::Outdated(_) | Joined::Full) => Followed::Fetch(Role::Passthrough),
            None => Followed::Rejoin,
        })
    }

    /// The instant from which a stale response is an answer to a request that waits.
    fn soft_deadline(&self, miss: &Miss) -> Option<Instant> {
        let limit = self.settings.soft_timeout.filter(|_| miss.why == Forward::Stale)?;
        Some(Instant::now() + limit)
    }

    /// Whether this request may share a response, as far as that is known before there is one.
    fn collapses(&self, miss: &Miss) -> bool {
        self.settings.collapsing == Collapsing::On
            && self.request.method != CacheableMethod::Head
            && !self.request.authorized
            && !self.request.nested
            && (!self.request.conditional || self.has_answer_for_all(miss))
            && !self.tags.no_store
            && self.tags.route_tags.is_ok()
            && miss.why != Forward::Request
            && !self.cache.inner.uncacheable.contains(self.request.key.digest(), self.cache.now())
            // Waiting needs tokio's timer; where it is off, or under another runtime, each request fetches for itself.
            && timer::is_on()
    }

    /// Whether the response to this request, which has preconditions or a range, is of use to others: if there is a stored response, the
    /// fetch validates that one; otherwise the safe profile asks without the client's conditions. A range is asked for as it is.
    pub(crate) fn has_answer_for_all(&self, miss: &Miss) -> bool {
        let is_part = self.tags.headers.contains_key(RANGE);
        miss.stored.is_some() || (self.settings.store.profile == Profile::Safe && !is_part)
    }

    /// Joins a fetch that began at this request's epoch or later.
    fn join(&self, miss: &Miss, epoch: Epoch) -> Joined {
        self.cache.inner.flights.join(miss.key(&self.request).as_bytes(), epoch, epoch)
    }

    /// Joins a fetch that began at an earlier epoch, if its tags are known and none of them has been invalidated since. (If the
    /// handler adds a tag this time, the lookup after the fetch notices.)
    async fn join_older(&self, joined: Joined, miss: &Miss, epoch: Epoch) -> Joined {
        let Joined::Outdated(began) = joined else { return joined };
        let flights = &self.cache.inner.flights;
        let key = miss.key(&self.request).as_bytes();
        if self.settings.tags_are_known_ahead() && self.cache.is_alive(began, &self.tags.known_tags()).await {
            let joined = flights.join(key, epoch, began);
            let Joined::Outdated(_) = joined else { return joined };
        }
        flights.supersede(key, epoch)
    }

    /// The next step after a fetch that has ended.
    async fn answer_after<B: Body>(&self, outcome: FetchOutcome, miss: &mut Miss, epoch: &mut Epoch) -> Followed<B> {
        let failed = matches!(outcome, FetchOutcome::Failed | FetchOutcome::ServerError);
        match self.look_again(miss, epoch, failed).await {
            LookedAgain::Answered(response) => Followed::Answered(response),
            LookedAgain::Failed => Followed::Fetch(Role::Solo),
            LookedAgain::NotFound => match outcome {
                FetchOutcome::Uncacheable | FetchOutcome::ServerError => Followed::Fetch(Role::Solo),
                FetchOutcome::Stored | FetchOutcome::Failed => Followed::Rejoin,
            },
        }
    }

    /// Looks up what another fetch has stored, and brings `miss` and `epoch` up to date. If that fetch has failed, a stale response
    /// is an answer, too.
    async fn look_again<B: Body>(&self, miss: &mut Miss, epoch: &mut Epoch, failed: bool) -> LookedAgain<B> {
        let Some(lookup) = self.lookup().await else { return LookedAgain::Failed };
        let (why, presented) = (miss.why, self.presented());
        let response = presented.answer_collapsed(&lookup, why).or_else(|| match why {
            Forward::Stale if failed => presented.answer_stale(&lookup, Reason::StaleOnError),
            _ => None,
        });
        if let Some(response) = response {
            return LookedAgain::Answered(response);
        }
        let Some(now) = lookup.epoch else { return LookedAgain::Failed };
        *epoch = now;
        *miss = Miss::validating(lookup, why);
        LookedAgain::NotFound
    }
}

impl FetchContext {
    /// Begins to fill a gap in the background, and returns the deadline, under the conditions of [`Cache::begin_refresh`]; but a fetch of this key
    /// whose response cannot be used any more, because it began before an invalidation, does not stand in the way.
    pub(crate) async fn begin_filling(&self, miss: &Miss) -> Option<(FetchPermit, Instant)> {
        let epoch = miss.epoch.filter(|_| !self.cache.inner.work.is_draining() && timer::is_on())?;
        let joined = self.join(miss, epoch);
        let Joined::Leader(leader) = self.join_older(joined, miss, epoch).await else { return None };
        Some((FetchPermit { leader, _lock: None }, self.slot.take_in_background()?))
    }
}

impl Cache {
    /// Begins a background refresh, and returns its deadline; `None` if this key is being fetched, the route has no free slot, or the
    /// cache is being drained.
    pub(crate) fn begin_refresh(
        &self,
        request: &CacheableRequest,
        miss: &Miss,
        slot: &FetchSlot,
    ) -> Option<(FetchPermit, Instant)> {
        if self.inner.work.is_draining() {
            return None;
        }
        let permit = self.lead_in_background(request, miss)?;
        Some((permit, slot.take_in_background()?))
    }

    /// Begins a fetch in the background, unless this key is being fetched.
    pub(crate) fn lead_in_background(&self, request: &CacheableRequest, miss: &Miss) -> Option<FetchPermit> {
        if !timer::is_on() {
            return None;
        }
        let leader = self.inner.flights.lead(miss.key(request).as_bytes(), miss.epoch?)?;
        Some(FetchPermit { leader, _lock: None })
    }
}

impl FetchContext {
    /// Waits until another node's fetch has stored the response, or until this node may fetch: it has acquired the lock, the other
    /// node took too long, or the store failed. Advisory: correctness does not depend on the lock.
    async fn agree_with_nodes<B: Body>(
        &self,
        lifetime: Duration,
        miss: &mut Miss,
        epoch: &mut Epoch,
        deadline: Instant,
    ) -> Agreed<B> {
        loop {
            let lock = match self.cache.try_lock_fetch(miss.key(&self.request).clone(), lifetime, deadline).await {
                Attempt::Acquired(lock) => Some(lock),
                Attempt::Waited => None,
                Attempt::GivenUp => return Agreed::Fetch(None),
            };
            // Look again even when the lock was acquired: its previous holder may have stored the response.
            match self.look_again(miss, epoch, false).await {
                LookedAgain::Answered(response) => return Agreed::Answered(response),
                LookedAgain::NotFound if lock.is_some() => return Agreed::Fetch(lock),
                LookedAgain::NotFound => {}
                LookedAgain::Failed => return Agreed::Fetch(None),
            }
        }
    }
}
