//! A request with an unsafe method: it is forwarded, and invalidates on success (RFC 9111 §4.4).

use std::sync::Arc;

use http::Response;

use crate::{
    body::ResponseBody,
    cache::Cache,
    fetch::inner_call::{HttpService, Oneshot},
    http::cache_status::{CacheStatus, Forward, Reason},
    invalidation::{after_response::invalidate_after, target_uri::TargetUri},
    lookup::finish::finish,
    policy::{settings::Settings, storable::LARDER_CACHE_CONTROL},
};

/// Forwards a request that may change something, and invalidates its target before the response leaves (RFC 9111 §4.4).
pub(crate) async fn forward_and_invalidate<S: HttpService<ReqBody>, ReqBody>(
    call: Box<Oneshot<S, ReqBody>>,
    cache: Cache,
    settings: Arc<Settings>,
) -> Result<Response<ResponseBody<S::ResBody>>, S::Error> {
    let target = TargetUri::of(&call.parts);
    let method = call.parts.method.clone();
    let (mut head, body) = call.run().await?.into_parts();
    let reason = match invalidate_after(&cache, &target, &method, &mut head).await {
        Ok(()) => Reason::Method,
        Err(reason) => reason,
    };
    head.headers.remove(LARDER_CACHE_CONTROL);
    finish(CacheStatus::not_stored(Forward::Method, reason), &settings, &mut head);
    Ok(Response::from_parts(head, ResponseBody::forwarded(body)))
}
