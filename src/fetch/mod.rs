//! A fetch: the steps from a miss to a response, where the cache cannot answer alone.

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
    Method, Response,
    header::{IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE},
};
use http_body::Body;
use tokio::{runtime::Handle, time::timeout};
use tracing::Instrument as _;

use crate::{
    body::ResponseBody,
    cache::{
        Cache,
        detached::{Detached, until},
        fetch_slots::FetchSlot,
    },
    fetch::{
        collapse::{FetchPermit, Next, Role, Waited},
        context::FetchContext,
        handler_run::HandlerRun,
        inner_call::{HttpService, Oneshot},
        refresh::Refresh,
    },
    http::cache_status::{CacheStatus, Forward, Reason},
    invalidation::response_tags::RequestTags,
    lookup::reuse::{Miss, Reuse, only_if_cached},
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
    pub(crate) request: Box<CacheableRequest>,
    pub(crate) call: Box<Oneshot<S, ReqBody>>,
}

impl<S: HttpService<ReqBody>, ReqBody: Send + 'static> Fetch<S, ReqBody> {
    /// Looks up in a backend that has to wait for a reply, and fetches after a miss.
    pub(crate) async fn after_lookup(self) -> Result<Response<ResponseBody<S::ResBody>>, S::Error> {
        let slot = self.slot();
        let (context, call) = self.into_context(slot);
        match first_answer(&context).await {
            FirstAnswer::Response(response) => Ok(response),
            FirstAnswer::ResponseToRevalidate(response, miss) => {
                refresh_in_background(context, call, miss);
                Ok(response)
            }
            FirstAnswer::Miss(miss) => fetch(context, call, miss).await,
        }
    }

    /// Fetches after a miss: from another request's fetch, or from the handler.
    pub(crate) async fn after_miss(self, miss: Miss) -> Result<Response<ResponseBody<S::ResBody>>, S::Error> {
        let slot = self.slot();
        let (context, call) = self.into_context(slot);
        fetch(context, call, miss).await
    }

    /// Refreshes a response that has just been served; no client waits for it.
    pub(crate) fn refresh_in_background(self, miss: Miss) {
        let Some(permit) = self.cache.lead_in_background(&self.request, &miss) else { return };
        let slot = self.slot();
        let Some(deadline) = slot.take_in_background() else { return };
        let refreshing = async move {
            let (context, call) = self.into_context(slot);
            refresh(context, call, miss, permit).await;
        };
        tokio::spawn(until(deadline, refreshing).in_current_span());
    }

    /// Runs the handler regardless of the stored response, which it may validate, and reports the outcome to a caller of
    /// [`Cache::refresh`].
    pub(crate) async fn fetch_regardless(self, refresh: Option<Refresh>) -> Result<Response<ResponseBody<S::ResBody>>, S::Error> {
        let slot = self.slot();
        let (context, call) = self.into_context(slot);
        let miss = match context.lookup().await {
            Some(lookup) => Miss::validating(lookup, Forward::Request),
            None => Miss { why: Forward::Request, ..Miss::without_lookup() },
        };
        let permit = match context.request.nested || !context.slot.try_take() {
            true => None,
            false => context.cache.lead_in_background(&context.request, &miss),
        };
        let role = permit.map_or(Role::Solo, Role::Leader);
        let response = answer_by_handler(context, call, miss, role).await?;
        if let Some(refresh) = refresh {
            refresh.report(CacheStatus::of(&response).copied());
        }
        Ok(response)
    }

    fn slot(&self) -> FetchSlot {
        self.cache.fetch_slot(&self.settings, router::route(&self.call.parts.extensions))
    }

    fn into_context(mut self, slot: FetchSlot) -> (Arc<FetchContext>, Box<Oneshot<S, ReqBody>>) {
        let tags = RequestTags::of(&self.settings, self.cache.space(), &mut self.call.parts);
        let context = FetchContext { cache: self.cache, settings: self.settings, request: self.request, tags, slot };
        (Arc::new(context), self.call)
    }
}

/// The result of the lookup in a backend that has to wait for a reply.
enum FirstAnswer<B: Body> {
    Response(Response<ResponseBody<B>>),
    ResponseToRevalidate(Response<ResponseBody<B>>, Miss),
    Miss(Miss),
}

