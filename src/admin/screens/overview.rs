//! The overview: is the cache of use, and is anything wrong?

use std::time::Duration;

use maud::{Markup, html};

use super::chart::{shares, sparkline};
use crate::{
    admin::{
        access::Action,
        history::Point,
        page::{View, mode_badge},
        text::{bytes, count, duration, percent, prose, sentence, visible},
    },
    backend::cache_mode::CacheMode,
    backend::health::Health,
    cache::Cache,
    http::outcome::Outcome,
    stats::snapshot::{RouteStats, Stats},
};

pub(super) async fn content(view: &View<'_>) -> Markup {
    let cache = &view.state.cache;
    let (stats, health) = (cache.stats(), cache.health().await);
    let total = stats.total();
    let history = view.state.history();
    let (minutes, hours, minute) = (history.minutes(), history.hours(), history.last_minute());
    let rate = |value: fn(&Point) -> f64| minute.as_ref().map(|(point, length)| value(point) / length.as_secs_f64());
    html! {
        h1 { "Overview" }
        @for warning in warnings(&stats, &health, cache.mode()) { p.notice.warn role="alert" { (prose(&warning)) } }
        section.tiles aria-label="Figures" {
            (tile("Hit ratio", &percent(stats.hit_ratio()), &recent("last minute", &percent(minute.as_ref().and_then(|(point, _)| point.hit_ratio()))),
                sparkline("Hit ratio of the last ten minutes", &values(&minutes, |point| point.hit_ratio().unwrap_or(0.0)), Some(1.0))))
            (tile("Requests", &count(total.requests()), &recent("per second", &decimal(rate(|point| point.requests as f64))),
                sparkline("Requests of the last ten minutes", &values(&minutes, |point| point.requests as f64), None)))
            (tile("Handler time saved", &duration(stats.saved()), &recent("per second", &decimal(rate(|point| point.saved.as_secs_f64()))),
                sparkline("Handler time saved in the last ten minutes", &values(&minutes, |point| point.saved.as_secs_f64()), None)))
            (tile("Served stale", &count(total.outcome(Outcome::Stale)), &staleness(&stats),
                sparkline("Stale answers of the last ten minutes", &values(&minutes, |point| point.stale as f64), None)))
            (tile("Errors", &count(total.outcome(Outcome::Error)), &recent("per second", &decimal(rate(|point| point.errors as f64))),
                sparkline("Errors of the last ten minutes", &values(&minutes, |point| point.errors as f64), None)))
            (tile("From the cache", &bytes(total.bytes_from_cache()), &format!("{} from handlers", bytes(total.bytes_from_handler())),
                sparkline("Answers from the cache in the last ten minutes", &values(&minutes, |point| point.from_cache as f64), None)))
        }
        section.card {
            h2 { "Outcomes of requests" }
            (outcomes(total))
        }
        div.columns {
            section.card {
                h2 { "State" }
                dl {
                    dt { "Mode" } dd { (mode_badge(cache.mode())) @if let Some(modes) = modes(cache) { " " span.muted { (modes) } } }
                    dt { "Store" } dd { (sentence(&health.to_string())) }
                    dt { "In flight" } dd { (count(total.in_flight())) " requests, " (count(stats.fetches_in_flight())) " fetches, " (count(stats.waiting())) " waiting" }
                    dt { "Waits" } dd { (count(stats.waits().count())) " requests waited for the fetch of another" }
                    dt { "Six hours" }
                    dd { (sparkline("Requests of the last six hours", &values(&hours, |point| point.requests as f64), None)) }
                }
            }
            (actions(view))
        }
    }
}

/// The mode of this process and that of all nodes, unless both are `enabled`.
fn modes(cache: &Cache) -> Option<String> {
    let (own, shared) = (cache.own_mode(), cache.shared_mode());
    (own.max(shared) > CacheMode::Enabled).then(|| format!("this process: {own}, all nodes: {shared}"))
}

fn values(points: &[Point], value: fn(&Point) -> f64) -> Vec<f64> {
    points.iter().map(value).collect()
}

fn decimal(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1}"))
}

fn recent(what: &str, value: &str) -> String {
    format!("{value} {what}")
}

