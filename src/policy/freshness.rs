//! How long a response is fresh (RFC 9111 §4.2).

use std::time::Duration;

use http::{
    HeaderName, StatusCode,
    header::{AGE, CACHE_CONTROL, DATE, EXPIRES, LAST_MODIFIED},
};

use super::{
    response_view::ResponseView,
    store_rules::{Profile, StoreRules, names_fields},
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

/// The freshness of a response that is stored, and how it may be used when it is stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Freshness {
    /// When the response's age was zero (RFC 9111 §4.2.3).
    pub(crate) generated: Timestamp,
    pub(crate) received: Timestamp,
    pub(crate) fresh_until: Timestamp,
    pub(crate) allows_authorization: bool,
    pub(crate) stale: StaleWindows,
    pub(crate) must_not_serve_stale: bool,
    pub(crate) immutable: bool,
    /// Whether it is kept longer than the response's own `Cache-Control` says.
    pub(crate) outlives_max_age: bool,
    /// The response states a longer lifetime than `max_ttl` allows.
    pub(crate) shortened: bool,
    /// How long the handler took.
    pub(crate) handler_time: Duration,
}

impl Freshness {
    /// Whole seconds of freshness after the response was received.
    pub(crate) fn ttl(&self) -> i64 {
        i64::try_from(self.fresh_until.seconds_since(self.received)).unwrap_or(i64::MAX)
    }
}

/// When the request was made and its response received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) requested: Timestamp,
    pub(crate) received: Timestamp,
    /// A random number between 0 and 1.
    pub(crate) jitter_draw: f64,
}

/// The status codes with a heuristic lifetime (RFC 9110 §15.1).
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

/// Computes the freshness of a response in the steps of RFC 9111 §4.2; the error is the reason why it is not worth storing.
pub(crate) fn freshness(
    rules: &StoreRules,
    directive: Option<Directive>,
    response: &ResponseView<'_>,
    (control, field): (&CacheControl, &HeaderName),
    timing: Timing,
) -> Result<Freshness, Reason> {
    let must_validate = control.no_cache && !names_fields(rules, response, field);
    let stated = match directive {
        Some(Directive::Ttl(_)) => None,
        _ => stated_lifetime(response, (control, field), timing.received),
    };
    let from_route =
        route_ttl(rules, response.parts.status).filter(|_| stated.is_none() && !matches!(directive, Some(Directive::Ttl(_))));
    // What the application says in Rust is limited by `max_ttl` only if that is set.
    let max_ttl = if stated.is_some() { rules.max_stated_ttl } else { rules.max_ttl };
    let lifetime = match directive {
        Some(Directive::Ttl(ttl)) => Some(ttl),
        _ => stated.or(from_route),
    };
    let lifetime = lifetime.or_else(|| heuristic_lifetime(rules, response, control, timing));
    let age = corrected_initial_age(rules, response, timing);
    let stale = lifetime.map(|_| stale_windows(rules, control)).unwrap_or_default();
    let remaining = match lifetime {
        Some(lifetime) if !must_validate => lifetime.saturating_sub(age).min(max_ttl),
        _ => Duration::ZERO,
    };
    let is_explicit = lifetime.is_some() || must_validate;
    if remaining.is_zero() && stale == StaleWindows::default() && !is_worth_validating(rules, response, is_explicit) {
        let zero_ttl = rules.max_ttl.is_zero() || from_route.is_some_and(|ttl| ttl.is_zero());
        return Err(match lifetime {
            _ if must_validate => Reason::NoCache,
            None => Reason::NoFreshness,
            Some(_) if zero_ttl => Reason::ZeroTtl,
            Some(_) => Reason::Stale,
        });
    }
    Ok(Freshness {
        generated: timing.received - age,
        received: timing.received,
        fresh_until: timing.received + jittered(remaining, rules, timing),
        allows_authorization: control.allows_authorized(),
        stale,
        must_not_serve_stale: control.must_not_serve_stale(),
        immutable: control.immutable,
        outlives_max_age: outlives_max_age(directive, response, field, age + remaining),
        shortened: lifetime.is_some_and(|lifetime| lifetime.saturating_sub(age) > max_ttl),
        handler_time: timing.received.since(timing.requested),
    })
}

/// The lifetime that the response states itself (RFC 9111 §4.2.1). If a targeted field decides, `Expires` is ignored
/// (RFC 9213 §2.2).
pub(crate) fn stated_lifetime(
    response: &ResponseView<'_>,
    (control, field): (&CacheControl, &HeaderName),
    received: Timestamp,
) -> Option<Duration> {
    control.lifetime().or_else(|| expires(response, received).filter(|_| *field == CACHE_CONTROL))
}

