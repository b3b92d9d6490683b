//! The case about fetch locks: of all nodes, one fetches.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    backend_under_test::{BackendUnderTest, key},
    report::{NotPassed, Verdict, ensure},
};
use crate::backend::contract::FetchLock;

/// Longer than the case takes.
const LONG: Duration = Duration::from_secs(600);

/// How much later than its life a lock may expire: some stores count whole seconds.
const EXPIRY_LIMIT: Duration = Duration::from_secs(5);

/// How much earlier: others count milliseconds.
const RESOLUTION: Duration = Duration::from_millis(2);

pub(super) async fn fetch_lock(subject: &BackendUnderTest<'_>) -> Verdict {
    if !subject.claims.locks {
        return Err(NotPassed::Skipped("needs a store with fetch locks: `Suite::locks_fetches`"));
    }
    let (one, page) = (&subject.backend, key("page"));
    ensure!(one.lock_fetch(&page, LONG).await? == FetchLock::Acquired, "a lock that nobody holds is not acquired");
    ensure!(one.lock_fetch(&key("other"), LONG).await? == FetchLock::Acquired, "the lock of one key holds for another key");
    if let Some(peer) = &subject.peer {
        let other = peer(()).await;
        ensure!(other.lock_fetch(&page, LONG).await? == FetchLock::Held, "two nodes hold the lock of one key");
        other.unlock_fetch(&page).await;
        ensure!(other.lock_fetch(&page, LONG).await? == FetchLock::Held, "a node releases the lock that another one holds");
        one.unlock_fetch(&page).await;
        ensure!(other.lock_fetch(&page, LONG).await? == FetchLock::Acquired, "a lock that was released is not acquired");
        other.unlock_fetch(&page).await;
    }
    one.unlock_fetch(&page).await;
    let (began, life) = (Instant::now(), Duration::from_millis(500));
    ensure!(one.lock_fetch(&page, life).await? == FetchLock::Acquired, "a lock that was released is not acquired");
    while one.lock_fetch(&page, LONG).await? == FetchLock::Held {
        let held = began.elapsed();
        ensure!(held < life + EXPIRY_LIMIT, "a lock with a life of {life:?} is still held after {held:?}");
        sleep(Duration::from_millis(20)).await;
    }
    let held = began.elapsed();
    ensure!(held + RESOLUTION >= life, "a lock with a life of {life:?} is acquired again after {held:?}");
    Ok(())
}