/// How stale the stale answers were.
fn staleness(stats: &Stats) -> String {
    /// Ages are counted in whole seconds: none is between 0 and 1.
    const SECOND: Duration = Duration::from_secs(1);
    match stats.stale_ages().quantile(0.5) {
        Some(age) if age < SECOND => "half of them for less than a second".to_owned(),
        Some(age) => format!("half of them for {} at most", duration(age)),
        None => "–".to_owned(),
    }
}

fn tile(name: &str, value: &str, also: &str, picture: Markup) -> Markup {
    html! {
        div.tile {
            div.label { (name) }
            div.value { (value) }
            div.muted { (also) }
            (picture)
        }
    }
}

/// The outcomes of requests, as a bar and as numbers.
pub(super) fn outcomes(stats: &RouteStats) -> Markup {
    let happened: Vec<_> =
        Outcome::ALL.iter().map(|outcome| (outcome.as_str(), stats.outcome(*outcome))).filter(|(_, count)| *count > 0).collect();
    html! {
        @if happened.is_empty() {
            p.muted { "No request has ended yet." }
        } @else {
            (shares("Outcomes", &happened))
            ul.legend {
                @for (name, number) in &happened { li { span class=(format!("dot {name}")) aria-hidden="true" {} (name) " " strong { (count(*number)) } } }
            }
        }
    }
}

/// What an operator should look at.
fn warnings(stats: &Stats, health: &Health, mode: CacheMode) -> Vec<String> {
    let mut warnings = Vec::new();
    match mode {
        CacheMode::Enabled => {}
        CacheMode::ReadOnly => warnings.push("The cache is read-only: nothing new is stored.".to_owned()),
        CacheMode::Bypass => warnings.push("The cache is bypassed: every request goes to its handler.".to_owned()),
    }
    if !health.is_healthy() {
        warnings.push(format!("The store is not healthy: {}.", visible(&health.to_string())));
    }
    for (route, stats) in stats.routes() {
        let never = stats.requests() >= 100 && stats.hit_ratio() == Some(0.0);
        if let Some((reason, _)) = stats.not_stored().first().filter(|_| never) {
            warnings.push(format!("The route {} has had no hit: {}", visible(route), reason.explanation()));
        }
    }
    for store in stats.stores() {
        if store.corrupt_values.is_some_and(|corrupt| corrupt > 0) {
            warnings.push(format!("The store {} has values that are damaged, or not written by larder.", store.store));
        }
    }
    let slow = stats.waits().quantile(0.5).is_some_and(|half| half > Duration::from_secs(1));
    if slow {
        warnings.push("Half of the requests that waited for the fetch of another waited for more than a second.".to_owned());
    }
    warnings
}

fn actions(view: &View<'_>) -> Markup {
    let allows = |action| view.granted.allows(action);
    html! {
        section.card {
            h2 { "Actions" }
            @if !Action::ALL.iter().any(|action| allows(*action)) { p.muted { "You may look, and change nothing." } }
            @if allows(Action::SetMode) {
                form.row method="post" action=(view.link("actions/mode")) {
                    label { "Mode "
                        select name="mode" {
                            @for mode in [CacheMode::Enabled, CacheMode::ReadOnly, CacheMode::Bypass] {
                                option value=(mode) selected[mode == view.state.cache.mode()] { (mode) }
                            }
                        }
                    }
                    button { "Set in this process" }
                    button name="everywhere" value="true" { "Set on all nodes" }
                }
            }
            @if allows(Action::Refresh) && view.state.refresher.is_some() {
                form.row method="post" action=(view.link("actions/refresh")) {
                    label { "Refresh URL " input name="uri" placeholder="https://example.com/posts/7" required; }
                    button { "Refresh" }
                }
            }
            @if allows(Action::Clear) {
                form.row method="post" action=(view.link("actions/clear")) {
                    label { "Clear: type " code { (visible(view.state.clear_phrase())) } " " input name="confirm" autocomplete="off" required; }
                    button.danger { "Clear everything" }
                }
            }
            @if allows(Action::Invalidate) { p { a href=(view.link("tags")) { "Invalidate tags, a URL or a route" } } }
        }
    }
}
