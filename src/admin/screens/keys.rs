//! The keys that most requests have, and those that miss most.

use maud::{Markup, html};

use crate::{
    admin::{
        page::View,
        text::{count, visible},
    },
    stats::hot::HotKey,
};

pub(super) fn content(view: &View<'_>) -> Markup {
    let cache = &view.state.cache;
    html! {
        h1 { "Keys" }
        p.muted { "Estimates of the last one to two minutes: one hit of 64 is sampled, and one of eight requests that run a handler." }
        @if !cache.inner.listener.reveals_keys {
            p.muted { "Keys are shown as digests, as in the events " code { "larder::decision" } ". " code { "Cache::with_revealed_keys(true)" } " adds their URLs." }
        }
        div.columns {
            (table("Hot keys", "answered from the cache", &cache.hot_keys(48)))
            (table("Hot misses", "answered by handlers", &cache.hot_misses(48)))
        }
    }
}

fn table(title: &str, what: &str, keys: &[HotKey]) -> Markup {
    let most = keys.iter().map(|key| key.requests).max().unwrap_or(0).max(1);
    html! {
        section.card {
            h2 { (title) }
            @if keys.is_empty() { p.muted { "None in the sample." } }
            @else {
                div.scroll { table {
                    thead { tr { th scope="col" { "Key" } th.number scope="col" { "Requests " (what) } th scope="col" { span.hidden { "Share" } } } }
                    tbody {
                        @for key in keys {
                            tr {
                                th scope="row" { code { (key.digest) } @if let Some(key) = &key.key { div.muted { (visible(key)) } } }
                                td.number { "≈ " (count(key.requests)) }
                                td { meter min="0" max=(most) value=(key.requests) { (key.requests) } }
                            }
                        }
                    }
                } }
            }
        }
    }
}
