//! A graceful shutdown while Redis does not answer.

use std::time::Duration;

use larder::Redis;
use tokio::time::{Instant, timeout};

use super::support::node::Node;
use crate::{servers::redis::Redis as Server, support::Runs};

const LIMIT: Duration = Duration::from_millis(600);

/// Two nodes that know a page; the first is about to shut down, and fails fast.
async fn nodes(server: &Server, runs: &Runs) -> (Node, Node, String) {
    let hasty = Redis::builder().invalidate_timeout(Duration::from_millis(100)).connect(&server.url()).await.unwrap();
    let (leaving, staying) = (Node::on(hasty, runs), Node::on(Redis::connect(&server.url()).await.unwrap(), runs));
    let old = leaving.text(1).await;
    assert_eq!(staying.text(1).await, old);
    (leaving, staying, old)
}

#[tokio::test]
async fn draining_waits_until_a_paused_server_resumes() {
    let server = Server::start();
    let (leaving, staying, old) = nodes(&server, &Runs::default()).await;
    server.pause();
    leaving.cache.invalidate_tags(("post:1", "post:2")).await.unwrap_err();
    assert_eq!(leaving.cache.unfinished_work().owed, 2);
    let draining = tokio::spawn({
        let cache = leaving.cache.clone();
        async move { cache.drain(Duration::from_secs(60)).await }
    });
    tokio::task::yield_now().await;
    server.resume();
    let report = draining.await.unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(report.completed.owed, 2);
    assert_ne!(staying.text(1).await, old);
}

/// An invalidation whose caller was dropped continues, and is waited for as well.
#[tokio::test]
async fn draining_waits_for_an_invalidation_that_nobody_awaits() {
    let server = Server::start();
    let (leaving, staying, old) = nodes(&server, &Runs::default()).await;
    server.pause();
    timeout(Duration::from_millis(20), leaving.cache.invalidate_tags("post:1")).await.unwrap_err();
    assert_eq!((leaving.cache.unfinished_work().owed, leaving.cache.unfinished_work().invalidations), (1, 0));
    server.resume();
    let report = leaving.cache.drain(Duration::from_secs(60)).await;
    assert!(report.is_complete(), "{report:?}");
    assert_ne!(staying.text(1).await, old);
}

#[tokio::test]
async fn draining_gives_up_on_a_server_that_never_returns() {
    let mut server = Server::start();
    let (leaving, _, _) = nodes(&server, &Runs::default()).await;
    server.kill();
    leaving.cache.invalidate_tags("post:1").await.unwrap_err();
    leaving.cache.clear().await.unwrap_err();
    let began = Instant::now();
    let report = leaving.cache.drain(LIMIT).await;
    assert!(began.elapsed() >= LIMIT && began.elapsed() < LIMIT * 5, "{:?}", began.elapsed());
    assert!(!report.is_complete());
    assert_eq!(report.unfinished.owed, 1, "everything");
}
