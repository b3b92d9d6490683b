//! Why is this URL not cached? A dry run, shown part by part.

use maud::{Markup, html};

use crate::admin::{
    explain::{Entry, Explanation, KeyPart, explain},
    input::Input,
    page::View,
    text::{ago, bytes, prose, visible},
};

pub(super) async fn content(view: &View<'_>, input: &Input) -> Markup {
    let result = match input.question() {
        _ if input.url.is_none() => None,
        Ok(question) => Some(explain(&view.state.cache, question).await),
        Err(error) => Some(Err(error)),
    };
    html! {
        h1 { "Explain" }
        p.muted { "What the layer would decide about a request. No handler runs, and nothing is counted." }
        (form(view, input))
        @match &result {
            None => {},
            Some(Err(error)) => p.notice.bad role="alert" { (visible(&error.to_string())) },
            Some(Ok(explanation)) => (explained(explanation)),
        }
    }
}

/// The values of fields are not shown again: they may be credentials.
fn form(view: &View<'_>, input: &Input) -> Markup {
    let method = input.method.as_deref().unwrap_or("GET");
    html! {
        form.card.ask method="post" action=(view.link("explain")) {
            label { "Method "
                select name="method" { @for name in ["GET", "HEAD", "QUERY", "POST", "PUT", "DELETE"] { option selected[name == method] { (name) } } }
            }
            label.grow { "URL " input name="url" required placeholder="https://example.com/posts/7" value=[input.url.as_deref().map(|url| visible(url.split('?').next().unwrap_or_default()))]; }
            label.wide { "Request fields, one per line; they are not shown again " textarea name="headers" rows="2" placeholder="accept-language: de" {} }
            button { "Explain" }
        }
    }
}

fn explained(explanation: &Explanation) -> Markup {
    let class = match explanation.verdict {
        "hit" => "badge good",
        "stale" | "unknown" => "badge warn",
        "miss" => "badge info",
        _ => "badge bad",
    };
    html! {
        section.card.verdict aria-live="polite" {
            h2 { span class=(class) { (explanation.verdict) } " " code { (explanation.method) " " (explanation.path) } }
            p { (prose(&explanation.summary)) }
            @if let Some(remedy) = explanation.remedy { pre { (remedy) } }
            @for note in &explanation.notes { p.muted { (prose(note)) } }
            dl {
                @if let Some(route) = &explanation.route { dt { "Route" } dd { code { (visible(route)) } } }
                @if let Some(forward) = explanation.forward { dt { "Forwarded" } dd { code { (forward) } @if let Some(reason) = explanation.reason { "; detail " code { (reason) } } } }
                @if let Some(digest) = &explanation.key_digest { dt { "Key" } dd { code { (digest) } @if let Some(key) = &explanation.key { div.muted { (visible(key)) } } } }
                @if !explanation.vary.is_empty() { dt { "Varies by" } dd { @for field in &explanation.vary { code { (field) } " " } } }
                @if let Some(variants) = explanation.variants { dt { "Variants stored" } dd { (variants) } }
            }
        }
        div.columns {
            @if let Some(entry) = &explanation.entry { (entry_card(entry)) }
            (parts("Key parts", &explanation.key_parts))
            (parts("Policy of the layer", &explanation.policy))
        }
        (tags(explanation))
    }
}

fn entry_card(entry: &Entry) -> Markup {
    html! {
        section.card {
            h2 { "Stored response" }
            dl {
                dt { "Status" } dd { (entry.status) }
                dt { "Age" } dd { (entry.age_seconds) " s" }
                dt { "Time to live" } dd { (entry.ttl_seconds) " s " @if entry.fresh { span.badge.good { "fresh" } } @else { span.badge.warn { "stale" } } }
                dt { "Stale while revalidating" } dd { (entry.stale_while_revalidate_seconds) " s" }
                dt { "Stale on error" } dd { (entry.stale_if_error_seconds) " s" }
                dt { "Body" } dd { (bytes(entry.body_bytes as u64)) ", " (bytes(entry.bytes_in_memory as u64)) " in memory" }
                dt { "Handler took" } dd { (entry.handler_millis) " ms" }
                dt { "With Authorization" } dd { @if entry.answers_authorized_requests { "answers" } @else { "does not answer" } }
                dt { "Born at epoch" } dd { (entry.born_epoch) }
            }
        }
    }
}

fn parts(title: &str, parts: &[KeyPart]) -> Markup {
    html! {
        @if !parts.is_empty() {
            section.card { h2 { (title) } dl { @for part in parts { dt { (part.name) } dd { (part.value) } } } }
        }
    }
}

fn tags(explanation: &Explanation) -> Markup {
    html! {
        @if !explanation.tags.is_empty() {
            section.card {
                h2 { "Tags" }
                div.scroll { table {
                    thead { tr { @for name in ["Tag", "State", "Last invalidated here"] { th scope="col" { (name) } } } }
                    tbody {
                        @for tag in &explanation.tags {
                            tr {
                                th scope="row" { code { (tag.tag) } }
                                td { (tag.state) }
                                td { @if let Some(seconds) = tag.invalidated_seconds_ago { (ago(seconds)) } @else { "–" } }
                            }
                        }
                    }
                } }
            }
        }
    }
}
