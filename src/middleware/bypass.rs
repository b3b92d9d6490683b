//! Requests that are forwarded without the cache.

use std::{future::poll_fn, sync::Arc};

use http::{Request, Response};
use http_body::Body;

use crate::{
    body::ResponseBody,
    cache::{
        Cache,
        outage_log::{Effect, report},
    },
    fetch::inner_call::HttpService,
    handler::invalidate::Invalidate,
    http::{cache_status::CacheStatus, semantics::is_success},
    invalidation::after_response::carry_out,
    lookup::finish::finish,
    policy::{settings::Settings, storable::remove_larder_cache_control},
};

/// Forwards a request as soon as the inner service is ready.
pub(crate) async fn bypass_when_ready<S: HttpService<ReqBody>, ReqBody>(
    mut inner: S,
    request: Request<ReqBody>,
    cache: Cache,
    settings: Arc<Settings>,
    status: CacheStatus,
) -> Result<Response<ResponseBody<S::ResBody>>, S::Error> {
    poll_fn(|cx| inner.poll_ready(cx)).await?;
    let (response, invalidate) = bypassed(inner.call(request).await?, &settings, status);
    match invalidate {
        Some(invalidate) => invalidate_as_asked(cache, invalidate, response).await,
        None => Ok(response),
    }
}

/// Finishes a response that bypassed the cache; returns it with the invalidation that its handler asks for.
pub(crate) fn bypassed<B: Body>(
    response: Response<B>,
    settings: &Settings,
    status: CacheStatus,
) -> (Response<ResponseBody<B>>, Option<Invalidate>) {
    let (mut head, body) = response.into_parts();
    remove_larder_cache_control(&mut head.headers);
    finish(status, settings, &mut head);
    let invalidate = Invalidate::take(&mut head.extensions);
    (Response::from_parts(head, ResponseBody::forwarded(body)), invalidate)
}

/// Carries out the invalidation that the response to a safe request asks for.
pub(crate) async fn invalidate_as_asked<B: Body, E>(
    cache: Cache,
    invalidate: Invalidate,
    response: Response<ResponseBody<B>>,
) -> Result<Response<ResponseBody<B>>, E> {
    if is_success(response.status())
        && let Err(error) = carry_out(&cache, Vec::new(), Some(invalidate)).await
    {
        report(&error, Effect::NotInvalidated);
    }
    Ok(response)
}
