use http::{Response, header::AGE};
use http_body::Body;

use crate::{
    age::age_value,
    backend::Standing,
    body::ResponseBody,
    cache::LookUp,
    clock::Timestamp,
    settings::{Look, LookMethod},
    status::{CacheStatus, Forward, StatusField},
    stored::{Content, Epoch, StoredResponse},
};

/// Why a fetch is needed, and what it may store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Missing {
    pub(crate) why: Forward,
    /// Read before the handler runs; `None` if nothing may be stored.
    pub(crate) epoch: Option<Epoch>,
}

/// Answers from what was found, if this request may be (RFC 9111 §4).
pub(crate) fn answer<B: Body>(
    look_up: LookUp,
    look: &Look,
    now: Timestamp,
    field: StatusField,
) -> Result<Response<ResponseBody<B>>, Missing> {
    let missing = |why| Missing { why, epoch: look_up.epoch };
    let Some((stored, standing)) = &look_up.found else { return Err(missing(look_up.why)) };
    let Content::Response(response) = stored.content() else { return Err(missing(Forward::VaryMiss)) };
    if look.authorized && !response.answers_authorized {
        return Err(missing(Forward::Request));
    }
    if *standing == Standing::Expired || !response.is_fresh(now) {
        return Err(missing(Forward::Stale));
    }
    Ok(respond(response, look.method, now, field))
}

fn respond<B: Body>(
    stored: &StoredResponse,
    method: LookMethod,
    now: Timestamp,
    field: StatusField,
) -> Response<ResponseBody<B>> {
    let body = match method {
        LookMethod::Get => stored.body.clone(),
        LookMethod::Head => bytes::Bytes::new(),
    };
    let mut response = Response::new(ResponseBody::stored(body));
    *response.status_mut() = stored.status;
    let mut headers = stored.headers.clone();
    headers.insert(AGE, age_value(stored.age(now)));
    let status = CacheStatus::hit(stored.ttl(now));
    status.attach_field(field, &mut headers);
    *response.headers_mut() = headers;
    response.extensions_mut().insert(status);
    response
}
