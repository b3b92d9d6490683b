//! The routes: which of them the cache helps, and why responses are not stored.

use maud::{Markup, html};

use super::overview::outcomes;
use crate::{
    admin::{
        explain::remedy,
        page::View,
        text::{bytes, count, duration, percent, prose, visible},
    },
    stats::snapshot::RouteStats,
};

/// The reference of reasons, which has a heading for each.
const GUIDE: &str = "https://docs.rs/larder/latest/larder/guide/reasons/index.html#";

pub(super) fn content(view: &View<'_>) -> Markup {
    let stats = view.state.cache.stats();
    let mut routes: Vec<_> = stats.routes().collect();
    routes.sort_by_key(|(_, stats)| std::cmp::Reverse(stats.requests()));
    html! {
        h1 { "Routes" }
        @if routes.is_empty() { p.muted { "No request has entered a layer of this cache yet." } }
        @else { (table(&routes)) }
        @for (name, stats) in &routes { (details(name, stats)) }
    }
}

fn table(routes: &[(&str, &RouteStats)]) -> Markup {
    html! {
        div.scroll {
            table {
                thead { tr {
                    th scope="col" { "Route" }
                    @for name in ["Requests", "Hit ratio", "Saved", "Fill p50", "Fill p99", "From cache", "From handlers"] { th.number scope="col" { (name) } }
                } }
                tbody {
                    @for (name, stats) in routes {
                        tr {
                            th scope="row" { code { (visible(name)) } }
                            td.number { (count(stats.requests())) }
                            td.number { (percent(stats.hit_ratio())) }
                            td.number { (duration(stats.saved())) }
                            td.number { (quantile(stats, 0.5)) }
                            td.number { (quantile(stats, 0.99)) }
                            td.number { (bytes(stats.bytes_from_cache())) }
                            td.number { (bytes(stats.bytes_from_handler())) }
                        }
                    }
                }
            }
        }
    }
}

fn quantile(stats: &RouteStats, quantile: f64) -> String {
    let fills = stats.fill_durations();
    match fills.quantile(quantile) {
        Some(bound) => format!("≤ {}", duration(bound)),
        None if fills.count() > 0 => "> 5 min".to_owned(),
        None => "–".to_owned(),
    }
}

fn details(name: &str, stats: &RouteStats) -> Markup {
    let not_stored = stats.not_stored();
    html! {
        section.card {
            h2 { code { (visible(name)) } }
            (outcomes(stats))
            @if !not_stored.is_empty() {
                h3 { "Why responses were not stored" }
                div.scroll { table {
                    thead { tr { th.number scope="col" { "Times" } th scope="col" { "Reason" } th scope="col" { "What it means, and what changes it" } } }
                    tbody {
                        @for (reason, times) in &not_stored {
                            tr {
                                td.number { (count(*times)) }
                                th scope="row" { a href={ (GUIDE) (reason.as_str()) } rel="noreferrer" { code { (reason.as_str()) } } }
                                td.text { (prose(reason.explanation())) @if let Some(remedy) = remedy(*reason) { pre { (remedy) } } }
                            }
                        }
                    }
                } }
            }
        }
    }
}
