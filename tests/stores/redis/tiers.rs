//! Copies in memory, in front of Redis.

use std::time::Duration;

use larder::Scope;
use redis::cmd;
use tokio::time::sleep;

use super::support::{
    node::{Node, resumes_without, warm},
    topology::{LEASE, patient},
};
use crate::{
    servers::{
        process::eventually,
        proxy::{Fault, Proxy},
        redis::Redis as Server,
    },
    support::Runs,
};

#[tokio::test]
async fn strict_copies_respect_invalidations_of_other_nodes() {
    let server = Server::start();
    let runs = Runs::default();
    let connect = async || patient().connect(&server.url()).await.unwrap();
    let nodes = [Node::strict(connect().await, &runs), Node::strict(connect().await, &runs)];
    for round in 0..100 {
        let old = warm(&nodes, 1).await;
        match round % 3 {
            0 => nodes[0].cache.invalidate_tags(["post:1"]).await,
            1 => nodes[0].cache.expire_tags(["posts"]).await,
            _ => nodes[0].cache.clear().await,
        }
        .unwrap();
        assert_ne!(nodes[1].text(1).await, old);
        resumes_without(&nodes, 1, &old).await;
    }
}

#[tokio::test]
async fn leased_copies_are_given_up_at_once_where_they_are_invalidated() {
    let server = Server::start();
    let runs = Runs::default();
    let connect = async || patient().connect(&server.url()).await.unwrap();
    let span = Duration::from_secs(600);
    let nodes = [Node::leased(connect().await, span, &runs), Node::on(connect().await, &runs)];
    for _ in 0..100 {
        let old = warm(&nodes, 1).await;
        nodes[0].cache.invalidate_tags(["post:1"]).await.unwrap();
        assert_ne!(nodes[0].text(1).await, old);
    }
}

#[tokio::test]
async fn receipts_of_all_nodes_state_the_longest_lease_in_use() {
    let server = Server::start();
    let runs = Runs::default();
    let connect = async || patient().connect(&server.url()).await.unwrap();
    let (tool, strict) = (Node::on(connect().await, &runs), Node::strict(connect().await, &runs));
    let scope = async |node: &Node| node.cache.invalidate_tags("post:1").await.unwrap().scope;
    assert_eq!([scope(&tool).await, scope(&strict).await], [Scope::Nodes; 2]);

    let mut leased = Vec::new();
    let longest = Scope::NodesWithin(Duration::from_secs(600));
    for span in [2, 600].map(Duration::from_secs) {
        leased.push(Node::leased(connect().await, span, &runs));
        resumes_without(&leased, 1, "").await;
        eventually("the lease is announced", async || scope(&tool).await == Scope::NodesWithin(span)).await;
    }
    for node in leased.iter().chain([&tool, &strict]) {
        assert_eq!(scope(node).await, longest);
    }
    let many: Vec<_> = (0..2500).map(|number| format!("x:{number}")).collect();
    assert_eq!(tool.cache.invalidate_tags(&many).await.unwrap().scope, longest);
    assert_eq!(tool.cache.clear().await.unwrap().scope, longest);

    // What is announced is forgotten when it ends, by the time of the server.
    drop(leased);
    let left: i64 = server.run("PTTL {larder}:leases");
    assert!((0..=620_000).contains(&left), "{left}");
    server.run::<()>("DEL {larder}:leases");
    assert_eq!(scope(&tool).await, Scope::Nodes);
}

#[tokio::test]
async fn copies_are_used_until_their_lease_has_ended_and_no_longer() {
    let server = Server::start();
    let runs = Runs::default();
    let span = Duration::from_secs(2);
    let nodes =
        [Node::leased(patient().read_timeout(Duration::from_millis(50)).connect(&server.url()).await.unwrap(), span, &runs)];
    resumes_without(&nodes, 1, "").await;
    // After one that has come from the first poll's copies.
    sleep(span / 2).await;
    let old = warm(&nodes, 1).await;
    server.pause();
    assert_eq!(nodes[0].text(1).await, old, "without asking the server, which stands still");
    sleep(span).await;
    assert_ne!(nodes[0].text(1).await, old, "the node cannot know what was invalidated meanwhile");
    server.resume();
    nodes[0].recovered().await;
}

/// What may become of the announcements that a node is about to miss.
#[derive(Debug, Clone, Copy)]
enum Stream {
    Whole,
    Trimmed,
    Deleted,
    Flushed,
}

#[tokio::test]
async fn node_that_missed_announcements_drops_its_copies() {
    for stream in [Stream::Whole, Stream::Trimmed, Stream::Deleted, Stream::Flushed] {
        let server = Server::start();
        let proxy = Proxy::start(server.port).await;
        let runs = Runs::default();
        let leased = patient().read_timeout(Duration::from_millis(200)).connect(&proxy.url()).await.unwrap();
        let nodes = [Node::leased(leased, LEASE, &runs), Node::on(patient().connect(&server.url()).await.unwrap(), &runs)];
        resumes_without(&nodes, 1, "").await;
        let old = nodes[1].text(1).await;
        proxy.set(Fault::Silence);
        nodes[1].cache.invalidate_tags(["post:1"]).await.unwrap();
        // More than are read at once.
        for number in 0..1100 {
            nodes[1].cache.invalidate_tags([format!("other:{number}")]).await.unwrap();
        }
        match stream {
            Stream::Whole => {}
            Stream::Trimmed => drop(server.run::<i64>("XTRIM {larder}:stream MAXLEN 10")),
            Stream::Deleted => server.query::<()>(cmd("DEL").arg("{larder}:stream")),
            Stream::Flushed => server.run::<()>("FLUSHALL"),
        }
        sleep(LEASE).await;
        assert_ne!(nodes[0].text(1).await, old, "{stream:?}");
        proxy.set(Fault::None);
        nodes[0].recovered().await;
        resumes_without(&nodes, 1, &old).await;
        // It follows again.
        let old = nodes[1].text(1).await;
        nodes[1].cache.invalidate_tags(["post:1"]).await.unwrap();
        sleep(LEASE + Duration::from_millis(10)).await;
        resumes_without(&nodes, 1, &old).await;
    }
}
