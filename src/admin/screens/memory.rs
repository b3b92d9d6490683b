//! The memory: what the hit ratio would be with less and with more of it.

use maud::{Markup, html};

use super::chart::curve as picture;
use crate::{
    admin::{
        page::View,
        text::{bytes, count, percent},
    },
    backend::{
        memory_curve::{MemoryCurve, MemoryPoint},
        store_stats::StoreStats,
    },
};

/// With fewer sampled lookups the curve says little.
const FEW: u64 = 2_000;

/// A difference between two hit ratios that is worth a sentence.
const WORTH: f64 = 0.005;

pub(super) fn content(view: &View<'_>) -> Markup {
    let stats = view.state.cache.stats();
    let store = stats.stores().iter().find_map(|store| Some((store, store.memory_curve.as_ref()?)));
    html! {
        h1 { "Memory" }
        @match store {
            None => p.notice.warn {
                "There is no memory curve: this cache keeps no responses in the memory of the process. A store in memory has one, and so has the near tier \
                 in front of a shared store."
            },
            Some((store, curve)) => {
                @match curve.points() {
                    None => p.muted {
                        "There is no estimate yet: no sampled response has been looked up. One key of " (count(curve.rate)) " is sampled."
                    },
                    Some(points) => (estimate(curve, points)),
                }
                (usage(store))
            }
        }
    }
}

fn estimate(curve: &MemoryCurve, points: [MemoryPoint; 4]) -> Markup {
    let [_, present, ..] = points;
    html! {
        p.notice.info role="status" { (verdict(&points)) @if curve.sampled() < FEW { " The sample is still small." } }
        section.card {
            h2 { "Hit ratio by size of the memory " span.muted { "· 0 to 100 %" } }
            (picture("Estimated hit ratio with half, one, two and four times the memory", &points.map(|point| point.hit_ratio)))
            div.axis aria-hidden="true" { @for point in &points { span { (point.size) " ×" } } }
            div.scroll { table {
                thead { tr {
                    th scope="col" { "Size" }
                    @for name in ["Memory", "Hit ratio", "Against now"] { th.number scope="col" { (name) } }
                    th scope="col" { span.hidden { "Picture" } }
                } }
                tbody {
                    @for point in &points {
                        tr {
                            th scope="row" { (point.size) " ×" @if point.size == present.size { " " span.muted { "now" } } }
                            td.number { (bytes(point.bytes)) }
                            td.number { (percent(Some(point.hit_ratio))) }
                            td.number { @if point.size == present.size { "–" } @else { (points_of_percent(point.hit_ratio - present.hit_ratio)) } }
                            td { meter min="0" max="1" value=(format!("{:.4}", point.hit_ratio)) {} }
                        }
                    }
                }
            } }
        }
        section.card {
            h2 { "How good is the estimate?" }
            dl {
                dt { "Measured" } dd { (percent(curve.measured())) ", of all lookups" }
                dt { "Error" }
                dd {
                    (curve.error().map_or_else(|| "–".to_owned(), points_of_percent))
                    ": what the estimate of the present size says less what was measured. Trust the other sizes no more than this."
                }
                dt { "Sample" }
                dd {
                    (count(curve.sampled())) " lookups, of one key of " (count(curve.rate)) "."
                    @if curve.sampled() < FEW { " With fewer than some thousands, the estimate says little." }
                }
            }
            p.muted {
                "The ratio is that of lookups which more memory could have answered: responses that were invalidated, and those that cannot be stored, are \
                 left out. It counts from the start of the process, with the time in which the memory was filled."
            }
        }
    }
}

/// What follows from the curve, in a sentence.
fn verdict(points: &[MemoryPoint; 4]) -> String {
    let [half, present, double, four] = points.map(|point| point.hit_ratio);
    let more = double.max(four) - present;
    match (more > WORTH, present - half > WORTH) {
        (true, _) => format!(
            "More memory would help: twice as much answers {} of the lookups, four times as much {}, and the present size {}.",
            percent(Some(double)),
            percent(Some(four)),
            percent(Some(present)),
        ),
        (false, true) => {
            "The memory is large enough: more of it would answer hardly more lookups, and half of it fewer.".to_owned()
        }
        (false, false) => "The memory is larger than needed: half of it would answer as many lookups.".to_owned(),
    }
}

/// A difference of ratios, with its sign.
fn points_of_percent(difference: f64) -> String {
    format!("{:+.1} points", difference * 100.0).replace('-', "−")
}

fn usage(store: &StoreStats) -> Markup {
    html! {
        section.card {
            h2 { "In use" }
            dl {
                @if let (Some(used), Some(limit)) = (store.bytes, store.limit_bytes) {
                    dt { "Size" } dd { (bytes(used)) " of " (bytes(limit)) " " meter min="0" max=(limit) value=(used) {} }
                }
                @if let Some(entries) = store.entries { dt { "Entries" } dd { (count(entries)) } }
                @if let Some(evictions) = store.evictions { dt { "Evictions" } dd { (count(evictions)) " entries were removed for want of room" } }
            }
        }
    }
}
