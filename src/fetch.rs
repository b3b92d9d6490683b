use std::sync::Arc;

use http::{HeaderMap, Request, Response, header::CACHE_CONTROL, request, response};
use http_body::Body;
use tower_service::Service;

use crate::{
    ahead::Ahead,
    body::ResponseBody,
    cache::{Cache, Filled},
    cache_control::CacheControl,
    fill::Fill,
    hit::{Missing, answer},
    policy::{Exchange, LARDER_CACHE_CONTROL, RequestTerms, storable},
    settings::{Look, LookMethod, Settings},
    status::{CacheStatus, Forward, Reason},
    vary::Vary,
    write::invalidate_after,
};

/// A request that the handler has to answer.
pub(crate) struct Fetch {
    pub(crate) cache: Cache,
    pub(crate) settings: Arc<Settings>,
    pub(crate) look: Look,
}

impl Fetch {
    /// Runs the handler, and stores its response if it may be.
    pub(crate) async fn run<S, ReqBody, ResBody>(
        self,
        mut inner: S,
        mut parts: request::Parts,
        body: ReqBody,
        missing: Option<Missing>,
    ) -> Result<Response<ResponseBody<ResBody>>, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>>,
        ResBody: Body + Send + 'static,
        ResBody::Error: Send,
    {
        let ahead = Ahead::of(&self.settings, self.cache.space(), &mut parts).await;
        let missing = match missing {
            Some(missing) => missing,
            None => match self.look_up(&ahead).await {
                Ok(response) => return Ok(response),
                Err(missing) => missing,
            },
        };
        self.settings.rewrite(&mut parts);
        let requested = self.cache.now();
        let response = inner.call(Request::from_parts(parts, body)).await?;
        let exchange = Exchange { requested, received: self.cache.now() };
        Ok(self.receive(response, ahead, missing, exchange).await)
    }

    /// Asks a backend that has to wait; one that fails is one that has nothing.
    async fn look_up<B: Body>(&self, ahead: &Ahead) -> Result<Response<ResponseBody<B>>, Missing> {
        let known = ahead.route_tags.as_deref().unwrap_or_default();
        match self.cache.look_up(&self.settings, &self.look.key, &ahead.request, known).await {
            Ok(look_up) => answer(look_up, &self.look, self.cache.now(), self.settings.status_field),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the cache's backend failed; the handler answers");
                Err(Missing { why: Forward::UriMiss, epoch: None })
            }
        }
    }

    async fn receive<B>(
        self,
        response: Response<B>,
        ahead: Ahead,
        missing: Missing,
        exchange: Exchange,
    ) -> Response<ResponseBody<B>>
    where
        B: Body + Send + 'static,
        B::Error: Send,
    {
        let (mut parts, body) = response.into_parts();
        let invalidated = invalidate_after(&self.cache, &ahead.target, &http::Method::GET, &mut parts).await;
        let length = body.size_hint().exact();
        let plan = invalidated.and_then(|()| self.plan(&parts, ahead, missing, length, exchange));
        parts.headers.remove(LARDER_CACHE_CONTROL);
        let field = self.settings.status_field;
        let (outcome, body) = match plan {
            Ok(fill) => fill.run(body, length).await,
            Err(reason) => (Err(reason), ResponseBody::passing(body)),
        };
        let status = match outcome {
            Ok(ttl) => CacheStatus::stored(missing.why, ttl),
            Err(reason) => CacheStatus::not_stored(missing.why, reason),
        };
        status.attach(field, &mut parts);
        Response::from_parts(parts, body)
    }

    /// Decides what will be stored, or why nothing will be.
    fn plan(
        &self,
        response: &response::Parts,
        ahead: Ahead,
        missing: Missing,
        length: Option<u64>,
        exchange: Exchange,
    ) -> Result<Fill, Reason> {
        if self.look.method == LookMethod::Head {
            return Err(Reason::Head);
        }
        let vary = Vary::parse(&response.headers);
        let terms = RequestTerms { authorized: self.look.authorized, no_store: says_no_store(&ahead.request) };
        let lifetime = storable(&self.settings.store, terms, response, &vary, length, exchange)?;
        let born = missing.epoch.ok_or(Reason::Backend)?;
        let tags = ahead.all_tags(self.cache.space(), response)?;
        let key = self.look.key.clone();
        let filled = Filled { key, request: ahead.request, vary, born, tags, target_tags: ahead.target_tags };
        Ok(Fill::new(self.cache.clone(), Arc::clone(&self.settings), filled, lifetime, response))
    }
}

/// The one request directive that is always obeyed (RFC 9111 §5.2.1.5).
fn says_no_store(request: &HeaderMap) -> bool {
    request.contains_key(CACHE_CONTROL) && CacheControl::parse(request, &CACHE_CONTROL).no_store
}
