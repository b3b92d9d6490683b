//! Requests that are forwarded without the cache.

use std::future::poll_fn;

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    body::ResponseBody,
    cache::{
        Cache,
        outage_log::{Effect, report},
    },
    handler::invalidate::Invalidate,
    http::cache_status::{CacheStatus, StatusField},
    invalidation::after_response::{carry_out, is_success},
    policy::storable::LARDER_CACHE_CONTROL,
};

/// Lets a request pass as soon as the inner service is ready.
pub(crate) async fn pass<S, ReqBody, ResBody>(
    mut inner: S,
    request: Request<ReqBody>,
    cache: Cache,
    field: StatusField,
    status: CacheStatus,
) -> Result<Response<ResponseBody<ResBody>>, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
{
    poll_fn(|cx| inner.poll_ready(cx)).await?;
    let (response, asked) = passed(inner.call(request).await?, field, status);
    match asked {
        Some(asked) => invalidate_as_asked(cache, asked, response).await,
        None => Ok(response),
    }
}

/// A response that was let pass, and what its handler asks to invalidate.
pub(crate) fn passed<B: Body>(
    response: Response<B>,
    field: StatusField,
    status: CacheStatus,
) -> (Response<ResponseBody<B>>, Option<Invalidate>) {
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(LARDER_CACHE_CONTROL);
    status.attach(field, &mut parts);
    let asked = Invalidate::take(&mut parts.extensions);
    (Response::from_parts(parts, ResponseBody::passing(body)), asked)
}

/// Carries out what the response to a safe request asks for.
pub(crate) async fn invalidate_as_asked<B: Body, E>(
    cache: Cache,
    asked: Invalidate,
    response: Response<ResponseBody<B>>,
) -> Result<Response<ResponseBody<B>>, E> {
    if is_success(response.status())
        && let Err(error) = carry_out(&cache, Vec::new(), Some(asked)).await
    {
        report(&error, Effect::NotInvalidated);
    }
    Ok(response)
}
