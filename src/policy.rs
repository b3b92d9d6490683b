use std::{fmt, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{
        ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_ORIGIN, AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY,
        CONTENT_TYPE, DATE, EXPIRES, LAST_MODIFIED, ORIGIN, SET_COOKIE, TRAILER,
    },
    response,
};

use crate::{
    candidate::Candidate,
    clock::Timestamp,
    entry::response::StaleWindows,
    handler::cache_policy::{CachePolicy, Directive, Private},
    http::{
        cache_control::{CacheControl, delta_seconds, named_fields},
        cache_status::{CacheStatus, Reason},
        conditional::has_validator,
        date::parse_date,
        stored_fields::is_of_a_request,
        vary::Vary,
    },
};

/// The response field that speaks to larder alone (RFC 9213 §2): it goes before `Cache-Control` and `Expires`, and is
/// removed on the way out.
pub(crate) const LARDER_CACHE_CONTROL: HeaderName = HeaderName::from_static("larder-cache-control");

/// The field that speaks to caches near the origin in general (RFC 9213 §3.1); it is for those behind larder too, and stays.
const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

const AVAILABLE_DICTIONARY: HeaderName = HeaderName::from_static("available-dictionary");

type Predicate = Arc<dyn Fn(&response::Parts, Option<u64>) -> bool + Send + Sync>;

/// What a route stores, and for how long.
#[derive(Clone)]
pub(crate) struct StoreRules {
    pub(crate) profile: Profile,
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

/// How far larder goes beyond the RFCs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Profile {
    /// What the RFC would allow but has gone wrong too often is not stored.
    #[default]
    Safe,
    /// RFC 9111 to the letter.
    Strict,
}

/// What happens to a response that sets a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetCookie {
    /// It is stored like any other (RFC 9111 §7.3).
    Keep,
    /// It is not stored.
    Refuse,
    /// It is stored without the cookie.
    Strip,
}

impl Default for StoreRules {
    fn default() -> Self {
        Self {
            profile: Profile::default(),
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
    pub(crate) forbids_stale: bool,
    pub(crate) immutable: bool,
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
    response: &Candidate<'_>,
    exchange: Exchange,
) -> Result<Lifetime, Reason> {
    let Candidate { parts, length, .. } = *response;
    let (control, field) = directives(rules, response);
    let policy = parts.extensions.get::<CachePolicy>().map(CachePolicy::directive);
    if parts.extensions.get::<CacheStatus>().is_some() {
        return Err(Reason::InnerLayer);
    }
    check_status(rules, parts.status)?;
    check_privacy(rules, request, response, (&control, &field), policy)?;
    check_shape(rules, response)?;
    let lifetime = lifetime(rules, policy, response, (&control, &field), exchange)?;
    if length.is_some_and(|length| length > rules.max_body) {
        return Err(Reason::TooLarge);
    }
    if rules.store_if.as_ref().is_some_and(|store_if| !store_if(parts, length)) {
        return Err(Reason::StoreIf);
    }
    Ok(lifetime)
}

/// The directives that count, and the field they stand in.
///
/// RFC 9213 §2.2: a targeted field on the list, if there is one with content, speaks instead of `Cache-Control`. One that
/// cannot be read does not, but larder's own is not for that allowed to hide what it forbids.
fn directives(rules: &StoreRules, response: &Candidate<'_>) -> (CacheControl, HeaderName) {
    let headers = &response.parts.headers;
    let targets: &[HeaderName] = match rules.profile {
        Profile::Safe => &[LARDER_CACHE_CONTROL],
        Profile::Strict => &[LARDER_CACHE_CONTROL, CDN_CACHE_CONTROL],
    };
    let targeted = targets
        .iter()
        .filter(|field| response.may_have(field))
        .find_map(|field| Some((CacheControl::parse_targeted(headers, field)?, field.clone())));
    targeted.unwrap_or_else(|| {
        let said = |field| if response.may_have(field) { CacheControl::parse(headers, field) } else { CacheControl::default() };
        (said(&CACHE_CONTROL).with_vetoes_of(said(&LARDER_CACHE_CONTROL)), CACHE_CONTROL)
    })
}

/// The fields of a response that are not stored with it: by name, in its own directives, or because they are another's.
pub(crate) fn fields_left_out<'r>(rules: &'r StoreRules, response: &response::Parts) -> impl Fn(&HeaderName) -> bool + use<'r> {
    let named = match rules.profile {
        Profile::Safe => Vec::new(),
        Profile::Strict => {
            let (_, field) = directives(rules, &Candidate::new(response, None));
            named_fields(&response.headers, &field).unwrap_or_default()
        }
    };
    move |name| {
        *name == LARDER_CACHE_CONTROL
            || (rules.profile == Profile::Safe && is_of_a_request(name))
            || (rules.set_cookie == SetCookie::Strip && *name == SET_COOKIE)
            || named.contains(name)
    }
}

