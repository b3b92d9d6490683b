//! The store: its tiers, servers, latencies, breaker and outbox.

use maud::{Markup, html};

use crate::{
    admin::{
        page::View,
        text::{bytes, count, duration, percent, sentence, visible},
    },
    backend::store_stats::{OperationStats, StoreServer, StoreStats},
    counting::histogram::Durations,
};

pub(super) async fn content(view: &View<'_>) -> Markup {
    let cache = &view.state.cache;
    let (stats, health) = (cache.stats(), cache.health().await);
    html! {
        h1 { "Store" }
        p class=(if health.is_healthy() { "notice good" } else { "notice bad" }) role="status" { (sentence(&health.to_string())) "." }
        @if stats.stores().is_empty() { p.muted { "This store counts nothing." } }
        @for (tier, store) in stats.stores().iter().enumerate() { (card(tier, stats.stores().len(), store)) }
    }
}

fn card(tier: usize, tiers: usize, store: &StoreStats) -> Markup {
    let share = store.bytes.zip(store.limit_bytes).map(|(used, limit)| used as f64 / limit.max(1) as f64);
    html! {
        section.card {
            h2 { (store.store) @if tiers > 1 { span.muted { " · tier " (tier + 1) } } }
            dl {
                @if let Some(entries) = store.entries { dt { "Entries" } dd { (count(entries)) } }
                @if let Some(used) = store.bytes {
                    dt { "Size" }
                    dd {
                        (bytes(used))
                        @if let Some(limit) = store.limit_bytes { " of " (bytes(limit)) ", " (percent(share)) " " meter min="0" max=(limit) value=(used) {} }
                    }
                }
                @if let Some(evictions) = store.evictions { dt { "Evictions" } dd { (count(evictions)) } }
                @if let Some(records) = store.tag_records { dt { "Tag records" } dd { (count(records)) } }
                @if let Some(suspended) = store.suspended {
                    dt { "Breaker" } dd { @if suspended { span.badge.bad { "suspended" } } @else { span.badge.good { "in use" } } }
                }
                @if let Some(outbox) = store.outbox_tags { dt { "Outbox" } dd { (count(outbox)) " tags are still to be invalidated" } }
                @if let Some(corrupt) = store.corrupt_values { dt { "Corrupt values" } dd { (count(corrupt)) } }
            }
            @if !store.servers.is_empty() { (servers(&store.servers)) }
            @if !store.operations.is_empty() { (operations(&store.operations)) }
        }
    }
}

fn servers(servers: &[StoreServer]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { @for name in ["Server", "Role", "Connection"] { th scope="col" { (name) } } } }
            tbody {
                @for server in servers {
                    tr {
                        th scope="row" { code { (visible(&server.address)) } }
                        td { (server.role) }
                        td {
                            @match server.connected {
                                Some(true) => span.badge.good { "connected" },
                                Some(false) => span.badge.bad { "not connected" },
                                None => span.muted { "not known" },
                            }
                        }
                    }
                }
            }
        } }
    }
}

fn operations(operations: &[OperationStats]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th scope="col" { "Operation" }
                @for name in ["Count", "Errors", "p50", "p99"] { th.number scope="col" { (name) } }
            } }
            tbody {
                @for of in operations {
                    tr {
                        th scope="row" { code { (of.operation) } }
                        td.number { (count(of.durations.count())) }
                        td.number { (count(of.errors)) }
                        td.number { (quantile(&of.durations, 0.5)) }
                        td.number { (quantile(&of.durations, 0.99)) }
                    }
                }
            }
        } }
    }
}

fn quantile(durations: &Durations, quantile: f64) -> String {
    durations.quantile(quantile).map_or_else(|| "–".to_owned(), |bound| format!("≤ {}", duration(bound)))
}
