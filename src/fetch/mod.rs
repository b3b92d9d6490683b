//! A fetch: the steps from a miss to a response, where the cache cannot answer alone.

pub(crate) mod catch_panic;
pub(crate) mod collapse;
pub(crate) mod context;
pub(crate) mod handler_run;
mod in_span;
pub(crate) mod inner_call;
pub(crate) mod read_body;
pub(crate) mod refresh;
mod repeat;
mod run;
pub(crate) mod store_body;
mod verify;

use std::{
    pin::{Pin, pin},
    sync::Arc,
};

use http::{Extensions, Response};
use http_body::Body;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::{
    body::ResponseBody,
    cache::{
        Cache,
        detached::Detached,
        fetch_slots::FetchSlot,
        fillers::inner_type,
        outage_log::{Effect, report},
        warmed::WarmedTarget,
    },
    error::Error,
    fetch::{
        collapse::{FetchPermit, Next, Role, Waited},
        context::{BackgroundLimit, FetchContext},
        inner_call::{HttpService, Oneshot},
        refresh::{Refresh, RefreshOutcome},
        repeat::RepeatableRequest,
        run::HandlerRun,
        verify::verify_in_background,
    },
    http::{
        cache_status::{CacheStatus, Forward, Reason},
        outcome::Outcome,
    },
    invalidation::response_tags::RequestTags,
    lookup::{
        reuse::{Miss, Reuse, only_if_cached},
        variants::Lookup,
    },
    policy::{
        cacheable_request::{CacheableMethod, CacheableRequest},
        settings::Settings,
    },
    router,
    stats::{fill_result::Trigger, in_flight::Waiting},
    timer,
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
            FirstAnswer::ResponseToRevalidate(response, miss, trigger) => {
                refresh_in_background(context, call, miss, trigger);
                Ok(response)
            }
            FirstAnswer::ResponseToVerify(response, lookup) => {
                verify_in_background(context, call, lookup);
                Ok(response)
            }
            FirstAnswer::Miss(miss) => fetch(context, call, miss, Trigger::Request).await,
        }
    }

    /// Fetches after a miss: from another request's fetch, or from the handler.
    pub(crate) async fn after_miss(self, miss: Miss) -> Result<Response<ResponseBody<S::ResBody>>, S::Error> {
        let slot = self.slot();
        let (context, call) = self.into_context(slot);
        fetch(context, call, miss, Trigger::Request).await
    }

    /// Refreshes a response that has just been served; no client waits for it.
    pub(crate) fn refresh_in_background(self, miss: Miss, trigger: Trigger) {
        let slot = self.slot();
        let Some((permit, deadline)) = self.cache.begin_refresh(&self.request, &miss, &slot) else { return };
        BackgroundLimit::new(deadline, &self.settings, &slot).spawn(async move {
            let (context, call) = self.into_context(slot);
            refresh(context, call, miss, permit, trigger).await;
        });
    }

    /// Verifies a response that has just been served; no client waits for it.
    pub(crate) fn verify_in_background(self, lookup: Lookup) {
        let slot = self.slot();
        let (context, call) = self.into_context(slot);
        verify_in_background(context, call, lookup);
    }

    /// Runs the handler regardless of the stored response, which it may validate, and reports the outcome to a caller of
    /// [`Cache::refresh`]. If only gaps are to be filled, a fresh response is left as it is.
    pub(crate) async fn fetch_regardless(self, refresh: Option<Refresh>) -> Result<Response<ResponseBody<S::ResBody>>, S::Error> {
        let slot = self.slot();
        let (mut context, call) = self.into_context(slot);
        if let Some(context) = Arc::get_mut(&mut context) {
            context.prepared = refresh.as_ref().and_then(|refresh| refresh.revision.clone());
        }
        match refresh {
            Some(refresh) => fill(context, call, &refresh).await,
            None => replace(context, call, Trigger::Request).await,
        }
    }

    /// Runs the handler if no fresh response is stored; no client waits for it.
    async fn fill_gap_in_background(self) {
        let slot = self.slot();
        let (context, call) = self.into_context(slot);
        let miss = match first_answer::<S::ResBody>(&context).await {
            FirstAnswer::ResponseToRevalidate(_, miss, _) | FirstAnswer::Miss(miss) => miss,
            FirstAnswer::Response(_) | FirstAnswer::ResponseToVerify(..) => return,
        };
        let Some((permit, deadline)) = context.begin_filling(&miss).await else { return };
        context.in_background_until(deadline).run(refresh(context, call, miss, permit, Trigger::Warm)).await;
    }

    fn slot(&self) -> FetchSlot {
        self.cache.fetch_slot(&self.settings, router::route(&self.call.parts.extensions))
    }

    fn into_context(mut self, slot: FetchSlot) -> (Arc<FetchContext>, Box<Oneshot<S, ReqBody>>) {
        let route = self.cache.inner.statistics.route(self.settings.route_of(&self.call.parts));
        let tags = RequestTags::of(&self.settings, &self.cache, &mut self.call.parts);
        let inner = inner_type::<S>();
        let Self { cache, settings, request, call } = self;
        let context = FetchContext { cache, settings, request, tags, slot, repeatable: None, route, inner, prepared: None };
        (Arc::new(context), call)
    }
}