async fn first_answer<B: Body>(context: &FetchContext) -> FirstAnswer<B> {
    let Some(lookup) = context.lookup().await else { return FirstAnswer::Miss(Miss::without_lookup()) };
    let presented = context.presented();
    match presented.reuse(&lookup) {
        Reuse::Serve(stored, status) => FirstAnswer::Response(presented.respond(stored, status)),
        Reuse::ServeAndRevalidate(stored, status) => {
            let response = presented.respond(stored, status);
            FirstAnswer::ResponseToRevalidate(response, Miss::validating(lookup, Forward::Stale))
        }
        Reuse::Validate(why) => FirstAnswer::Miss(Miss::validating(lookup, why)),
        Reuse::Fetch(why) => FirstAnswer::Miss(Miss::fetching(lookup, why)),
        Reuse::OnlyIfCached(why) => FirstAnswer::Response(only_if_cached(why)),
    }
}

async fn fetch<S: HttpService<ReqBody>, ReqBody: Send + 'static>(
    context: Arc<FetchContext>,
    call: Box<Oneshot<S, ReqBody>>,
    mut miss: Miss,
) -> Result<Response<ResponseBody<S::ResBody>>, S::Error> {
    let role = match context.join_or_lead(&miss) {
        Next::Fetch(role) => role,
        // Boxed: the future is large, and most misses do not wait.
        Next::Wait(epoch, joined) => match Box::pin(context.wait(&mut miss, epoch, joined)).await {
            Waited::Answered(response) => return Ok(response),
            Waited::Fetch(role) => role,
        },
    };
    answer_by_handler(context, call, miss, role).await
}

fn refresh_in_background<S: HttpService<ReqBody>, ReqBody: Send + 'static>(
    context: Arc<FetchContext>,
    call: Box<Oneshot<S, ReqBody>>,
    miss: Miss,
) {
    if let Some(permit) = context.cache.lead_in_background(&context.request, &miss)
        && let Some(deadline) = context.slot.take_in_background()
    {
        tokio::spawn(until(deadline, refresh(context, call, miss, permit)).in_current_span());
    }
}

async fn refresh<S: HttpService<ReqBody>, ReqBody>(
    mut context: Arc<FetchContext>,
    mut call: Box<Oneshot<S, ReqBody>>,
    miss: Miss,
    permit: FetchPermit,
) {
    // The response to a HEAD request, to a range or to the client's own preconditions could not be stored for all.
    call.parts.method = Method::GET;
    for field in [RANGE, IF_RANGE, IF_NONE_MATCH, IF_MODIFIED_SINCE] {
        call.parts.headers.remove(field);
    }
    if let Some(context) = Arc::get_mut(&mut context) {
        context.request.method = CacheableMethod::Get;
    }
    let run = Box::new(HandlerRun { context, miss, role: Role::Leader(permit) });
    drop(run.run(call).await);
}

/// Runs the handler. A run that stores for others goes on after its client has left; one that is slower than the soft timeout goes
/// on after a stale response has been served.
async fn answer_by_handler<S: HttpService<ReqBody>, ReqBody: Send + 'static>(
    context: Arc<FetchContext>,
    call: Box<Oneshot<S, ReqBody>>,
    miss: Miss,
    role: Role,
) -> Result<Response<ResponseBody<S::ResBody>>, S::Error> {
    let leads = matches!(role, Role::Leader(_));
    let may_detach = leads || Handle::try_current().is_ok();
    let soft_timeout = context.settings.soft_timeout.filter(|_| may_detach && miss.why == Forward::Stale);
    let run = Box::new(HandlerRun { context: Arc::clone(&context), miss, role });
    let run = Box::pin(run.run(call));
    if !leads && soft_timeout.is_none() {
        return run.await;
    }
    let mut run = pin!(Detached::new(run, context.clone()));
    if let Some(limit) = soft_timeout {
        if let Ok(response) = timeout(limit, run.as_mut()).await {
            return response;
        }
        if let Some(stale) = context.answer_stale(Reason::StaleWhileSlow).await {
            // Dropping `run` here detaches it: it stores its response in the background.
            return Ok(stale);
        }
    }
    run.await
}
