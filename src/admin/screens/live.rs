//! Decisions as they are made. The only screen that needs its script.

use maud::{Markup, html};

use crate::admin::page::View;

pub(super) fn content(view: &View<'_>) -> Markup {
    html! {
        h1 { "Live" }
        p.muted { "A sample of the decisions, at most twenty a second. While no one has this screen open, nothing is computed." }
        noscript { p.notice.warn { "This screen needs its script. The same is logged as " code { "larder::decision" } " at the level DEBUG." } }
        p { button type="button" id="pause" { "Pause" } " " span.muted id="state" role="status" { "Connecting …" } }
        section.card {
            div.scroll {
                table {
                    thead { tr { @for name in ["Outcome", "Route", "Status", "Why", "TTL", "Age", "Key"] { th scope="col" { (name) } } } }
                    tbody id="decisions" data-source=(view.link("api/live")) {}
                }
            }
        }
    }
}
