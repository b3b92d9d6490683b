//! A warm-up leaves the handlers to clients: by its budget, and when they become slow.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing};
use larder::{Cache, WarmEnd};
use tokio::time::sleep;

use crate::support::{cache, minute, paused::timed};

/// An application whose handler takes as many milliseconds as `millis` says.
fn slow(cache: &Cache, millis: &Arc<AtomicU64>) -> Router {
    let millis = Arc::clone(millis);
    let handler = move || async move {
        let millis = millis.load(Ordering::Relaxed);
        sleep(Duration::from_millis(millis)).await;
    };
    Router::new().route("/{page}", routing::get(handler).layer(minute(cache)))
}

fn pages(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("/{number}"))
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_a_quarter_takes_four_times_as_long() {
    let (cache, _) = cache();
    let app = slow(&cache, &Arc::new(AtomicU64::new(100)));
    let warm = || cache.warm(app.clone()).host("example.com").paths(pages(40)).concurrency(2);
    let (full, _) = timed(warm().start()).await;
    let (quarter, report) = timed(warm().budget(0.25).start()).await;
    assert_eq!(report.stored(), 40);
    // The last two requests are followed by no pause.
    assert_eq!((full, quarter), (Duration::from_secs(2), Duration::from_millis(19 * 400 + 100)));
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_slows_down_with_slow_handlers_and_ends_if_they_stay_slow() {
    let (cache, _) = cache();
    let millis = Arc::new(AtomicU64::new(50));
    let app = slow(&cache, &millis);
    let slower = Arc::clone(&millis);
    let least = Arc::new(AtomicU64::new(u64::MAX));
    let seen = Arc::clone(&least);
    let warm = cache.warm(app).host("example.com").paths(pages(1000)).concurrency(8).on_progress(move |progress| {
        if progress.done == 100 {
            slower.store(500, Ordering::Relaxed);
        }
        seen.fetch_min(progress.concurrency as u64, Ordering::Relaxed);
    });
    let report = warm.start().await;
    assert_eq!((report.end(), least.load(Ordering::Relaxed)), (WarmEnd::SlowHandlers, 1), "{report}");
    assert!(report.stored() < 300, "{report}");
}
