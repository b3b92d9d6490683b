//! What happens when the cache cannot answer alone.

pub(crate) mod catch_panic;
pub(crate) mod collapse;
pub(crate) mod context;
pub(crate) mod handler_run;
pub(crate) mod inner_call;
pub(crate) mod read_body;
pub(crate) mod refresh;
pub(crate) mod store_body;

use std::{pin::pin, sync::Arc};

use http::{
    Method, Request, Response,
    header::{IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE},
};
use http_body::Body;
use tokio::{runtime::Handle, time::timeout};
use tower_service::Service;
use tracing::Instrument as _;

use crate::{
    body::ResponseBody,
    cache::{
        Cache,
        detached::{Detached, until},
        places::Place,
    },
    fetch::{
        collapse::{FetchPermit, Next, Role},
        context::FetchContext,
        handler_run::HandlerRun,
        inner_call::Oneshot,
        refresh::Refresh,
    },
    http::cache_status::{CacheStatus, Forward, Reason},
    invalidation::response_tags::RequestTags,
    lookup::reuse::{Miss, Reuse, Validation, unavailable},
    policy::{
        cacheable_request::{CacheableMethod, CacheableRequest},
        settings::Settings,
    },
    router,
};

/// A request that is not answered at once.
pub(crate) struct Fetch<S, ReqBody> {
    pub(crate) cache: Cache,
    pub(crate) settings: Arc<Settings>,
    pub(crate) look: Box<CacheableRequest>,
    pub(crate) errand: Box<Oneshot<S, ReqBody>>,
}

impl<S, ReqBody, ResBody> Fetch<S, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    ReqBody: Send + 'static,
    ResBody: Body + Send + 'static,
    ResBody::Error: Send,
{
    /// Answers from a backend that has to be waited for, from another request's fetch, or from the handler. `missing` is what
    /// has been looked up already.
    pub(crate) async fn run(self, missing: Option<Miss>) -> Result<Response<ResponseBody<ResBody>>, S::Error> {
        let place = self.place();
        let (inquiry, errand) = self.look_ahead(place);
        let mut missing = match missing {
            Some(missing) => missing,
            None => match first_answer(&inquiry).await {
                Err(missing) => missing,
                Ok((response, outdated)) => {
                    if let Some(missing) = outdated
                        && let Some(leader) = inquiry.cache.lead_in_background(&inquiry.look, &missing)
                        && let Some(deadline) = inquiry.place.take_in_background()
                    {
                        tokio::spawn(until(deadline, refresh(inquiry, errand, missing, leader)).in_current_span());
                    }
                    return Ok(response);
                }
            },
        };
        let role = match inquiry.join_or_lead(&missing) {
            Next::Fetch(role) => role,
            // In a box, because it is large and seldom needed.
            Next::Wait(epoch, turn) => match Box::pin(inquiry.wait(&mut missing, epoch, turn)).await {
                Ok(response) => return Ok(response),
                Err(role) => role,
            },
        };
        answer_by_handler(inquiry, errand, missing, role).await
    }

    /// Fetches anew what has just been answered, with nobody waiting for it.
    pub(crate) fn refresh_in_background(self, missing: Miss) {
        let Some(leader) = self.cache.lead_in_background(&self.look, &missing) else { return };
        let place = self.place();
        let Some(deadline) = place.take_in_background() else { return };
        let refreshing = async move {
            let (inquiry, errand) = self.look_ahead(place);
            refresh(inquiry, errand, missing, leader).await;
        };
        tokio::spawn(until(deadline, refreshing).in_current_span());
    }

    /// Fetches anew at once, for a caller that waits until it is stored.
    async fn refresh_now(self) -> Result<Response<ResponseBody<ResBody>>, S::Error> {
        let place = self.place();
        let (inquiry, errand) = self.look_ahead(place);
        let lookup = inquiry.lookup().await;
        let (epoch, at, found) = lookup.map_or((None, None, None), |lookup| (lookup.epoch, lookup.at, lookup.found));
        let missing = Miss { why: Forward::Request, epoch, at, stored: found.map(|(stored, _)| stored) };
        let leader = if inquiry.look.within || !inquiry.place.try_take() {
            None
        } else {
            inquiry.cache.lead_in_background(&inquiry.look, &missing)
        };
        let role = leader.map_or(Role::Solo, Role::Leader);
        answer_by_handler(inquiry, errand, missing, role).await
    }

    /// Fetches past what is stored, and notes what became of it where somebody asked for that.
    pub(crate) async fn refresh_noting(self, refresh: Option<Refresh>) -> Result<Response<ResponseBody<ResBody>>, S::Error> {
        let response = self.refresh_now().await?;
        if let Some(refresh) = refresh {
            refresh.note(CacheStatus::of(&response).copied());
        }
        Ok(response)
    }

    fn place(&self) -> Place {
        self.cache.fetch_place(&self.settings, router::route(&self.errand.parts.extensions))
    }

    fn look_ahead(mut self, place: Place) -> (Arc<FetchContext>, Box<Oneshot<S, ReqBody>>) {
        let ahead = RequestTags::of(&self.settings, self.cache.space(), &mut self.errand.parts);
        let inquiry = FetchContext { cache: self.cache, settings: self.settings, look: self.look, ahead, place };
        (Arc::new(inquiry), self.errand)
    }
}

