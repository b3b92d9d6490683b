//! Nodes of a Cluster that rule over their slots, lose them, and get them back.

use redis::cmd;

use super::support::{
    node::{Node, resumes_without, warm},
    topology::patient,
};
use crate::{
    servers::{
        process::wait_until,
        redis::{Cluster, Redis as Server},
    },
    support::Runs,
};

/// So many that each server has records of some.
const PAGES: std::ops::Range<u32> = 0..12;

/// Waits until the replica follows, and lacks nothing.
fn caught_up(primary: &Server, replica: &Server) {
    let offset = |info: &str| info.lines().find_map(|line| line.strip_prefix("master_repl_offset:").map(str::to_owned));
    wait_until("the replica has caught up", || {
        let (primary, replica): (String, String) = (primary.run("INFO replication"), replica.run("INFO replication"));
        replica.contains("master_link_status:up") && offset(&primary) == offset(&replica)
    });
}

fn take_over(cluster: &Cluster, replica: &Server, primary: &Server) {
    caught_up(primary, replica);
    cmd("CLUSTER").arg("FAILOVER").arg("TAKEOVER").exec(&mut replica.connection()).unwrap();
    caught_up(replica, primary);
    cluster.wait_until_ready();
}

#[tokio::test]
async fn primary_that_returns_knows_later_invalidations() {
    let cluster = Cluster::start().with_replicas();
    let runs = Runs::default();
    let connect = async || patient().connect(&cluster.url()).await.unwrap();
    let nodes = [Node::on(connect().await, &runs), Node::on(connect().await, &runs), Node::strict(connect().await, &runs)];
    // One after the other, so that the clock stays where it is while records go and come back.
    for at in 0..3 {
        let mut old = Vec::new();
        for id in PAGES {
            old.push(warm(&nodes, id).await);
        }
        let (first, second) = (&cluster.nodes[at], &cluster.nodes[at + 3]);
        take_over(&cluster, second, first);
        for id in PAGES {
            // Until the client has learnt who has the slots.
            while nodes[0].cache.invalidate_tags([format!("post:{id}")]).await.is_err() {
                nodes[0].recovered().await;
            }
        }
        take_over(&cluster, first, second);
        for (id, old) in PAGES.zip(&old) {
            resumes_without(&nodes, id, old).await;
        }
    }
}
