//! What observers advise, and what shadow verification has found.

use maud::{Markup, html};

use crate::{
    admin::{
        page::View,
        text::{ago, count, duration, percent, prose, visible},
    },
    advisor::{Difference, RouteAdvice},
    stats::{snapshot::RouteStats, verification::Verification},
};

pub(super) fn content(view: &View<'_>) -> Markup {
    let cache = &view.state.cache;
    let (advice, stats, now) = (cache.advice(), cache.stats(), cache.now().as_millis());
    let verified: Vec<_> = stats.routes().filter(|(_, route)| verifications(route).iter().any(|count| *count > 0)).collect();
    html! {
        h1 { "Advisor" }
        @if advice.routes().is_empty() {
            p.muted { "Nothing has been observed. " code { ".layer(cache.observer().layer())" } " around an application measures what a cache would do." }
        } @else {
            p.muted { (count(advice.requests())) " requests, " (duration(advice.handler_time())) " of handler time" }
            (routes(advice.routes()))
            @for route in advice.routes() { (details(route)) }
            @if advice.not_measured().0 > 0 { p.muted { (count(advice.not_measured().0)) " requests were for further routes, which are not measured." } }
        }
        section.card {
            h2 { "Shadow verification" }
            @if verified.is_empty() { p.muted { "No hit has been verified. " code { "CacheLayer::verify_hits(1000)" } " compares one hit of a thousand with what the handler responds." } }
            @else { (verification(&verified)) }
            @for difference in &cache.recent_differences(20) { (found(difference, now)) }
        }
    }
}

fn routes(routes: &[RouteAdvice]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th scope="col" { "Route" }
                @for name in ["Handler time", "Saving"] { th.number scope="col" { (name) } }
                th scope="col" { "Advice" }
            } }
            tbody {
                @for route in routes {
                    tr {
                        th scope="row" { code { "GET " (visible(route.route())) } }
                        td.number { (percent(Some(route.share()))) }
                        td.number { (duration(route.saving())) }
                        td.text { (prose(&route.summary())) }
                    }
                }
            }
        } }
    }
}

fn details(route: &RouteAdvice) -> Markup {
    let lines = route.details();
    html! {
        section.card {
            h2 { code { "GET " (visible(route.route())) } }
            p { (prose(&route.summary())) }
            @if let Some(code) = route.code() { pre { (visible(code)) } }
            ul { @for line in lines.iter().filter(|line| Some(line.as_str()) != route.code()) { li { (prose(line)) } } }
            div.scroll { table {
                thead { tr {
                    th scope="col" { "Lifetime" }
                    @for name in ["Would-be hits", "Would-be wrong answers"] { th.number scope="col" { (name) } }
                } }
                tbody {
                    @for cache in route.simulations() {
                        tr {
                            th scope="row" { (duration(cache.lifetime())) @if !cache.is_covered() { span.muted { " not observed for so long" } } }
                            td.number { (percent(Some(cache.hit_ratio()))) }
                            td.number { (percent(Some(cache.wrong_ratio()))) }
                        }
                    }
                }
            } }
        }
    }
}

fn verifications(route: &RouteStats) -> Vec<u64> {
    Verification::ALL.iter().map(|verification| route.verifications(*verification)).collect()
}

fn verification(routes: &[(&str, &RouteStats)]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th scope="col" { "Route" }
                @for verification in Verification::ALL { th.number scope="col" { (verification.as_str()) } }
            } }
            tbody {
                @for (name, route) in routes {
                    tr {
                        th scope="row" { code { (visible(name)) } }
                        @for count_of in verifications(route) { td.number { (count(count_of)) } }
                    }
                }
            }
        } }
    }
}

fn found(difference: &Difference, now: u64) -> Markup {
    html! {
        p.notice.bad {
            (ago(now.saturating_sub(difference.at_millis) / 1000)) ": a hit on " code { (visible(&difference.route)) } ", " (difference.age)
            " s old, differed from what the handler responds. "
            @if difference.writes.is_empty() { "No write was seen in between." }
            @else {
                "In between came "
                @for (at, write) in difference.writes.iter().enumerate() { @if at > 0 { ", " } code { (visible(&write.to_string())) } }
                "."
            }
        }
    }
}
