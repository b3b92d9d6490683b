//! A request with an unsafe method: it is forwarded, and invalidates on success (RFC 9111 §4.4).

use std::sync::Arc;

use http::Response;

use crate::{
    body::ResponseBody,
    cache::{Cache, work::WorkKind},
    error::Error,
    fetch::inner_call::{HttpService, Oneshot},
    handler::invalidate::NothingImplied,
    http::{
        cache_status::{CacheStatus, Forward, Reason},
        semantics::is_success,
    },
    invalidation::{after_response::invalidate_after, target_uri::TargetUri},
    lookup::finish::finish,
    policy::{cacheable_request::CacheableMethod, effect::Effect, settings::Settings, storable::remove_larder_cache_control},
};

/// Why a request is forwarded that may change something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forwarded {
    pub(crate) why: Forward,
    pub(crate) reason: Reason,
    pub(crate) effect: Effect,
}

/// Forwards a request that may change something, and invalidates its target before the response leaves (RFC 9111 §4.4).
pub(crate) async fn forward_and_invalidate<S: HttpService<ReqBody>, ReqBody>(
    mut call: Box<Oneshot<S, ReqBody>>,
    cache: Cache,
    settings: Arc<Settings>,
    Forwarded { why, reason, effect }: Forwarded,
) -> Result<Response<ResponseBody<S::ResBody>>, S::Error> {
    let _unfinished = cache.inner.work.begin(WorkKind::Write);
    let target = TargetUri::of(&call.parts, settings.key.ignores_host);
    let method = call.parts.method.clone();
    let noted = cache.note_write(&mut call.parts);
    let (mut head, body) = call.run().await?.into_parts();
    let read = effect == Effect::ByResponse && !settings.was_write(CacheableMethod::Post, &head, cache.now());
    if read {
        NothingImplied::mark(&mut head.extensions);
    }
    let failure = invalidate_after(&cache, &settings, &target, &method, &mut head).await.err();
    let reason = failure.unwrap_or(reason);
    // It has ended when what it changed is invalidated.
    match noted {
        Some(noted) if read => noted.failed(),
        Some(noted) if !is_success(head.status) && head.extensions.get::<Error>().is_none() => noted.failed(),
        noted => drop(noted),
    }
    remove_larder_cache_control(&mut head.headers);
    finish(CacheStatus::not_stored(why, reason), &settings, &mut head);
    Ok(Response::from_parts(head, ResponseBody::forwarded(body)))
}
