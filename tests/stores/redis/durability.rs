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
        // There is no other writer: the replica had this state when the invalidation was acknowledged, or it never will.
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

/// An invalidation that the replica cannot confirm is an error that says so. It has been carried out, and hits go on.
async fn assert_missed(primary: &Server, replica: &mut Server, leave: impl Fn(&mut Server), come_back: impl Fn(&mut Server)) {
    let runs = Runs::default();
    let nodes = [
        Node::on(hasty(1).connect(&primary.url()).await.unwrap(), &runs),
        Node::on(patient().connect(&primary.url()).await.unwrap(), &runs),
    ];
    let [node, other] = &nodes;
    let mut old = warm(&nodes, 1).await;
    leave(replica);
    for _ in 0..3 {
        let error = node.cache.invalidate_tags("post:1").await.unwrap_err();
        assert!(error.is_unconfirmed() && error.is_unavailable() && error.to_string().contains("0 of 1 replicas"), "{error:?}");
        assert!(error.to_string().contains("`durability`"), "it does not say what to do: {error}");
        assert!(!node.redis.is_suspended());
        let new = node.text(1).await;
        assert_ne!(new, old);
        assert_eq!(other.text(1).await, new);
        old = new;
        let before = runs.count();
        for node in &nodes {
            assert_eq!(node.text(1).await, old);
        }
        assert_eq!(runs.count(), before, "no hits while the replica is missing");
    }
    come_back(replica);
    assert_eq!(node.cache.invalidate_tags("post:1").await.unwrap().durability, Durability::Durable);
    resumes_without(&nodes, 1, &old).await;
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
