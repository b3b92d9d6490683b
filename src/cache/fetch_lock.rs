//! The store's lock on the fetches of one key by other nodes.

use std::time::Duration;

use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

use super::Cache;
use crate::{backend::contract::FetchLock, key::Key};

/// The lock, held by this node until this is dropped.
#[derive(Debug)]
pub(crate) struct FetchLockGuard {
    cache: Cache,
    key: Box<Key>,
}

/// The result of one attempt to acquire the lock.
pub(crate) enum Attempt {
    Acquired(FetchLockGuard),
    /// Another node holds it, and may have stored something meanwhile.
    Waited,
    /// Another node has held it for too long, or the store has failed.
    GivenUp,
}

/// Polling interval while another node holds the lock.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

impl Cache {
    /// Acquires the lock for at most `life`, or waits for a moment while another node holds it; until `deadline` at the latest. Advisory:
    /// correctness does not depend on it.
    pub(crate) async fn try_lock_fetch(&self, key: Key, life: Duration, deadline: Instant) -> Attempt {
        match self.inner.backend.lock_fetch(&key, life).await {
            Ok(FetchLock::Acquired) => Attempt::Acquired(FetchLockGuard { cache: self.clone(), key: Box::new(key) }),
            Ok(FetchLock::Held) if Instant::now() + POLL_INTERVAL < deadline => {
                sleep(POLL_INTERVAL).await;
                Attempt::Waited
            }
            Ok(FetchLock::Held) | Err(_) => Attempt::GivenUp,
        }
    }
}

impl Drop for FetchLockGuard {
    fn drop(&mut self) {
        // Outside a runtime the lock expires by itself.
        let Ok(runtime) = Handle::try_current() else { return };
        let (cache, key) = (self.cache.clone(), self.key.clone());
        runtime.spawn(async move { cache.inner.backend.unlock_fetch(&key).await });
    }
}
