use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_ORIGIN, AGE, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, DATE, EXPIRES, ORIGIN,
        SET_COOKIE, TRAILER,
    },
    response,
};

use crate::{
    cache_control::{CacheControl, delta_seconds},
    cache_policy::{CachePolicy, Directive, Private},
    clock::Timestamp,
    status::{CacheStatus, Reason},
    stored::StaleWindows,
    vary::Vary,
};

/// The response field that speaks to larder alone (RFC 9213 §2): it goes before `Cache-Control` and `Expires`, and is
/// removed on the way out.
pub(crate) const LARDER_CACHE_CONTROL: HeaderName = HeaderName::from_static("larder-cache-control");

type Predicate = Arc<dyn Fn(&response::Parts, Option<u64>) -> bool + Send + Sync>;

/// What a route stores, and for how long.
#[derive(Clone)]
pub(crate) struct StoreRules {
    pub(crate) ttl: Option<Duration>,
    pub(crate) negative_ttl: Option<Duration>,
    pub(crate) statuses: Vec<(StatusCode, Duration)>,
    pub(crate) max_ttl: Duration,
    /// The share of a lifetime that chance may take away.
    pub(crate) jitter: f64,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) stale_if_error: Duration,
    pub(crate) max_body: u64,
    pub(crate) set_cookie: SetCookie,
    pub(crate) store_if: Option<Predicate>,
}

/// What happens to a response that sets a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetCookie {
    /// It is not stored.
    Refuse,
    /// It is stored without the cookie.
    Strip,
}

impl Default for StoreRules {
    fn default() -> Self {
        Self {
            ttl: None,
            negative_ttl: None,
            statuses: Vec::new(),
            max_ttl: Duration::from_secs(24 * 60 * 60),
            jitter: 0.0,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            max_body: 1 << 20,
            set_cookie: SetCookie::Refuse,
            store_if: None,
        }
    }
}

impl fmt::Debug for StoreRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreRules")
            .field("ttl", &self.ttl)
            .field("negative_ttl", &self.negative_ttl)
            .field("statuses", &self.statuses)
            .field("max_ttl", &self.max_ttl)
            .field("max_body", &self.max_body)
            .finish_non_exhaustive()
    }
}

/// What the request contributes to the decision.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RequestTerms {
    /// It has `Authorization`, and the route has not said that this does not matter.
    pub(crate) authorized: bool,
    pub(crate) no_store: bool,
}

/// When a response was of age zero, when it came, and until when it is fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub(crate) generated: Timestamp,
    pub(crate) received: Timestamp,
    pub(crate) fresh_until: Timestamp,
    pub(crate) answers_authorized: bool,
    pub(crate) stale: StaleWindows,
    /// How long the handler took.
    pub(crate) cost: Duration,
}

impl Lifetime {
    /// Whole seconds of freshness from the receipt on.
    pub(crate) fn ttl(&self) -> i64 {
        i64::try_from(self.fresh_until.seconds_since(self.received)).unwrap_or(i64::MAX)
    }
}

/// When the request was made and its response received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    pub(crate) requested: Timestamp,
    pub(crate) received: Timestamp,
    /// Between 0 and 1, for the jitter.
    pub(crate) chance: f64,
}

/// Decides whether a response may be stored, and for how long (RFC 9111 §3).
pub(crate) fn storable(
    rules: &StoreRules,
    request: RequestTerms,
    response: &response::Parts,
    vary: &Vary,
    length: Option<u64>,
    exchange: Exchange,
) -> Result<Lifetime, Reason> {
    let control = directives(&response.headers);
    let policy = response.extensions.get::<CachePolicy>().map(CachePolicy::directive);
    if response.extensions.get::<CacheStatus>().is_some() {
        return Err(Reason::InnerLayer);
    }
    check_status(rules, response.status)?;
    check_privacy(rules, request, response, &control, policy)?;
    check_shape(response, vary)?;
    let lifetime = lifetime(rules, policy, response, &control, exchange)?;
    if length.is_some_and(|length| length > rules.max_body) {
        return Err(Reason::TooLarge);
    }
    if rules.store_if.as_ref().is_some_and(|store_if| !store_if(response, length)) {
        return Err(Reason::StoreIf);
    }
    Ok(lifetime)
}

/// RFC 9213 §2.2: a targeted field on the list, if there is one with content, speaks instead of `Cache-Control`. One that
/// cannot be read does not, but is not for that allowed to hide what it forbids.
fn directives(headers: &HeaderMap) -> CacheControl {
    match CacheControl::parse_targeted(headers, &LARDER_CACHE_CONTROL) {
        Some(targeted) => targeted,
        None => CacheControl::parse(headers, &CACHE_CONTROL).with_vetoes_of(CacheControl::parse(headers, &LARDER_CACHE_CONTROL)),
    }
}

/// Statuses that a route may store when the handler gives them a lifetime; the others only if the route names them.
const CACHEABLE: [StatusCode; 7] = [
    StatusCode::OK,
    StatusCode::NON_AUTHORITATIVE_INFORMATION,
    StatusCode::NO_CONTENT,
    StatusCode::MOVED_PERMANENTLY,
    StatusCode::PERMANENT_REDIRECT,
    StatusCode::NOT_FOUND,
    StatusCode::GONE,
];

fn check_status(rules: &StoreRules, status: StatusCode) -> Result<(), Reason> {
    // A part, an "unchanged" or an interim answer is never a whole response, whatever a route says (RFC 9111 §3).
    let partial = status.is_informational() || matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED);
    let named = rules.statuses.iter().any(|(named, _)| *named == status);
    if !partial && (named || CACHEABLE.contains(&status)) { Ok(()) } else { Err(Reason::Status) }
}