/// Whether a directive for larder alone makes it keep the response longer than the response's own `Cache-Control` says.
fn outlives_max_age(directive: Option<Directive>, response: &ResponseView<'_>, field: &HeaderName, kept: Duration) -> bool {
    let is_targeted = matches!(directive, Some(Directive::Ttl(_))) || *field != CACHE_CONTROL;
    let stated = || CacheControl::parse(&response.parts.headers, &CACHE_CONTROL).lifetime();
    is_targeted && response.may_have(&CACHE_CONTROL) && stated().is_some_and(|stated| stated < kept)
}

/// `Expires` minus `Date`; an invalid date, such as `0`, is in the past (RFC 9111 §5.3).
fn expires(response: &ResponseView<'_>, now: Timestamp) -> Option<Duration> {
    let lines = response.lines(&EXPIRES);
    let date = date(response).unwrap_or(now);
    lines.map(|line| parse_date(line.as_bytes()).map_or(Duration::ZERO, |expires| expires.since(date))).min()
}

/// The route's lifetime for a response that states none. Errors and empty responses need a lifetime of their own.
fn route_ttl(rules: &StoreRules, status: StatusCode) -> Option<Duration> {
    let by_status = rules.statuses.iter().find(|(named, _)| *named == status).map(|(_, ttl)| *ttl);
    by_status.or(match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => rules.negative_ttl,
        StatusCode::NO_CONTENT => None,
        _ => rules.ttl,
    })
}

/// A tenth of the time since the last modification, at most one day; only in the strict profile (RFC 9111 §4.2.2).
fn heuristic_lifetime(
    rules: &StoreRules,
    response: &ResponseView<'_>,
    control: &CacheControl,
    timing: Timing,
) -> Option<Duration> {
    const MAX: Duration = Duration::from_secs(24 * 60 * 60);
    let allowed =
        rules.profile == Profile::Strict && (control.public || HEURISTICALLY_CACHEABLE.contains(&response.parts.status));
    let modified = parse_date(response.get(&LAST_MODIFIED).filter(|_| allowed)?.as_bytes())?;
    Some((date(response).unwrap_or(timing.received).since(modified) / 10).min(MAX))
}

/// The corrected initial age (RFC 9111 §4.2.3).
fn corrected_initial_age(rules: &StoreRules, response: &ResponseView<'_>, timing: Timing) -> Duration {
    // `Date` has whole seconds, so the fraction of the time of receipt is ignored as well.
    let apparent = date(response).map_or(Duration::ZERO, |date| timing.received.whole_seconds().since(date));
    let delay = timing.received.since(timing.requested);
    match (age_value(response), rules.profile) {
        (Some(age), _) => apparent.max(age + delay),
        (None, Profile::Strict) => apparent.max(delay),
        // The safe profile assumes that the handler itself generates the response, and that its age is zero when it is done.
        (None, Profile::Safe) => apparent,
    }
}

/// The first member of `Age`; an invalid one is ignored (RFC 9111 §5.1).
fn age_value(response: &ResponseView<'_>) -> Option<Duration> {
    let first = response.get(&AGE)?.as_bytes().split(|&byte| byte == b',').next()?;
    delta_seconds(first.trim_ascii()).map(Duration::from_secs)
}

/// How long the response may be used when it is stale (RFC 9111 §4.2.4, RFC 5861). The response's own windows take precedence over
/// the route's; a directive that forbids stale use forbids both.
fn stale_windows(rules: &StoreRules, control: &CacheControl) -> StaleWindows {
    if control.must_not_serve_stale() {
        return StaleWindows::default();
    }
    StaleWindows::new(
        control.stale_while_revalidate.unwrap_or(rules.stale_while_revalidate),
        control.stale_if_error.unwrap_or(rules.stale_if_error),
    )
}

/// Whether a response without freshness is stored in order to be validated. The safe profile stores it only if the response or the
/// route is explicit about caching.
fn is_worth_validating(rules: &StoreRules, response: &ResponseView<'_>, is_explicit: bool) -> bool {
    let cacheable = is_explicit || (rules.profile == Profile::Strict && HEURISTICALLY_CACHEABLE.contains(&response.parts.status));
    cacheable && has_validator(&response.parts.headers)
}

/// Only shortens: the lifetime is a promise of the handler, which jitter must not exceed.
fn jittered(remaining: Duration, rules: &StoreRules, timing: Timing) -> Duration {
    remaining.mul_f64(1.0 - (rules.jitter * timing.jitter_draw).clamp(0.0, 1.0))
}

pub(crate) fn date(response: &ResponseView<'_>) -> Option<Timestamp> {
    parse_date(response.get(&DATE)?.as_bytes())
}