/// Keeps the request in its context, which no other task may have yet, if its layer repeats requests. It copies the request: a hit does without.
fn keep_repeatable<S: HttpService<ReqBody>, ReqBody: Send + 'static>(
    context: &mut Arc<FetchContext>,
    call: &Oneshot<S, ReqBody>,
) {
    let Some(context) = Arc::get_mut(context).filter(|context| context.settings.repeated.is_some()) else { return };
    context.repeatable = RepeatableRequest::of(&context.cache, &context.settings, &context.request, call, fill_gap);
}

/// Fills a gap with a request that is repeated.
fn fill_gap<S: HttpService<ReqBody>, ReqBody: Send + 'static>(
    cache: Cache,
    settings: Arc<Settings>,
    request: Box<CacheableRequest>,
    call: Box<Oneshot<S, ReqBody>>,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(Fetch { cache, settings, request, call }.fill_gap_in_background())
}

/// Answers a request that is to fill the cache, and reports what it has done.
async fn fill<S: HttpService<ReqBody>, ReqBody: Send + 'static>(
    mut context: Arc<FetchContext>,
    call: Box<Oneshot<S, ReqBody>>,
    refresh: &Refresh,
) -> Result<Response<ResponseBody<S::ResBody>>, S::Error> {
    let (route, began, target) = (context.route, Instant::now(), WarmedTarget::of(&call.parts));
    let response = if refresh.fills_gap() {
        match first_answer(&context).await {
            FirstAnswer::Response(response) | FirstAnswer::ResponseToVerify(response, _) => {
                let status = CacheStatus::of(&response).copied();
                refresh.report(RefreshOutcome { status, run: None });
                return Ok(response);
            }
            FirstAnswer::ResponseToRevalidate(_, miss, _) | FirstAnswer::Miss(miss) => {
                keep_repeatable(&mut context, &call);
                fetch(Arc::clone(&context), call, miss, Trigger::Warm).await?
            }
        }
    } else {
        keep_repeatable(&mut context, &call);
        replace(Arc::clone(&context), call, Trigger::Warm).await?
    };
    let status = CacheStatus::of(&response).copied();
    if status.is_some_and(|status| status.is_stored()) {
        context.cache.inner.warmed.note(target, &context.request.key);
    }
    refresh.report(RefreshOutcome { status, run: Some((route, began.elapsed())) });
    Ok(response)
}

