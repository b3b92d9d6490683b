//! Nodes whose clocks differ.

use std::time::{Duration, SystemTime};

use axum::{Router, routing};
use larder::{Cache, ManualClock, Memory, Tiered};

use super::support::topology::patient;
use crate::{
    servers::{process::eventually, redis::Redis as Server},
    support::{Runs, get, numbered},
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A page that is fresh for two seconds, and may be served stale for five more.
fn app(cache: &Cache, runs: &Runs) -> Router {
    let layer = cache.layer().ttl(2 * SECOND).stale_while_revalidate(5 * SECOND);
    Router::new().route("/page", routing::get(numbered(runs)).layer(layer))
}

/// A node with copies whose clock shows this time.
async fn node(server: &Server, leased: bool, now: SystemTime) -> (Cache, ManualClock) {
    let clock = ManualClock::new();
    clock.set(now);
    let tiered = Tiered::new(Memory::new(1 << 20), patient().connect(&server.url()).await.unwrap());
    let tiered = if leased { tiered.lease(HOUR) } else { tiered };
    (Cache::new(tiered).with_clock(&clock), clock)
}

#[tokio::test]
async fn a_copy_lives_no_longer_than_its_lifetime_on_a_late_node() {
    let server = Server::start();
    for leased in [false, true] {
        for behind in [Duration::ZERO, SECOND, HOUR] {
            let runs = Runs::default();
            let now = ManualClock::new().now();
            let (cache, _) = node(&server, false, now).await;
            cache.clear().await.unwrap();
            let stored = get(&app(&cache, &runs), "/page").await;
            assert!(stored.is_stored(), "{stored:?}");

            let (late, clock) = node(&server, leased, now - behind).await;
            let late = app(&late, &runs);
            let what = format!("leased: {leased}, behind by {behind:?}");
            for _ in 0..2 {
                let hit = get(&late, "/page").await;
                assert_eq!((hit.text(), hit.cache.unwrap().ttl().unwrap()), ("run 1", 2), "{what}");
            }
            clock.advance(SECOND);
            assert_eq!(get(&late, "/page").await.cache.unwrap().ttl(), Some(1), "{what}");
            clock.advance(2 * SECOND);
            let stale = get(&late, "/page").await;
            assert!(stale.is_hit() && stale.cache.unwrap().ttl().unwrap() < 0, "{what}: {stale:?}");
            // The server's own time has not passed: it would answer with the old entry until it has the new one.
            eventually("the stale page is refreshed", async || get(&late, "/page").await.text() != "run 1").await;
            clock.advance(5 * SECOND);
            assert_ne!(get(&late, "/page").await.text(), "run 1", "{what}: neither fresh nor stale");
        }
    }
}
