//! Slots of a Cluster that move from one primary to another.

use super::support::{
    node::{Node, resumes_without, warm},
    topology::patient,
};
use crate::{servers::redis::Cluster, support::Runs};

/// What stands in a slot of its own.
const RECORD: &[u8] = b"larder:t:t:post:1";
const CLOCK: &[u8] = b"{larder}:clock";

async fn nodes(cluster: &Cluster) -> Vec<Node> {
    let runs = Runs::default();
    let connect = async || patient().connect(&cluster.url()).await.unwrap();
    vec![Node::on(connect().await, &runs), Node::on(connect().await, &runs), Node::strict(connect().await, &runs)]
}

async fn invalidate(node: &Node) {
    // Until the client has learnt who has the slot.
    while node.cache.invalidate_tags(["post:1"]).await.is_err() {
        node.recovered().await;
    }
}

#[tokio::test]
async fn invalidation_survives_the_return_of_a_moved_slot() {
    let cluster = Cluster::start();
    let nodes = nodes(&cluster).await;
    for key in [RECORD, CLOCK, RECORD] {
        let old = warm(&nodes, 1).await;
        let home = cluster.owner(key);
        cluster.move_slot(key, (home + 1) % 3, || {});
        invalidate(&nodes[0]).await;
        cluster.move_slot(key, home, || {});
        resumes_without(&nodes, 1, &old).await;
    }
}