/// Runs the handler regardless of the stored response, which it may validate.
async fn replace<S: HttpService<ReqBody>, ReqBody: Send + 'static>(
    context: Arc<FetchContext>,
    call: Box<Oneshot<S, ReqBody>>,
    trigger: Trigger,
) -> Result<Response<ResponseBody<S::ResBody>>, S::Error> {
    let miss = match context.try_lookup().await {
        Ok(lookup) => Miss::validating(lookup, Forward::Request),
        Err(error) => {
            report(&error, Effect::HandlerAnswers);
            Miss { why: Forward::Request, ..Miss::without_lookup(&error) }
        }
    };
    let permit = match context.request.nested || !context.slot.try_take() {
        true => None,
        false => context.cache.lead_in_background(&context.request, &miss),
    };
    let role = permit.map_or(Role::Solo, Role::Leader);
    answer_by_handler(context, call, miss, role, trigger).await
}

/// What makes the handler run after this response was served and is to be refreshed.
pub(crate) fn refresh_trigger(status: CacheStatus) -> Trigger {
    if status.outcome() == Outcome::Hit { Trigger::Ahead } else { Trigger::Refresh }
}

/// The result of the lookup in a backend that has to wait for a reply.
enum FirstAnswer<B: Body> {
    Response(Response<ResponseBody<B>>),
    ResponseToRevalidate(Response<ResponseBody<B>>, Miss, Trigger),
    ResponseToVerify(Response<ResponseBody<B>>, Lookup),
    Miss(Miss),
}

async fn first_answer<B: Body>(context: &FetchContext) -> FirstAnswer<B> {
    let lookup = match context.try_lookup().await {
        Ok(lookup) => lookup,
        Err(failure) => return answer_in_outage(context, &failure),
    };
    let presented = context.presented();
    match presented.reuse(&lookup) {
        Reuse::Serve(stored, status) => {
            let representation = presented.representation(stored);
            if let Some(coding) = representation.missing {
                context.cache.make_coding(&context.settings, &context.request, &lookup, coding);
            }
            FirstAnswer::Response(presented.respond_with(stored, representation, status, Extensions::new()))
        }
        Reuse::ServeAndRevalidate(stored, status) => {
            let response = presented.respond(stored, status);
            FirstAnswer::ResponseToRevalidate(response, Miss::validating(lookup, Forward::Stale), refresh_trigger(status))
        }
        Reuse::ServeAndVerify(stored, status) => {
            let response = presented.respond(stored, status);
            FirstAnswer::ResponseToVerify(response, lookup)
        }
        Reuse::Validate(why) => FirstAnswer::Miss(Miss::validating(lookup, why)),
        Reuse::Fetch(why) => FirstAnswer::Miss(Miss::fetching(lookup, why)),
        Reuse::OnlyIfCached(why) => FirstAnswer::Response(only_if_cached(why)),
    }
}

/// Answers from a near copy because the store has failed; without a fresh one, the handler answers, and nothing is stored.
fn answer_in_outage<B: Body>(context: &FetchContext, failure: &Error) -> FirstAnswer<B> {
    let mut miss = Miss::without_lookup(failure);
    if let Some(lookup) = context.lookup_in_outage(failure) {
        let presented = context.presented();
        match presented.reuse(&lookup) {
            Reuse::Serve(stored, status) | Reuse::ServeAndRevalidate(stored, status) | Reuse::ServeAndVerify(stored, status)
                if status.outcome() == Outcome::Hit =>
            {
                context.cache.inner.statistics.hit_in_outage();
                return FirstAnswer::Response(presented.respond(stored, status.in_outage()));
            }
            // It could not be refreshed. The handler is asked, and a stale copy answers if it fails.
            Reuse::Serve(..) | Reuse::ServeAndRevalidate(..) | Reuse::ServeAndVerify(..) => miss.why = Forward::Stale,
            Reuse::Validate(why) | Reuse::Fetch(why) => miss.why = why,
            Reuse::OnlyIfCached(why) => return FirstAnswer::Response(only_if_cached(why)),
        }
    }
    report(failure, Effect::HandlerAnswers);
    FirstAnswer::Miss(miss)
}

