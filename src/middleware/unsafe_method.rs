//! A request with an unsafe method: it is forwarded, and invalidates on success (RFC 9111 §4.4).

use std::sync::Arc;

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    body::ResponseBody,
    cache::Cache,
    fetch::inner_call::Oneshot,
    http::cache_status::{CacheStatus, Forward, Reason},
    invalidation::{after_response::invalidate_after, target_uri::TargetUri},
    policy::{settings::Settings, storable::LARDER_CACHE_CONTROL},
};

/// Lets a request that may change something through, and invalidates what it changed before its response leaves
/// (RFC 9111 §4.4).
pub(crate) async fn forward_and_invalidate<S, ReqBody, ResBody>(
    errand: Box<Oneshot<S, ReqBody>>,
    cache: Cache,
    settings: Arc<Settings>,
) -> Result<Response<ResponseBody<ResBody>>, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
{
    let target = TargetUri::of(&errand.parts);
    let method = errand.parts.method.clone();
    let (mut parts, body) = errand.run().await?.into_parts();
    let reason = match invalidate_after(&cache, &target, &method, &mut parts).await {
        Ok(()) => Reason::Method,
        Err(reason) => reason,
    };
    parts.headers.remove(LARDER_CACHE_CONTROL);
    CacheStatus::not_stored(Forward::Method, reason).attach(settings.status_field, &mut parts);
    Ok(Response::from_parts(parts, ResponseBody::passing(body)))
}
