use std::{pin::pin, time::Duration};

use http::Response;
use http_body::Body;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout_at},
};

use super::context::Inquiry;
use crate::{
    backend::contract::Claim,
    body::ResponseBody,
    cache::{
        Cache,
        flights::{Landing, Lead, Turn},
    },
    entry::epoch::Epoch,
    http::cache_status::{Forward, Reason},
    key::Key,
    lookup::reuse::Missing,
    policy::{
        cacheable_request::{Look, LookMethod},
        settings::Collapsing,
    },
};

/// The part that a request plays among those that want the same response.
pub(crate) enum Role {
    /// It fetches for all.
    Leader(Leader),
    /// It fetches for itself, and stores what it gets.
    Single,
    /// It fetches for itself, and stores nothing: others may be about to.
    Bystander,
}

impl Role {
    /// Tells those who wait, if anybody does, how the fetch ended.
    pub(crate) fn land(self, landing: Landing) {
        if let Self::Leader(leader) = self {
            leader.lead.land(landing);
        }
    }
}

/// What a request is to do that nothing was found for.
pub(crate) enum FirstTurn {
    /// To fetch, at once.
    Fetch(Role),
    /// To settle what may have to be waited for: others' fetch, other nodes, or a place among the fetches that run at once.
    Wait(Epoch, Turn),
}

/// The duty to fetch for all.
#[derive(Debug)]
pub(crate) struct Leader {
    lead: Lead,
    /// Given back when the fetch is over.
    _claim: Option<Claimed>,
}

impl Inquiry {
    /// The part of this request, if it need not wait: mostly nobody else fetches the same.
    pub(crate) fn first_turn(&self, missing: &Missing) -> FirstTurn {
        let Some(epoch) = missing.epoch.filter(|_| self.collapses(missing)) else { return FirstTurn::Fetch(Role::Single) };
        let lead = match self.join(missing, epoch) {
            Turn::Lead(lead) if self.settings.across_nodes.is_none() => lead,
            turn => return FirstTurn::Wait(epoch, turn),
        };
        match self.place.try_take() {
            true => FirstTurn::Fetch(Role::Leader(Leader { lead, _claim: None })),
            false => FirstTurn::Wait(epoch, Turn::Lead(lead)),
        }
    }

    /// Waits until somebody else's fetch has brought the answer, or until it is this request's turn to fetch.
    ///
    /// `missing` is what the request found; it is brought up to date when the request looks again.
    pub(crate) async fn wait_for_turn<B: Body>(
        &self,
        missing: &mut Missing,
        mut epoch: Epoch,
        turn: Turn,
    ) -> Result<Response<ResponseBody<B>>, Role> {
        let deadline = Instant::now() + self.settings.wait_limit;
        let mut soft_deadline = self.soft_deadline(missing);
        let mut turn = Some(turn);
        loop {
            let turn = turn.take().unwrap_or_else(|| self.join(missing, epoch));
            let follow = match self.in_place_of_an_outdated(turn, missing, epoch).await {
                Turn::Lead(lead) => {
                    let waited = match self.settings.across_nodes {
                        Some(life) => self.wait_for_nodes(life, missing, &mut epoch, deadline).await,
                        None => Err(None),
                    };
                    return match waited {
                        Ok(response) => {
                            lead.land(Landing::Stored);
                            Ok(response)
                        }
                        Err(claim) => {
                            // Without a place in the end: nobody else fetches this key, so that what it brings is stored.
                            self.place.take(deadline).await;
                            Err(Role::Leader(Leader { lead, _claim: claim }))
                        }
                    };
                }
                Turn::Follow(follow) => follow,
                Turn::Outdated(_) | Turn::Full => return Err(Role::Bystander),
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
                None => timeout_at(deadline, follow).await.map_err(|_| Role::Bystander)?,
            };
            if let Some(response) = self.answer_after(landing, missing, &mut epoch).await? {
                return Ok(response);
            }
        }
    }

    /// When a stale response will do for one that waits.
    fn soft_deadline(&self, missing: &Missing) -> Option<Instant> {
        let limit = self.settings.soft_timeout.filter(|_| missing.why == Forward::Stale)?;
        Some(Instant::now() + limit)
    }

