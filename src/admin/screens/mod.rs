//! The screens: each makes its content from what the cache says at this moment.

mod advisor;
mod chart;
mod explain;
mod jobs;
mod keys;
mod live;
mod memory;
mod overview;
mod routes;
mod store;
mod tags;

use http::StatusCode;
use maud::html;

use super::{
    input::Input,
    page::{SCREENS, View},
};

/// The screen of the answer to a form: none of the navigation.
pub(super) const NOTICE: &str = "notice";

/// Returns the screen with this path.
pub(super) fn named(path: &str) -> Option<&'static str> {
    SCREENS.iter().map(|(screen, _)| *screen).find(|screen| *screen == path)
}

/// Shows a screen.
pub(super) async fn show(view: &View<'_>, input: &Input) -> String {
    let (title, content) = match view.screen {
        "routes" => ("Routes", routes::content(view)),
        "explain" => ("Explain", explain::content(view, input).await),
        "keys" => ("Keys", keys::content(view)),
        "tags" => ("Tags", tags::content(view)),
        "store" => ("Store", store::content(view).await),
        "memory" => ("Memory", memory::content(view)),
        "advisor" => ("Advisor", advisor::content(view)),
        "jobs" => ("Jobs", jobs::content(view)),
        "live" => ("Live", live::content(view)),
        _ => ("Overview", overview::content(view).await),
    };
    view.frame(title, &content)
}

/// Shows what an action has done, or why it failed and what it did before.
pub(super) fn notice(view: &View<'_>, result: Result<String, (StatusCode, String, String)>) -> String {
    let content = html! {
        @match &result {
            Ok(done) => {
                h1 { "Done" }
                p.notice.good role="status" { (done) "." }
            }
            Err((_, error, happened)) => {
                h1 { "This has failed" }
                div.notice.bad role="alert" { p { strong { (error) } } p { (happened) } }
            }
        }
        p { a.button href=(view.link("")) { "Overview" } " " a.button href=(view.link("tags")) { "Tags" } }
    };
    view.frame(if result.is_ok() { "Done" } else { "Failed" }, &content)
}
