//! Filling the cache before requests need it: warm-ups, schedules, and revisions that are prepared while another one is in use.

pub(crate) mod builder;
#[cfg(feature = "cron")]
pub(crate) mod cron;
pub(crate) mod handle;
mod jobs;
pub(crate) mod pace;
pub(crate) mod prepared;
#[cfg(feature = "progress")]
mod progress_bar;
pub(crate) mod report;
pub(crate) mod requests;
pub(crate) mod run;
pub(crate) mod schedule;
mod sitemap;
pub(crate) mod timetable;