async fn fetch<S: HttpService<ReqBody>, ReqBody: Send + 'static>(
    context: Arc<FetchContext>,
    call: Box<Oneshot<S, ReqBody>>,
    mut miss: Miss,
    trigger: Trigger,
) -> Result<Response<ResponseBody<S::ResBody>>, S::Error> {
    if miss.why == Forward::UriMiss && trigger == Trigger::Request && !context.request.method.has_content() {
        context.cache.inner.warmed.missed(&context.request.key, &call.parts);
    }
    let role = match context.join_or_lead(&miss) {
        Next::Fetch(role) => role,
        // Boxed: the future is large, and most misses do not wait.
        Next::Wait(epoch, joined) => {
            let waiting = Waiting::begin(&context.cache.inner.statistics);
            let waited = Box::pin(context.wait(&mut miss, epoch, joined)).instrument(tracing::debug_span!("larder.wait")).await;
            drop(waiting);
            match waited {
                Waited::Answered(response) => return Ok(response),
                Waited::Fetch(role) => role,
            }
        }
    };
    answer_by_handler(context, call, miss, role, trigger).await
}

fn refresh_in_background<S: HttpService<ReqBody>, ReqBody: Send + 'static>(
    context: Arc<FetchContext>,
    call: Box<Oneshot<S, ReqBody>>,
    miss: Miss,
    trigger: Trigger,
) {
    if let Some((permit, deadline)) = context.cache.begin_refresh(&context.request, &miss, &context.slot) {
        context.in_background_until(deadline).spawn(refresh(context, call, miss, permit, trigger));
    }
}

async fn refresh<S: HttpService<ReqBody>, ReqBody: Send + 'static>(
    mut context: Arc<FetchContext>,
    mut call: Box<Oneshot<S, ReqBody>>,
    miss: Miss,
    permit: FetchPermit,
    trigger: Trigger,
) {
    keep_repeatable(&mut context, &call);
    call.ask_for_all();
    if let Some(context) = Arc::get_mut(&mut context) {
        if context.request.method == CacheableMethod::Head {
            context.request.method = CacheableMethod::Get;
        }
        context.tags.forget_directives();
    }
    let fill = context.fill(trigger);
    let run = HandlerRun::new(context, miss, Role::Leader(permit), fill);
    drop(run.run(call).await);
}

/// Runs the handler. A run that stores for others goes on after its client has left; one that is slower than the soft timeout goes
/// on after a stale response has been served.
async fn answer_by_handler<S: HttpService<ReqBody>, ReqBody: Send + 'static>(
    mut context: Arc<FetchContext>,
    call: Box<Oneshot<S, ReqBody>>,
    miss: Miss,
    role: Role,
    trigger: Trigger,
) -> Result<Response<ResponseBody<S::ResBody>>, S::Error> {
    keep_repeatable(&mut context, &call);
    let leads = matches!(role, Role::Leader(_));
    let may_detach = leads || timer::is_on();
    let soft_timeout = context.settings.soft_timeout.filter(|_| may_detach && miss.why == Forward::Stale);
    let fill = context.fill(trigger);
    let run = HandlerRun::new(Arc::clone(&context), miss, role, fill);
    let run = Box::pin(run.run(call));
    if !leads && soft_timeout.is_none() {
        return run.await;
    }
    let mut run = pin!(Detached::new(run, context.clone()));
    if let Some(limit) = soft_timeout {
        if let Ok(response) = timer::timeout(limit, run.as_mut()).await {
            return response;
        }
        if let Some(stale) = context.answer_stale(Reason::StaleWhileSlow).await {
            // Dropping `run` here detaches it: it stores its response in the background.
            return Ok(stale);
        }
    }
    run.await
}
