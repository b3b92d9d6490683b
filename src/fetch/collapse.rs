//! Who fetches, and who waits for the fetch of another request or another node.

use std::{pin::pin, time::Duration};

use http::Response;
use http_body::Body;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout_at},
};

use super::context::FetchContext;
use crate::{
    backend::contract::FetchLock,
    body::ResponseBody,
    cache::{
        Cache,
        flights::{FetchOutcome, Joined, LeaderGuard},
    },
    entry::epoch::Epoch,
    http::cache_status::{Forward, Reason},
    key::Key,
    lookup::reuse::Miss,
    policy::{
        cacheable_request::{CacheableMethod, CacheableRequest},
        settings::Collapsing,
    },
};

/// The part that a request plays among those that want the same response.
pub(crate) enum Role {
    /// It fetches for all.
    Leader(FetchPermit),
    /// It fetches for itself, and stores what it gets.
    Solo,
    /// It fetches for itself, and stores nothing: others may be about to.
    Passthrough,
}

impl Role {
    /// Tells those who wait, if anybody does, how the fetch ended.
    pub(crate) fn finish(self, landing: FetchOutcome) {
        if let Self::Leader(leader) = self {
            leader.lead.finish(landing);
        }
    }
}

/// What a request is to do that nothing was found for.
pub(crate) enum Next {
    /// To fetch, at once.
    Fetch(Role),
    /// To settle what may have to be waited for: others' fetch, other nodes, or a place among the fetches that run at once.
    Wait(Epoch, Joined),
}

/// The duty to fetch for all.
#[derive(Debug)]
pub(crate) struct FetchPermit {
    lead: LeaderGuard,
    /// Given back when the fetch is over.
    _claim: Option<FetchLockGuard>,
}

impl FetchContext {
    /// The part of this request, if it need not wait: mostly nobody else fetches the same.
    pub(crate) fn join_or_lead(&self, missing: &Miss) -> Next {
        let Some(epoch) = missing.epoch.filter(|_| self.collapses(missing)) else { return Next::Fetch(Role::Solo) };
        let lead = match self.join(missing, epoch) {
            Joined::Leader(lead) if self.settings.across_nodes.is_none() => lead,
            turn => return Next::Wait(epoch, turn),
        };
        match self.place.try_take() {
            true => Next::Fetch(Role::Leader(FetchPermit { lead, _claim: None })),
            false => Next::Wait(epoch, Joined::Leader(lead)),
        }
    }

    /// Waits until somebody else's fetch has brought the answer, or until it is this request's turn to fetch.
    ///
    /// `missing` is what the request found; it is brought up to date when the request looks again.
    pub(crate) async fn wait<B: Body>(
        &self,
        missing: &mut Miss,
        mut epoch: Epoch,
        turn: Joined,
    ) -> Result<Response<ResponseBody<B>>, Role> {
        let deadline = Instant::now() + self.settings.wait_limit;
        let mut soft_deadline = self.soft_deadline(missing);
        let mut turn = Some(turn);
        loop {
            let turn = turn.take().unwrap_or_else(|| self.join(missing, epoch));
            let follow = match self.in_place_of_an_outdated(turn, missing, epoch).await {
                Joined::Leader(lead) => {
                    let waited = match self.settings.across_nodes {
                        Some(life) => self.wait_for_nodes(life, missing, &mut epoch, deadline).await,
                        None => Err(None),
                    };
                    return match waited {
                        Ok(response) => {
                            lead.finish(FetchOutcome::Stored);
                            Ok(response)
                        }
                        Err(claim) => {
                            // Without a place in the end: nobody else fetches this key, so that what it brings is stored.
                            self.place.take(deadline).await;
                            Err(Role::Leader(FetchPermit { lead, _claim: claim }))
                        }
                    };
                }
                Joined::Follower(follow) => follow,
                Joined::Outdated(_) | Joined::Full => return Err(Role::Passthrough),
            };
            let mut follow = pin!(follow);
            let mut landing = None;
            if let Some(soft_deadline) = soft_deadline.take_if(|at| *at < deadline) {
                landing = timeout_at(soft_deadline, follow.as_mut()).await.ok();
                if landing.is_none()
                    && let Some(stale) = self.stale(Reason::StaleWhileSlow).await
                {
                    return Ok(stale);
                }
            }
            let landing = match landing {
                Some(landing) => landing,
                None => timeout_at(deadline, follow).await.map_err(|_| Role::Passthrough)?,
            };
            if let Some(response) = self.answer_after(landing, missing, &mut epoch).await? {
                return Ok(response);
            }
        }
    }

    /// When a stale response will do for one that waits.
    fn soft_deadline(&self, missing: &Miss) -> Option<Instant> {
        let limit = self.settings.soft_timeout.filter(|_| missing.why == Forward::Stale)?;
        Some(Instant::now() + limit)
    }