/// Statuses that the safe profile stores when the handler gives them a lifetime; the others only if the route names them.
const CACHEABLE: [StatusCode; 7] = [
    StatusCode::OK,
    StatusCode::NON_AUTHORITATIVE_INFORMATION,
    StatusCode::NO_CONTENT,
    StatusCode::MOVED_PERMANENTLY,
    StatusCode::PERMANENT_REDIRECT,
    StatusCode::NOT_FOUND,
    StatusCode::GONE,
];

/// Statuses that may be given a lifetime by guess (RFC 9110 §15.1).
const HEURISTICALLY_CACHEABLE: [StatusCode; 11] = [
    StatusCode::OK,
    StatusCode::NON_AUTHORITATIVE_INFORMATION,
    StatusCode::NO_CONTENT,
    StatusCode::MULTIPLE_CHOICES,
    StatusCode::MOVED_PERMANENTLY,
    StatusCode::PERMANENT_REDIRECT,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::GONE,
    StatusCode::URI_TOO_LONG,
    StatusCode::NOT_IMPLEMENTED,
];

fn check_status(rules: &StoreRules, status: StatusCode) -> Result<(), Reason> {
    // A part, an "unchanged" or an interim answer is never a whole response, whatever a route says (RFC 9111 §3).
    let partial = status.is_informational() || matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED);
    let named = rules.statuses.iter().any(|(named, _)| *named == status);
    let cacheable = named || rules.profile == Profile::Strict || CACHEABLE.contains(&status);
    if !partial && cacheable { Ok(()) } else { Err(Reason::Status) }
}

