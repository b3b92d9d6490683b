//! For tests under tokio's paused clock: it advances only when every task waits.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Waits until every other task waits for this test, or for a later time.
pub(crate) async fn settled() {
    sleep(Duration::from_millis(1)).await;
}

/// How long a future takes by tokio's clock, and its output.
pub(crate) async fn timed<T>(future: impl Future<Output = T>) -> (Duration, T) {
    let began = Instant::now();
    let output = future.await;
    (began.elapsed(), output)
}