    /// Whether this request may share a response at all, as far as that is known before there is one.
    fn collapses(&self, missing: &Miss) -> bool {
        self.settings.collapsing == Collapsing::On
            && self.look.method == CacheableMethod::Get
            && !self.look.authorized
            && !self.look.within
            // What is asked for in part, or with conditions of the client's own, brings nothing that others could use. A stored
            // response is validated for all.
            && (!self.look.selective || missing.stored.is_some())
            && !self.ahead.says_no_store()
            && self.ahead.route_tags.is_ok()
            && missing.why != Forward::Request
            && !self.cache.inner.uncacheable.contains(self.look.key.digest(), self.cache.now())
            // Waiting takes tokio's timer; under another runtime everybody fetches for themselves.
            && Handle::try_current().is_ok()
    }

    /// Joins a fetch that began at this request's epoch or later.
    fn join(&self, missing: &Miss, epoch: Epoch) -> Joined {
        self.cache.inner.flights.join(missing.key(&self.look).as_bytes(), epoch.get(), epoch.get())
    }

    /// Joins a fetch that began earlier, too, if its tags are known ahead and none of them has been invalidated since. (Should its
    /// handler add one this time, the look-up afterwards will tell.)
    async fn in_place_of_an_outdated(&self, turn: Joined, missing: &Miss, epoch: Epoch) -> Joined {
        let Joined::Outdated(began) = turn else { return turn };
        let flights = &self.cache.inner.flights;
        let key = missing.key(&self.look).as_bytes();
        if self.settings.tags_are_known_ahead()
            && self.cache.is_alive(Epoch::of(epoch.incarnation(), began), &self.ahead.known_tags()).await
        {
            let turn = flights.join(key, epoch.get(), began);
            let Joined::Outdated(_) = turn else { return turn };
        }
        flights.supersede(key, epoch.get())
    }

    /// What a fetch that has ended means for one that waited for it: an answer, a role, or to try again (`None`).
    pub(crate) async fn answer_after<B: Body>(
        &self,
        landing: FetchOutcome,
        missing: &mut Miss,
        epoch: &mut Epoch,
    ) -> Result<Option<Response<ResponseBody<B>>>, Role> {
        let lookup = self.lookup().await.ok_or(Role::Solo)?;
        let (why, seeker) = (missing.why, self.seeker());
        let response = match landing {
            FetchOutcome::Failed | FetchOutcome::ServerError if why == Forward::Stale => {
                seeker.answer_collapsed(&lookup, why).or_else(|| seeker.answer_stale(&lookup, Reason::StaleOnError))
            }
            _ => seeker.answer_collapsed(&lookup, why),
        };
        // What was brought may not be for this request: invalidated meanwhile, or another variant.
        *epoch = lookup.epoch.ok_or(Role::Solo)?;
        let stored = lookup.found.map(|(stored, _)| stored);
        *missing = Miss { why, epoch: Some(*epoch), at: lookup.at, stored };
        match landing {
            FetchOutcome::Uncacheable | FetchOutcome::ServerError if response.is_none() => Err(Role::Solo),
            _ => Ok(response),
        }
    }
}

impl Cache {
    /// Begins a fetch in the background, unless one is under way.
    pub(crate) fn lead_in_background(&self, look: &CacheableRequest, missing: &Miss) -> Option<FetchPermit> {
        Handle::try_current().ok()?;
        let lead = self.inner.flights.lead(missing.key(look).as_bytes(), missing.epoch?.get())?;
        Some(FetchPermit { lead, _claim: None })
    }
}

/// The claim to be the only node that fetches for a key; given back when the fetch is over.
#[derive(Debug)]
pub(crate) struct FetchLockGuard {
    cache: Cache,
    key: Box<Key>,
}

/// Between two looks at what another node may have stored.
const PAUSE: Duration = Duration::from_millis(20);

impl FetchContext {
    /// Waits until another node's fetch has brought the answer, or until this node may fetch: because nobody else does, the other took
    /// too long, or the store does not tell. Advisory: what is right does not depend on it.
    pub(crate) async fn wait_for_nodes<B: Body>(
        &self,
        life: Duration,
        missing: &mut Miss,
        epoch: &mut Epoch,
        deadline: Instant,
    ) -> Result<Response<ResponseBody<B>>, Option<FetchLockGuard>> {
        loop {
            let key = missing.key(&self.look).clone();
            let claim = match self.cache.inner.backend.lock_fetch(&key, life).await {
                Ok(FetchLock::Acquired) => Some(FetchLockGuard { cache: self.cache.clone(), key: Box::new(key) }),
                Ok(FetchLock::Held) if Instant::now() + PAUSE < deadline => {
                    sleep(PAUSE).await;
                    None
                }
                Ok(FetchLock::Held) | Err(_) => return Err(None),
            };
            // Also with the claim: whoever had it may have stored the answer, and given it back, since this node looked last.
            match self.answer_after(FetchOutcome::Stored, missing, epoch).await {
                Ok(Some(response)) => return Ok(response),
                Ok(None) if claim.is_some() => return Err(claim),
                Ok(None) => {}
                Err(_) => return Err(None),
            }
        }
    }
}

impl Drop for FetchLockGuard {
    fn drop(&mut self) {
        // A claim that is not given back ends by itself.
        let Ok(runtime) = Handle::try_current() else { return };
        let (cache, key) = (self.cache.clone(), self.key.clone());
        runtime.spawn(async move { cache.inner.backend.unlock_fetch(&key).await });
    }
}