fn check_privacy(
    rules: &StoreRules,
    request: RequestTerms,
    response: &response::Parts,
    control: &CacheControl,
    policy: Option<Directive>,
) -> Result<(), Reason> {
    if control.no_store || policy == Some(Directive::NoStore) {
        return Err(Reason::NoStore);
    }
    if control.private || policy == Some(Directive::Private) || response.extensions.get::<Private>().is_some() {
        return Err(Reason::Private);
    }
    if control.no_cache {
        return Err(Reason::NoCache);
    }
    if rules.set_cookie == SetCookie::Refuse && response.headers.contains_key(SET_COOKIE) {
        return Err(Reason::SetCookie);
    }
    if request.authorized && !control.allows_authorized() {
        return Err(Reason::Authorization);
    }
    if request.no_store {
        return Err(Reason::RequestNoStore);
    }
    Ok(())
}

/// What cannot be right for a second request, whatever it says about itself.
fn check_shape(response: &response::Parts, vary: &Vary) -> Result<(), Reason> {
    if *vary == Vary::Everything {
        return Err(Reason::VaryStar);
    }
    if is_endless(&response.headers) {
        return Err(Reason::EventStream);
    }
    if response.headers.contains_key(TRAILER) {
        return Err(Reason::Trailers);
    }
    let allowed_origin = response.headers.get(ACCESS_CONTROL_ALLOW_ORIGIN);
    if allowed_origin.is_some_and(|origin| origin != "*") && !vary.nominates(&ORIGIN) {
        return Err(Reason::CorsOrigin);
    }
    if has_nonce(&response.headers) {
        return Err(Reason::Nonce);
    }
    Ok(())
}

pub(crate) fn is_endless(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    ["text/event-stream", "multipart/x-mixed-replace"]
        .iter()
        .any(|endless| media_type.get(..endless.len()).is_some_and(|start| start.eq_ignore_ascii_case(endless.as_bytes())))
}

fn has_nonce(headers: &HeaderMap) -> bool {
    const REPORT_ONLY: HeaderName = HeaderName::from_static("content-security-policy-report-only");
    let policies = headers.get_all(CONTENT_SECURITY_POLICY).iter().chain(headers.get_all(REPORT_ONLY));
    policies.into_iter().any(|policy| contains_ignoring_case(policy.as_bytes(), b"'nonce-"))
}

fn contains_ignoring_case(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

fn lifetime(
    rules: &StoreRules,
    policy: Option<Directive>,
    response: &response::Parts,
    control: &CacheControl,
    exchange: Exchange,
) -> Result<Lifetime, Reason> {
    let own = match policy {
        Some(Directive::Ttl(ttl)) => Some(ttl),
        _ => control.lifetime().or_else(|| expires(&response.headers, exchange.received)),
    };
    let whole = own.or_else(|| route_ttl(rules, response.status)).ok_or(Reason::NoFreshness)?;
    let age = initial_age(&response.headers, exchange);
    let left = whole.checked_sub(age).filter(|left| !left.is_zero()).ok_or(Reason::Stale)?.min(rules.max_ttl);
    // Only ever shorter: a lifetime is a promise of the handler's, to which chance must not add.
    let left = left.mul_f64(1.0 - (rules.jitter * exchange.chance).clamp(0.0, 1.0));
    Ok(Lifetime {
        generated: exchange.received - age,
        received: exchange.received,
        fresh_until: exchange.received + left,
        answers_authorized: control.allows_authorized(),
        stale: stale_windows(rules, control),
        cost: exchange.received.since(exchange.requested),
    })
}

/// The response's own windows go before the route's; what forbids stale use forbids both (RFC 9111 §4.2.4).
fn stale_windows(rules: &StoreRules, control: &CacheControl) -> StaleWindows {
    if control.forbids_stale() {
        return StaleWindows::default();
    }
    StaleWindows::new(
        control.stale_while_revalidate.unwrap_or(rules.stale_while_revalidate),
        control.stale_if_error.unwrap_or(rules.stale_if_error),
    )
}

/// What the route gives a response that says nothing itself. Errors and empty answers need a lifetime of their own.
fn route_ttl(rules: &StoreRules, status: StatusCode) -> Option<Duration> {
    let named = rules.statuses.iter().find(|(named, _)| *named == status).map(|(_, ttl)| *ttl);
    named.or(match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => rules.negative_ttl,
        StatusCode::NO_CONTENT => None,
        _ => rules.ttl,
    })
}

/// `Expires` less `Date`; a value that is no date, `0` among them, is a time in the past (RFC 9111 §5.3).
fn expires(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let lines = headers.get_all(EXPIRES).iter();
    let date = date(headers).unwrap_or(now);
    lines.map(|line| parse_date(line.as_bytes()).map_or(Duration::ZERO, |expires| expires.since(date))).min()
}

/// RFC 9111 §4.2.3, the corrected initial age.
fn initial_age(headers: &HeaderMap, exchange: Exchange) -> Duration {
    let apparent = date(headers).map_or(Duration::ZERO, |date| exchange.received.since(date));
    let delay = exchange.received.since(exchange.requested);
    // Without an upstream cache there is no `Age`, and the response is as old as it took to make.
    age_value(headers).map_or(apparent, |age| apparent.max(age + delay))
}

/// The first member; an invalid one is ignored (RFC 9111 §5.1).
fn age_value(headers: &HeaderMap) -> Option<Duration> {
    let first = headers.get(AGE)?.as_bytes().split(|&byte| byte == b',').next()?;
    delta_seconds(first.trim_ascii()).map(Duration::from_secs)
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    parse_date(headers.get(DATE)?.as_bytes())
}

fn parse_date(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    httpdate::parse_http_date(text).ok().map(|time: SystemTime| time.into())
}
