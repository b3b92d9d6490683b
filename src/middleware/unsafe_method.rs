//! A request with an unsafe method: it is forwarded, and invalidates on success (RFC 9111 §4.4).

use std::sync::Arc;

use http::Response;

use crate::{
    body::ResponseBody,
    cache::{Cache, work::WorkKind},
    error::Error,
    fetch::inner_call::{HttpService, Oneshot},
    http::{
        cache_status::{CacheStatus, Forward, Reason},
        semantics::is_success,
    },
    invalidation::{after_response::invalidate_after, target_uri::TargetUri},
    lookup::finish::finish,
    policy::{settings::Settings, storable::LARDER_CACHE_CONTROL},
};

/// Forwards a request that may change something, and invalidates its target before the response leaves (RFC 9111 §4.4).
pub(crate) async fn forward_and_invalidate<S: HttpService<ReqBody>, ReqBody>(
    mut call: Box<Oneshot<S, ReqBody>>,
    cache: Cache,
    settings: Arc<Settings>,
) -> Result<Response<ResponseBody<S::ResBody>>, S::Error> {
    let _unfinished = cache.inner.work.begin(WorkKind::Write);
    let target = TargetUri::of(&call.parts, settings.key.ignores_host);
    let method = call.parts.method.clone();
    let noted = cache.note_write(&mut call.parts);
    let (mut head, body) = call.run().await?.into_parts();
    let reason = match invalidate_after(&cache, &settings, &target, &method, &mut head).await {
        Ok(()) => Reason::Method,
        Err(reason) => reason,
    };
    // It has ended when what it changed is invalidated.
    match noted {
        Some(noted) if !is_success(head.status) && head.extensions.get::<Error>().is_none() => noted.failed(),
        noted => drop(noted),
    }
    head.headers.remove(LARDER_CACHE_CONTROL);
    finish(CacheStatus::not_stored(Forward::Method, reason), &settings, &mut head);
    Ok(Response::from_parts(head, ResponseBody::forwarded(body)))
}
