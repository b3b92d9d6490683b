//! The stale window of what has expired begins with the expiry.

use larder::ManualClock;

use crate::support::{cache, expired_page};

#[tokio::test]
async fn stale_windows_begin_with_the_expiry() {
    let (cache, clock) = cache();
    expired_page::windows_begin_with_the_expiry(&cache, &cache, &clock).await;
}

#[tokio::test]
async fn an_expiry_in_the_future_counts_as_now() {
    let (cache, _) = cache();
    let ahead = ManualClock::new();
    ahead.advance(std::time::Duration::from_secs(3600));
    expired_page::an_expiry_in_the_future_counts_as_now(&cache, &cache.with_clock(&ahead)).await;
}
