use http::{Response, header::AGE};
use http_body::Body;

use crate::{
    age::age_value,
    backend::Standing,
    body::ResponseBody,
    cache::LookUp,
    clock::Timestamp,
    key::Key,
    settings::{Look, LookMethod, Settings},
    status::{CacheStatus, Forward, Reason},
    stored::{Content, Epoch, StoredResponse},
};

/// What a look-up means for a request.
pub(crate) enum Answer<B: Body> {
    Hit(Response<ResponseBody<B>>),
    /// The answer is there, and is to be fetched anew for those who come later.
    HitAndRefresh(Response<ResponseBody<B>>, Missing),
    Miss(Missing),
}

/// Why a fetch is needed, and what it may store.
#[derive(Debug, Clone)]
pub(crate) struct Missing {
    pub(crate) why: Forward,
    /// Read before the handler runs; `None` if nothing may be stored.
    pub(crate) epoch: Option<Epoch>,
    /// The key of the variant that is missing or stale; `None` if it is the request's own key.
    pub(crate) at: Option<Box<Key>>,
}

/// Answers from what was found, if this request may be (RFC 9111 §4).
pub(crate) fn answer<B: Body>(look_up: LookUp, look: &Look, now: Timestamp, settings: &Settings) -> Answer<B> {
    let LookUp { found, why, epoch, at } = look_up;
    let missing = |why| Missing { why, epoch, at };
    let Some((stored, standing)) = found else { return Answer::Miss(missing(why)) };
    let Content::Response(response) = stored.content() else { return Answer::Miss(missing(why)) };
    if look.authorized && !response.answers_authorized {
        return Answer::Miss(missing(Forward::Request));
    }
    if standing == Standing::Current && response.is_fresh(now) {
        let hit = respond(response, look.method, CacheStatus::hit(response.ttl(now)), now, settings);
        return match is_due(response, now, settings) {
            false => Answer::Hit(hit),
            true => Answer::HitAndRefresh(hit, missing(Forward::Stale)),
        };
    }
    if response.is_usable_while_revalidating(now) {
        let stale = respond(response, look.method, CacheStatus::hit(response.ttl(now)), now, settings);
        return Answer::HitAndRefresh(stale, missing(Forward::Stale));
    }
    Answer::Miss(missing(Forward::Stale))
}

/// Answers from what another request's fetch has stored meanwhile.
pub(crate) fn answer_collapsed<B: Body>(
    look_up: &LookUp,
    why: Forward,
    look: &Look,
    now: Timestamp,
    settings: &Settings,
) -> Option<Response<ResponseBody<B>>> {
    let (stored, standing) = look_up.found.as_ref()?;
    let Content::Response(response) = stored.content() else { return None };
    if *standing == Standing::Expired || !response.is_fresh(now) || (look.authorized && !response.answers_authorized) {
        return None;
    }
    Some(respond(response, look.method, CacheStatus::collapsed(why, response.ttl(now)), now, settings))
}

/// Answers from a stale response because the handler failed, or needs too long (RFC 9111 §4.2.4, RFC 5861 §4).
pub(crate) fn answer_stale<B: Body>(
    look_up: &LookUp,
    reason: Reason,
    look: &Look,
    now: Timestamp,
    settings: &Settings,
) -> Option<Response<ResponseBody<B>>> {
    let (stored, _) = look_up.found.as_ref()?;
    let Content::Response(response) = stored.content() else { return None };
    let usable = match reason {
        Reason::StaleWhileSlow => response.is_usable_while_revalidating(now) || response.is_usable_on_error(now),
        _ => response.is_usable_on_error(now),
    };
    if !usable || (look.authorized && !response.answers_authorized) {
        return None;
    }
    Some(respond(response, look.method, CacheStatus::stale(reason, response.ttl(now)), now, settings))
}

/// Whether a fresh response is to be fetched anew already: with a chance that grows towards its end, the earlier the longer
/// its handler takes (Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede Prevention, 2015).
fn is_due(response: &StoredResponse, now: Timestamp, settings: &Settings) -> bool {
    let Some(eagerness) = settings.refresh_ahead else { return false };
    let left = response.fresh_until.since(now).as_secs_f64();
    let head_start = f64::from(response.cost) / 1000.0 * eagerness * -(1.0 - fastrand::f64()).ln();
    head_start >= left
}

fn respond<B: Body>(
    stored: &StoredResponse,
    method: LookMethod,
    status: CacheStatus,
    now: Timestamp,
    settings: &Settings,
) -> Response<ResponseBody<B>> {
    let body = match method {
        LookMethod::Get => stored.body.clone(),
        LookMethod::Head => bytes::Bytes::new(),
    };
    let mut response = Response::new(ResponseBody::stored(body));
    *response.status_mut() = stored.status;
    let mut headers = stored.headers.clone();
    // Through its slot: an insertion would make room in a full map first.
    if let Some(age) = headers.get_mut(AGE) {
        *age = age_value(stored.age(now));
    }
    status.attach_field(settings.status_field, &mut headers);
    *response.headers_mut() = headers;
    response.extensions_mut().insert(status);
    response
}