fn check_privacy(
    rules: &StoreRules,
    request: RequestTerms,
    response: &Candidate<'_>,
    (control, field): (&CacheControl, &HeaderName),
    policy: Option<Directive>,
) -> Result<(), Reason> {
    // RFC 9111 §5.2.2.3: who must understand the status and does may disregard "no-store".
    let understood = response.parts.status.canonical_reason().is_some();
    if policy == Some(Directive::NoStore)
        || (control.no_store && !control.must_understand)
        || (control.must_understand && !understood)
    {
        return Err(Reason::NoStore);
    }
    if (control.private && !names_fields(rules, response, field))
        || policy == Some(Directive::Private)
        || response.parts.extensions.get::<Private>().is_some()
    {
        return Err(Reason::Private);
    }
    if rules.set_cookie == SetCookie::Refuse && response.has(&SET_COOKIE) {
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
fn check_shape(rules: &StoreRules, response: &Candidate<'_>) -> Result<(), Reason> {
    let vary = &response.vary;
    if *vary == Vary::Everything {
        return Err(Reason::VaryStar);
    }
    if is_endless(response) {
        return Err(Reason::EventStream);
    }
    if response.has(&TRAILER) {
        return Err(Reason::Trailers);
    }
    if is_dictionary_compressed(response) && !(vary.nominates(&ACCEPT_ENCODING) && vary.nominates(&AVAILABLE_DICTIONARY)) {
        return Err(Reason::Dictionary);
    }
    if rules.profile == Profile::Strict {
        return Ok(());
    }
    let allowed_origin = response.get(&ACCESS_CONTROL_ALLOW_ORIGIN);
    if allowed_origin.is_some_and(|origin| origin != "*") && !vary.nominates(&ORIGIN) {
        return Err(Reason::CorsOrigin);
    }
    if has_nonce(response) {
        return Err(Reason::Nonce);
    }
    Ok(())
}

/// RFC 9842 §6.2: who has not the dictionary cannot read it.
fn is_dictionary_compressed(response: &Candidate<'_>) -> bool {
    let codings = response.lines(&CONTENT_ENCODING).flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    codings.map(<[u8]>::trim_ascii).any(|coding| coding.eq_ignore_ascii_case(b"dcb") || coding.eq_ignore_ascii_case(b"dcz"))
}

fn is_endless(response: &Candidate<'_>) -> bool {
    let media_type = response.get(&CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    has_type(media_type, &["text/event-stream", "multipart/x-mixed-replace"])
}

/// Whether the type is one of those that are streamed, and may or may not end.
pub(crate) fn is_streamed(response: &HeaderMap) -> bool {
    const STREAMED: [&str; 4] = ["application/x-ndjson", "application/jsonl", "application/json-seq", "application/grpc"];
    response.get(CONTENT_TYPE).is_some_and(|value| has_type(value.as_bytes(), &STREAMED))
}

fn has_type(media_type: &[u8], types: &[&str]) -> bool {
    types.iter().any(|of| media_type.get(..of.len()).is_some_and(|start| start.eq_ignore_ascii_case(of.as_bytes())))
}

fn has_nonce(response: &Candidate<'_>) -> bool {
    const REPORT_ONLY: HeaderName = HeaderName::from_static("content-security-policy-report-only");
    let mut policies = response.lines(&CONTENT_SECURITY_POLICY).chain(response.lines(&REPORT_ONLY));
    policies.any(|policy| contains_ignoring_case(policy.as_bytes(), b"'nonce-"))
}

fn contains_ignoring_case(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

fn lifetime(
    rules: &StoreRules,
    policy: Option<Directive>,
    response: &Candidate<'_>,
    (control, field): (&CacheControl, &HeaderName),
    exchange: Exchange,
) -> Result<Lifetime, Reason> {
    let own = match policy {
        Some(Directive::Ttl(ttl)) => Some(ttl),
        // RFC 9213 §2.2: where a targeted field decides, `Expires` does not.
        _ => control.lifetime().or_else(|| (*field == CACHE_CONTROL).then(|| expires(response, exchange.received))?),
    };
    let given = own.or_else(|| route_ttl(rules, response.parts.status)).or_else(|| heuristic(rules, response, control, exchange));
    let age = initial_age(rules, response, exchange);
    let must_validate = control.no_cache && !names_fields(rules, response, field);
    let left = match given {
        None => None,
        Some(_) if must_validate => Some(Duration::ZERO),
        Some(whole) => Some(whole.saturating_sub(age).min(rules.max_ttl)),
    };
    // A window says for how long after a lifetime, not that there is one.
    let stale = if given.is_some() { stale_windows(rules, control) } else { StaleWindows::default() };
    let why_not = if must_validate {
        Reason::NoCache
    } else if given.is_some() {
        Reason::Stale
    } else {
        Reason::NoFreshness
    };
    // What is stale from the start is worth storing only for what can be done with it: validate it, or use it stale.
    let left = match left.unwrap_or_default() {
        Duration::ZERO
            if !is_worth_validating(rules, response, given.is_some() || must_validate) && stale == StaleWindows::default() =>
        {
            return Err(why_not);
        }
        // Only ever shorter: a lifetime is a promise of the handler's, to which chance must not add.
        left => left.mul_f64(1.0 - (rules.jitter * exchange.chance).clamp(0.0, 1.0)),
    };
    Ok(Lifetime {
        generated: exchange.received - age,
        received: exchange.received,
        fresh_until: exchange.received + left,
        answers_authorized: control.allows_authorized(),
        stale,
        forbids_stale: control.forbids_stale(),
        immutable: control.immutable,
        cost: exchange.received.since(exchange.requested),
    })
}

/// Whether a response without freshness is stored to be validated. The safe profile wants to be told that it may be stored.
fn is_worth_validating(rules: &StoreRules, response: &Candidate<'_>, told: bool) -> bool {
    let cacheable = told || (rules.profile == Profile::Strict && HEURISTICALLY_CACHEABLE.contains(&response.parts.status));
    cacheable && has_validator(&response.parts.headers)
}

/// Whether the directives leave out fields of the response rather than the response.
fn names_fields(rules: &StoreRules, response: &Candidate<'_>, field: &HeaderName) -> bool {
    rules.profile == Profile::Strict && named_fields(&response.parts.headers, field).is_some()
}

/// A tenth of the time since the last modification, a day at most (RFC 9111 §4.2.2).
fn heuristic(rules: &StoreRules, response: &Candidate<'_>, control: &CacheControl, exchange: Exchange) -> Option<Duration> {
    const AT_MOST: Duration = Duration::from_secs(24 * 60 * 60);
    let may_guess =
        rules.profile == Profile::Strict && (control.public || HEURISTICALLY_CACHEABLE.contains(&response.parts.status));
    let modified = parse_date(response.get(&LAST_MODIFIED).filter(|_| may_guess)?.as_bytes())?;
    Some((date(response).unwrap_or(exchange.received).since(modified) / 10).min(AT_MOST))
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
fn expires(response: &Candidate<'_>, now: Timestamp) -> Option<Duration> {
    let lines = response.lines(&EXPIRES);
    let date = date(response).unwrap_or(now);
    lines.map(|line| parse_date(line.as_bytes()).map_or(Duration::ZERO, |expires| expires.since(date))).min()
}

/// RFC 9111 §4.2.3, the corrected initial age.
fn initial_age(rules: &StoreRules, response: &Candidate<'_>, exchange: Exchange) -> Duration {
    // `Date` has no fractions of a second, so that they do not count here either.
    let apparent = date(response).map_or(Duration::ZERO, |date| exchange.received.whole_seconds().since(date));
    let delay = exchange.received.since(exchange.requested);
    match (age_value(response), rules.profile) {
        (Some(age), _) => apparent.max(age + delay),
        (None, Profile::Strict) => apparent.max(delay),
        // An application's own handler has no upstream: what it makes is new when it is made.
        (None, Profile::Safe) => apparent,
    }
}

/// The first member; an invalid one is ignored (RFC 9111 §5.1).
fn age_value(response: &Candidate<'_>) -> Option<Duration> {
    let first = response.get(&AGE)?.as_bytes().split(|&byte| byte == b',').next()?;
    delta_seconds(first.trim_ascii()).map(Duration::from_secs)
}

fn date(response: &Candidate<'_>) -> Option<Timestamp> {
    parse_date(response.get(&DATE)?.as_bytes())
}
