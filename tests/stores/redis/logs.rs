//! What the logs say about an outage.

use std::time::Duration;

use larder::Redis;
use tokio::time::Instant;

use super::support::node::Node;
use crate::{
    servers::redis::Redis as Server,
    support::{Runs, logs::Logs},
};

#[tokio::test]
async fn an_outage_does_not_flood_the_logs() {
    let (logs, _guard) = Logs::collect();
    let mut server = Server::start();
    let runs = Runs::default();
    let node = Node::on(Redis::connect(&server.url()).await.unwrap(), &runs);
    node.text(1).await;
    server.kill();
    let began = Instant::now();
    let mut asked = 0;
    while began.elapsed() < Duration::from_secs(2) {
        node.text(1).await;
        node.cache.invalidate_tags(["post:1"]).await.unwrap_err();
        asked += 1;
    }
    server.start_again();
    node.recovered().await;
    let lines = logs.take();
    assert!(asked > 50, "{asked}");
    for (what, times) in [
        ("message=the cache's store failed and is not used until", 1..=1),
        ("message=an invalidation failed, and is repeated", 1..=1),
        ("message=the cache's store answers again", 0..=1),
    ] {
        let logged = lines.iter().filter(|line| line.contains(what)).count();
        assert!(times.contains(&logged), "{what}: {lines:#?}");
    }
    // Besides, the first failure of each kind of operation.
    assert!((2..=6).contains(&lines.len()), "{lines:#?} in {:?} for {asked} requests", began.elapsed());
}