    /// Whether this request may share a response at all, as far as that is known before there is one.
    fn collapses(&self, missing: &Missing) -> bool {
        self.settings.collapsing == Collapsing::On
            && self.look.method == LookMethod::Get
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
    fn join(&self, missing: &Missing, epoch: Epoch) -> Turn {
        self.cache.inner.flights.join(missing.key(&self.look).as_bytes(), epoch.get(), epoch.get())
    }

    /// Joins a fetch that began earlier, too, if its tags are known ahead and none of them has been invalidated since. (Should its
    /// handler add one this time, the look-up afterwards will tell.)
    async fn in_place_of_an_outdated(&self, turn: Turn, missing: &Missing, epoch: Epoch) -> Turn {
        let Turn::Outdated(began) = turn else { return turn };
        let flights = &self.cache.inner.flights;
        let key = missing.key(&self.look).as_bytes();
        if self.settings.tags_are_known_ahead()
            && self.cache.is_alive(Epoch::of(epoch.incarnation(), began), &self.ahead.known_tags()).await
        {
            let turn = flights.join(key, epoch.get(), began);
            let Turn::Outdated(_) = turn else { return turn };
        }
        flights.supersede(key, epoch.get())
    }

    /// What a fetch that has ended means for one that waited for it: an answer, a role, or to try again (`None`).
    pub(crate) async fn answer_after<B: Body>(
        &self,
        landing: Landing,
        missing: &mut Missing,
        epoch: &mut Epoch,
    ) -> Result<Option<Response<ResponseBody<B>>>, Role> {
        let look_up = self.look_up().await.ok_or(Role::Single)?;
        let (why, seeker) = (missing.why, self.seeker());
        let response = match landing {
            Landing::Failed | Landing::ServerError if why == Forward::Stale => {
                seeker.answer_collapsed(&look_up, why).or_else(|| seeker.answer_stale(&look_up, Reason::StaleOnError))
            }
            _ => seeker.answer_collapsed(&look_up, why),
        };
        // What was brought may not be for this request: invalidated meanwhile, or another variant.
        *epoch = look_up.epoch.ok_or(Role::Single)?;
        let stored = look_up.found.map(|(stored, _)| stored);
        *missing = Missing { why, epoch: Some(*epoch), at: look_up.at, stored };
        match landing {
            Landing::Uncacheable | Landing::ServerError if response.is_none() => Err(Role::Single),
            _ => Ok(response),
        }
    }
}

impl Cache {
    /// Begins a fetch in the background, unless one is under way.
    pub(crate) fn lead_in_background(&self, look: &Look, missing: &Missing) -> Option<Leader> {
        Handle::try_current().ok()?;
        let lead = self.inner.flights.lead(missing.key(look).as_bytes(), missing.epoch?.get())?;
        Some(Leader { lead, _claim: None })
    }
}

/// The claim to be the only node that fetches for a key; given back when the fetch is over.
#[derive(Debug)]
pub(crate) struct Claimed {
    cache: Cache,
    key: Box<Key>,
}

/// Between two looks at what another node may have stored.
const PAUSE: Duration = Duration::from_millis(20);

impl Inquiry {
    /// Waits until another node's fetch has brought the answer, or until this node may fetch: because nobody else does, the other took
    /// too long, or the store does not tell. Advisory: what is right does not depend on it.
    pub(crate) async fn wait_for_nodes<B: Body>(
        &self,
        life: Duration,
        missing: &mut Missing,
        epoch: &mut Epoch,
        deadline: Instant,
    ) -> Result<Response<ResponseBody<B>>, Option<Claimed>> {
        loop {
            let key = missing.key(&self.look).clone();
            let claim = match self.cache.inner.backend.claim(&key, life).await {
                Ok(Claim::Granted) => Some(Claimed { cache: self.cache.clone(), key: Box::new(key) }),
                Ok(Claim::Taken) if Instant::now() + PAUSE < deadline => {
                    sleep(PAUSE).await;
                    None
                }
                Ok(Claim::Taken) | Err(_) => return Err(None),
            };
            // Also with the claim: whoever had it may have stored the answer, and given it back, since this node looked last.
            match self.answer_after(Landing::Stored, missing, epoch).await {
                Ok(Some(response)) => return Ok(response),
                Ok(None) if claim.is_some() => return Err(claim),
                Ok(None) => {}
                Err(_) => return Err(None),
            }
        }
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        // A claim that is not given back ends by itself.
        let Ok(runtime) = Handle::try_current() else { return };
        let (cache, key) = (self.cache.clone(), self.key.clone());
        runtime.spawn(async move { cache.inner.backend.release(&key).await });
    }
}
