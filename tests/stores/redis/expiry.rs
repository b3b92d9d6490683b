use std::time::Duration;

use larder::ManualClock;

use super::support::topology::{Place, everywhere, patient};
use crate::support::expired_page::{self, windows_begin_with_the_expiry};

/// Another node expires, except where a copy may be used without asking for as long as the lease lasts.
#[test]
fn stale_windows_begin_with_the_expiry() {
    everywhere(async |site| {
        let clock = ManualClock::new();
        // The first lookup of a cold page must not fail on a busy machine.
        let (reader, writer) = (site.node_with(patient()).await.cache, site.node_with(patient()).await.cache);
        let (reader, writer) = (reader.with_clock(&clock), writer.with_clock(&clock));
        let writer = if site.place == Place::TieredLease { reader.clone() } else { writer };
        windows_begin_with_the_expiry(&reader, &writer, &clock).await;
    });
}

/// The expiry of a node whose clock is ahead counts as one of now.
#[test]
fn an_expiry_in_the_future_counts_as_now() {
    everywhere(async |site| {
        let (clock, ahead) = (ManualClock::new(), ManualClock::new());
        ahead.advance(Duration::from_secs(3600));
        let (reader, writer) = site.nodes().await;
        let writer = if site.place == Place::TieredLease { reader.clone() } else { writer };
        expired_page::an_expiry_in_the_future_counts_as_now(&reader.with_clock(&clock), &writer.with_clock(&ahead)).await;
    });
}
