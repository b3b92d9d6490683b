use std::time::Duration;

use larder::{Cache, ManualClock, Memcached, Memory, Tiered};

use super::Server;
use crate::{servers::memcached::url, support::expired_page::windows_begin_with_the_expiry};

#[tokio::test]
async fn stale_windows_begin_with_the_expiry() {
    let servers = [Server::start(), Server::start()];
    for is_tiered in [false, true] {
        let (reader, writer) = (node(&servers, is_tiered).await, node(&servers, is_tiered).await);
        let clock = ManualClock::new();
        windows_begin_with_the_expiry(&reader.with_clock(&clock), &writer.with_clock(&clock), &clock).await;
    }
}

/// Each kind of node has a namespace of its own.
async fn node(servers: &[Server; 2], is_tiered: bool) -> Cache {
    let limit = Duration::from_secs(10);
    let patient = Memcached::builder().read_timeout(limit).store_timeout(limit).invalidate_timeout(limit);
    let store =
        patient.key_prefix(&format!("tiered-{is_tiered}")).connect(&url(&servers.iter().collect::<Vec<_>>())).await.unwrap();
    if is_tiered { Cache::new(Tiered::new(Memory::new(16 << 20), store)) } else { Cache::new(store) }
}
