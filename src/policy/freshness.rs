//! How long a response is fresh (RFC 9111 §4.2).

use std::time::Duration;

use http::{
    HeaderName, StatusCode,
    header::{AGE, CACHE_CONTROL, DATE, EXPIRES, LAST_MODIFIED},
};

use super::{
    response_view::ResponseView,
    rules::{Profile, StoreRules, names_fields},
};
use crate::{
    clock::Timestamp,
    entry::response::StaleWindows,
    handler::cache_directive::Directive,
    http::{
        cache_control::{CacheControl, delta_seconds},
        cache_status::Reason,
        conditional::has_validator,
        date::parse_date,
    },
};

/// When a response was of age zero, when it came, and until when it is fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Freshness {
    pub(crate) generated: Timestamp,
    pub(crate) received: Timestamp,
    pub(crate) fresh_until: Timestamp,
    pub(crate) allows_authorization: bool,
    pub(crate) stale: StaleWindows,
    pub(crate) must_not_serve_stale: bool,
    pub(crate) immutable: bool,
    /// How long the handler took.
    pub(crate) cost: Duration,
}

impl Freshness {
    /// Whole seconds of freshness from the receipt on.
    pub(crate) fn ttl(&self) -> i64 {
        i64::try_from(self.fresh_until.seconds_since(self.received)).unwrap_or(i64::MAX)
    }
}

/// When the request was made and its response received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) requested: Timestamp,
    pub(crate) received: Timestamp,
    /// Between 0 and 1, for the jitter.
    pub(crate) chance: f64,
}

/// Statuses that may be given a lifetime by guess (RFC 9110 §15.1).
pub(crate) const HEURISTICALLY_CACHEABLE: [StatusCode; 11] = [
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

pub(crate) fn lifetime(
    rules: &StoreRules,
    policy: Option<Directive>,
    response: &ResponseView<'_>,
    (control, field): (&CacheControl, &HeaderName),
    exchange: Timing,
) -> Result<Freshness, Reason> {
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
    Ok(Freshness {
        generated: exchange.received - age,
        received: exchange.received,
        fresh_until: exchange.received + left,
        allows_authorization: control.allows_authorized(),
        stale,
        must_not_serve_stale: control.must_not_serve_stale(),
        immutable: control.immutable,
        cost: exchange.received.since(exchange.requested),
    })
}

/// Whether a response without freshness is stored to be validated. The safe profile wants to be told that it may be stored.
pub(crate) fn is_worth_validating(rules: &StoreRules, response: &ResponseView<'_>, told: bool) -> bool {
    let cacheable = told || (rules.profile == Profile::Strict && HEURISTICALLY_CACHEABLE.contains(&response.parts.status));
    cacheable && has_validator(&response.parts.headers)
}

/// A tenth of the time since the last modification, a day at most (RFC 9111 §4.2.2).
pub(crate) fn heuristic(
    rules: &StoreRules,
    response: &ResponseView<'_>,
    control: &CacheControl,
    exchange: Timing,
) -> Option<Duration> {
    const AT_MOST: Duration = Duration::from_secs(24 * 60 * 60);
    let may_guess =
        rules.profile == Profile::Strict && (control.public || HEURISTICALLY_CACHEABLE.contains(&response.parts.status));
    let modified = parse_date(response.get(&LAST_MODIFIED).filter(|_| may_guess)?.as_bytes())?;
    Some((date(response).unwrap_or(exchange.received).since(modified) / 10).min(AT_MOST))
}

/// The response's own windows go before the route's; what forbids stale use forbids both (RFC 9111 §4.2.4).
pub(crate) fn stale_windows(rules: &StoreRules, control: &CacheControl) -> StaleWindows {
    if control.must_not_serve_stale() {
        return StaleWindows::default();
    }
    StaleWindows::new(
        control.stale_while_revalidate.unwrap_or(rules.stale_while_revalidate),
        control.stale_if_error.unwrap_or(rules.stale_if_error),
    )
}

/// What the route gives a response that says nothing itself. Errors and empty answers need a lifetime of their own.
pub(crate) fn route_ttl(rules: &StoreRules, status: StatusCode) -> Option<Duration> {
    let named = rules.statuses.iter().find(|(named, _)| *named == status).map(|(_, ttl)| *ttl);
    named.or(match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => rules.negative_ttl,
        StatusCode::NO_CONTENT => None,
        _ => rules.ttl,
    })
}

/// `Expires` less `Date`; a value that is no date, `0` among them, is a time in the past (RFC 9111 §5.3).
pub(crate) fn expires(response: &ResponseView<'_>, now: Timestamp) -> Option<Duration> {
    let lines = response.lines(&EXPIRES);
    let date = date(response).unwrap_or(now);
    lines.map(|line| parse_date(line.as_bytes()).map_or(Duration::ZERO, |expires| expires.since(date))).min()
}

/// RFC 9111 §4.2.3, the corrected initial age.
pub(crate) fn initial_age(rules: &StoreRules, response: &ResponseView<'_>, exchange: Timing) -> Duration {
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
pub(crate) fn age_value(response: &ResponseView<'_>) -> Option<Duration> {
    let first = response.get(&AGE)?.as_bytes().split(|&byte| byte == b',').next()?;
    delta_seconds(first.trim_ascii()).map(Duration::from_secs)
}

pub(crate) fn date(response: &ResponseView<'_>) -> Option<Timestamp> {
    parse_date(response.get(&DATE)?.as_bytes())
}
