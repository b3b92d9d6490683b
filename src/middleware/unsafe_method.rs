//! A request with an unsafe method: it is forwarded, and invalidates on success (RFC 9111 §4.4).

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, Method, Request, Response, StatusCode,
    header::{CONTENT_LOCATION, LOCATION},
    response,
};
use http_body::Body;
use tower_service::Service;

use crate::{
    backend::contract::Invalidation,
    body::ResponseBody,
    cache::{
        Cache,
        outage_log::{Consequence, report},
    },
    error::Error,
    fetch::inner_call::Errand,
    handler::invalidate::Invalidate,
    http::{
        authority::{Scheme, normal_authority},
        cache_groups::{CACHE_GROUP_INVALIDATION, group_names},
        cache_status::{CacheStatus, Forward, Reason},
    },
    invalidation::{
        after_response::{invalidate_after, is_safe},
        target_uri::Target,
    },
    policy::{settings::Settings, storable::LARDER_CACHE_CONTROL},
    tag::Tag,
};

/// Lets a request that may change something through, and invalidates what it changed before its response leaves
/// (RFC 9111 §4.4).
pub(crate) async fn write_through<S, ReqBody, ResBody>(
    errand: Box<Errand<S, ReqBody>>,
    cache: Cache,
    settings: Arc<Settings>,
) -> Result<Response<ResponseBody<ResBody>>, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
{
    let target = Target::of(&errand.parts);
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
