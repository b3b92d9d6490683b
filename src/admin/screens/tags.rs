//! Tags: those with the most hits, the latest invalidations, and the forms that invalidate.

use maud::{Markup, html};

use crate::{
    admin::{
        access::Action,
        page::View,
        text::{ago, count, duration, visible},
    },
    stats::invalidations::InvalidationKind,
};

pub(super) fn content(view: &View<'_>) -> Markup {
    html! {
        h1 { "Tags" }
        div.columns { (forms(view)) (hot(view)) }
        (log(view))
    }
}

fn forms(view: &View<'_>) -> Markup {
    let allows = |action| view.granted.allows(action);
    html! {
        section.card {
            h2 { "Invalidate" }
            @if allows(Action::Invalidate) {
                form.row method="post" action=(view.link("actions/invalidate")) {
                    label { "Tags, one per line " textarea name="tags" rows="2" required {} }
                    div.buttons {
                        button { "Invalidate" }
                        @if allows(Action::Expire) { button formaction=(view.link("actions/expire")) { "Expire" } }
                    }
                }
                form.row method="post" action=(view.link("actions/invalidate")) {
                    label { "URL or path " input name="uri" placeholder="/posts/7" required; }
                    button { "Invalidate" }
                }
                form.row method="post" action=(view.link("actions/invalidate")) {
                    label { "Route " input name="route" placeholder="/posts/{id}" required; }
                    button { "Invalidate" }
                }
            } @else if allows(Action::Expire) {
                form.row method="post" action=(view.link("actions/expire")) {
                    label { "Tags, one per line " textarea name="tags" rows="2" required {} }
                    button { "Expire" }
                }
            } @else {
                p.muted { "You may not invalidate." }
            }
        }
    }
}

fn hot(view: &View<'_>) -> Markup {
    let tags = view.state.cache.hot_tags(24);
    let most = tags.iter().map(|tag| tag.hits).max().unwrap_or(0).max(1);
    html! {
        section.card {
            h2 { "Hot tags" }
            @if tags.is_empty() { p.muted { "None in the sample of the last two minutes." } }
            @else {
                table { tbody {
                    @for tag in &tags {
                        tr {
                            th scope="row" { code { (visible(&tag.tag)) } }
                            td.number { "≈ " (count(tag.hits)) " hits" }
                            td { meter min="0" max=(most) value=(tag.hits) { (tag.hits) } }
                        }
                    }
                } }
            }
        }
    }
}

fn log(view: &View<'_>) -> Markup {
    let cache = &view.state.cache;
    let (past, stats, now) = (cache.recent_invalidations(256), cache.stats(), cache.now().as_millis());
    let counted = stats.invalidations();
    html! {
        section.card {
            h2 { "Invalidations" }
            p.muted {
                @for kind in InvalidationKind::ALL { (kind.as_str()) ": " (count(counted.succeeded(*kind))) " (" (count(counted.failed(*kind))) " failed) · " }
                (count(counted.tags())) " tags. The last 256 of this process:"
            }
            @if past.is_empty() { p.muted { "None yet." } }
            @else {
                div.scroll { table {
                    thead { tr { @for name in ["When", "Kind", "Tags", "Took", "Result"] { th scope="col" { (name) } } } }
                    tbody {
                        @for past in &past {
                            tr {
                                td { (ago(now.saturating_sub(past.at_millis) / 1000)) }
                                td { (past.kind.as_str()) }
                                td.text {
                                    @for tag in &past.tags { code { (visible(tag)) } " " }
                                    @if past.tag_count > past.tags.len() { span.muted { "and " (count((past.tag_count - past.tags.len()) as u64)) " more" } }
                                }
                                td { (duration(past.took)) }
                                td { @match &past.error { None => span.badge.good { "ok" }, Some(error) => span.badge.bad { (visible(&error.to_string())) } } }
                            }
                        }
                    }
                } }
            }
        }
    }
}