/// The answer, with what is to be fetched anew for those who come later; or what is missing.
async fn first_answer<B: Body>(inquiry: &FetchContext) -> Result<(Response<ResponseBody<B>>, Option<Miss>), Miss> {
    let Some(lookup) = inquiry.lookup().await else {
        return Err(Miss { why: Forward::UriMiss, epoch: None, at: None, stored: None });
    };
    let seeker = inquiry.seeker();
    match seeker.judge(&lookup) {
        Reuse::Serve(stored, status) => Ok((seeker.respond(stored, status), None)),
        Reuse::ServeAndRevalidate(stored, status) => {
            let response = seeker.respond(stored, status);
            Ok((response, Some(Miss::after(lookup, Forward::Stale, Validation::Possible))))
        }
        Reuse::Forward(why, validation) => Err(Miss::after(lookup, why, validation)),
        Reuse::OnlyIfCached(why) => Ok((unavailable(why), None)),
    }
}

async fn refresh<S, ReqBody, ResBody>(
    mut inquiry: Arc<FetchContext>,
    mut errand: Box<Oneshot<S, ReqBody>>,
    missing: Miss,
    leader: FetchPermit,
) where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body + Send + 'static,
    ResBody::Error: Send,
{
    // What a HEAD request would bring cannot be stored, nor a part, nor a "not modified" for somebody else's copy.
    errand.parts.method = Method::GET;
    for field in [RANGE, IF_RANGE, IF_NONE_MATCH, IF_MODIFIED_SINCE] {
        errand.parts.headers.remove(field);
    }
    if let Some(inquiry) = Arc::get_mut(&mut inquiry) {
        inquiry.look.method = CacheableMethod::Get;
    }
    let attempt = Box::new(HandlerRun { inquiry, missing, role: Role::Leader(leader) });
    drop(attempt.run(errand).await);
}

async fn answer_by_handler<S, ReqBody, ResBody>(
    inquiry: Arc<FetchContext>,
    errand: Box<Oneshot<S, ReqBody>>,
    missing: Miss,
    role: Role,
) -> Result<Response<ResponseBody<ResBody>>, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    ReqBody: Send + 'static,
    ResBody: Body + Send + 'static,
    ResBody::Error: Send,
{
    let leads = matches!(role, Role::Leader(_));
    let goes_on = leads || Handle::try_current().is_ok();
    let soft_timeout = inquiry.settings.soft_timeout.filter(|_| goes_on && missing.why == Forward::Stale);
    let attempt = Box::new(HandlerRun { inquiry: Arc::clone(&inquiry), missing, role });
    let attempt = Box::pin(attempt.run(errand));
    if !leads && soft_timeout.is_none() {
        return attempt.await;
    }
    let mut attempt = pin!(Detached::new(attempt, inquiry.clone()));
    if let Some(limit) = soft_timeout {
        if let Ok(response) = timeout(limit, attempt.as_mut()).await {
            return response;
        }
        if let Some(stale) = inquiry.stale(Reason::StaleWhileSlow).await {
            // Dropped here, the attempt goes on by itself and stores what it brings.
            return Ok(stale);
        }
    }
    attempt.await
}
