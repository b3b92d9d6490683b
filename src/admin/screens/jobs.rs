//! Warm-ups and schedules of this process, with their progress.

use maud::{Markup, html};

use crate::{
    admin::{
        access::Action,
        page::View,
        text::{count, duration, visible},
    },
    cache::jobs::{JobStatus, WarmProgress},
    clock::Timestamp,
};

pub(super) fn content(view: &View<'_>) -> Markup {
    let jobs = view.state.cache.jobs();
    html! {
        h1 { "Jobs" }
        p.muted { "Warm-ups and schedules of this process, the latest first. Of those that have ended, some are kept." }
        @if jobs.is_empty() { p { "There are none." } }
        @for job in &jobs { (card(view, job)) }
    }
}

fn card(view: &View<'_>, job: &JobStatus) -> Markup {
    let age = view.state.cache.now().since(Timestamp::from_millis(job.began_millis));
    html! {
        section.card {
            h2 { (visible(&job.name)) " " span.muted { (job.kind.as_str()) ", begun " (duration(age)) " ago" } }
            @if job.has_ended { p { span.badge { "ended" } } }
            @if job.progress.concurrency > 0 { (progress(&job.progress)) }
            dl {
                @if job.runs > 0 { dt { "Runs" } dd { (count(job.runs)) } }
                @if let Some(report) = &job.report { dt { "Latest report" } dd { (visible(report)) } }
            }
            @if !job.has_ended && view.granted.allows(Action::CancelJob) {
                form method="post" action=(view.link("actions/cancel-job")) {
                    input type="hidden" name="job" value=(job.id);
                    button type="submit" { "Cancel" }
                }
            }
        }
    }
}

fn progress(progress: &WarmProgress) -> Markup {
    html! {
        p {
            @if let Some(total) = progress.total {
                meter aria-label="Progress" min="0" max=(total.max(1)) value=(progress.done) {}
                " " (count(progress.done)) " of " (count(total)) " requests"
            } @else { (count(progress.done)) " requests" }
            ": " (count(progress.stored)) " stored, " (count(progress.fresh)) " fresh, " (count(progress.not_stored)) " not stored, "
            (count(progress.failed)) " failed; " (count(progress.concurrency as u64)) " at once"
        }
    }
}
