//! Warm-ups, schedules, and revisions that are prepared.

mod pace;
mod revisions;
mod rewarm;
mod same_keys;
mod schedules;
mod warm_ups;
