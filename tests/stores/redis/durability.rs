//! Invalidations that count only when replicas have them.

use std::time::Duration;

use larder::{Durability, RedisBuilder};
use redis::cmd;

use super::support::{
    node::{Node, resumes_without, warm},
    topology::patient,
};
use crate::{servers::redis::Redis as Server, support::Runs};

const CLOCK: &str = "{larder}:clock";

/// Short enough to wait for replicas that do not answer.
fn hasty(replicas: u32) -> RedisBuilder {
    patient().invalidate_timeout(Duration::from_millis(500)).durability(replicas)
}

fn clock(server: &Server) -> Vec<u8> {
    server.query(cmd("GET").arg(CLOCK))
}

#[tokio::test]
async fn acknowledged_invalidation_is_on_the_replica() {
    let primary = Server::start();
    let replica = Server::start_replica_of(&primary);
    let node = Node::on(patient().durability(1).connect(&primary.url()).await.unwrap(), &Runs::default());
    for _ in 0..100 {
        let receipt = node.cache.invalidate_tags(["post:1"]).await.unwrap();
        // Nobody else writes, so what the replica has now it had when the invalidation was acknowledged, or it never will.
        assert_eq!(clock(&replica), clock(&primary));
        assert_eq!(receipt.durability, Durability::Durable);
    }
}

#[tokio::test]
async fn without_durability_no_replica_is_waited_for() {
    let primary = Server::start();
    for builder in [patient(), patient().durability(0)] {
        let node = Node::on(builder.connect(&primary.url()).await.unwrap(), &Runs::default());
        assert_eq!(node.cache.invalidate_tags(["post:1"]).await.unwrap().durability, Durability::Volatile);
    }
}

/// How long the announcements are of what has been invalidated on a server: each has 64 bytes, and its tags.
fn carried_out(server: &Server) -> u64 {
    u64::from_be_bytes(clock(server)[24..32].try_into().unwrap())
}

/// An invalidation that the replica cannot confirm: an error that says so, carried out again until it can.
async fn assert_missed(primary: &Server, replica: &mut Server, leave: impl Fn(&mut Server), come_back: impl Fn(&mut Server)) {
    let runs = Runs::default();
    let nodes = [
        Node::on(hasty(1).connect(&primary.url()).await.unwrap(), &runs),
        Node::on(patient().connect(&primary.url()).await.unwrap(), &runs),
    ];
    let [node, other] = &nodes;
    let old = warm(&nodes, 1).await;
    let before = carried_out(primary);
    leave(replica);
    let error = node.cache.invalidate_tags(["post:1"]).await.unwrap_err();
    assert!(error.is_unavailable() && error.to_string().contains("0 of 1 replicas"), "{error:?}");
    assert!(error.to_string().contains("`durability`"), "it does not say what to do: {error}");
    // It is done as far as can be, and not trusted.
    assert!(node.redis.is_suspended());
    assert_ne!(node.text(1).await, old);
    assert_ne!(other.text(1).await, old);
    come_back(replica);
    node.recovered().await;
    // With the tag `t:post:1` behind its length.
    assert!(carried_out(primary) >= before + 2 * (64 + 10), "not carried out again");
    resumes_without(&nodes, 1, &old).await;
    assert_eq!(node.cache.invalidate_tags(["post:1"]).await.unwrap().durability, Durability::Durable);
    assert_eq!(clock(replica), clock(primary));
}

#[tokio::test]
async fn invalidation_missing_on_a_stopped_replica_is_an_error() {
    let primary = Server::start();
    let mut replica = Server::start_replica_of(&primary);
    assert_missed(&primary, &mut replica, |replica| replica.pause(), |replica| replica.resume()).await;
}

#[tokio::test]
async fn invalidation_missing_on_a_dead_replica_is_an_error() {
    let primary = Server::start();
    let mut replica = Server::start_replica_of(&primary);
    assert_missed(&primary, &mut replica, Server::kill, |replica| {
        replica.start_again();
        replica.wait_until_it_follows();
    })
    .await;
}

#[tokio::test]
async fn more_replicas_than_there_are_is_an_error() {
    let primary = Server::start();
    let _replica = Server::start_replica_of(&primary);
    let node = Node::on(hasty(2).connect(&primary.url()).await.unwrap(), &Runs::default());
    let error = node.cache.invalidate_tags(["post:1"]).await.unwrap_err();
    assert!(error.to_string().contains("only 1 of 2 replicas"), "{error}");
}
