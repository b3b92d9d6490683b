//! Servers that rule again without having been told that another ruled meanwhile.

use std::time::Duration;

use larder::RedisBuilder;
use redis::{cmd, pipe};
use tokio::{task::spawn_blocking, time::sleep};

use super::support::{
    node::{Node, resumes_without, warm},
    topology::{LEASE, deadpool, manager, patient},
};
use crate::{
    servers::{
        process::{eventually, free_port, wait_until},
        proxy::{Fault, Proxy},
        redis::{Redis as Server, Sentinel},
    },
    support::Runs,
};

/// Nodes of each kind on one address.
async fn nodes(builder: &RedisBuilder, url: &str, runs: &Runs) -> Vec<Node> {
    let redis = async || builder.clone().connect(url).await.unwrap();
    let nodes = vec![
        Node::on(redis().await, runs),
        Node::on(redis().await, runs),
        Node::strict(redis().await, runs),
        Node::leased(redis().await, LEASE, runs),
    ];
    for node in &nodes {
        node.recovered().await;
    }
    nodes
}

async fn invalidated(node: &Node) {
    eventually("an invalidation succeeds", async || node.cache.invalidate_tags(["post:1"]).await.is_ok()).await;
    // A node that uses copies without asking may do so for a while.
    sleep(LEASE).await;
}

fn has_everything(primary: &Server, replica: &Server) {
    let offset = |server: &Server| {
        let info: String = server.run("INFO replication");
        info.lines().find_map(|line| line.strip_prefix("master_repl_offset:").map(str::to_owned))
    };
    wait_until("the replica has everything", || offset(primary) == offset(replica));
}

/// So that nodes connect to whichever server the sentinel names.
fn hang_up(server: &Server) {
    server.run::<()>("CLIENT KILL TYPE normal");
}

/// One server is the primary, another for a moment, and the first one again, which has not been told.
async fn hand_over_twice(builder: RedisBuilder, has_third: bool) {
    let sentinel = Sentinel::start_obedient();
    let (first, second) = (&sentinel.primary, &sentinel.replica);
    // One that confirms, and is never promoted.
    let third =
        has_third.then(|| Server::start_with(&["--replicaof", "127.0.0.1", &first.port.to_string(), "--replica-priority", "0"]));
    third.iter().for_each(|third| sentinel.wait_for_replica(third));
    let runs = Runs::default();
    let nodes = nodes(&builder, &sentinel.url(), &runs).await;
    let old = warm(&nodes, 1).await;
    has_everything(first, second);

    sentinel.hand_over_to(second.port);
    hang_up(first);
    invalidated(&nodes[1]).await;
    resumes_without(&nodes, 1, &old).await;

    sentinel.hand_over_to(first.port);
    assert!(first.run::<String>("INFO replication").contains("role:master"));
    hang_up(second);
    // One that has seen nothing of it.
    let stranger = Node::on(builder.connect(&sentinel.url()).await.unwrap(), &runs);
    assert_ne!(stranger.text(1).await, old, "a node that comes now");
    resumes_without(&nodes, 1, &old).await;
}

#[tokio::test]
async fn a_primary_that_rules_again_undemoted_brings_nothing_back() {
    hand_over_twice(patient(), false).await;
}

#[tokio::test]
async fn undemoted_primary_restores_nothing_that_a_replica_confirmed() {
    hand_over_twice(patient().invalidate_timeout(Duration::from_secs(2)).durability(1), true).await;
}

/// The other nodes come back to a primary that one node never left, because nothing told it to.
#[tokio::test]
async fn node_that_missed_a_failover_serves_nothing_old_after_the_return() {
    let sentinel = Sentinel::start_obedient();
    let (first, second) = (&sentinel.primary, &sentinel.replica);
    let runs = Runs::default();
    let builder = patient();
    let nodes = nodes(&builder, &sentinel.url(), &runs).await;
    let old = warm(&nodes, 1).await;
    has_everything(first, second);
    sentinel.hand_over_to(second.port);
    // Comes for the write, and goes.
    let writer = Node::on(builder.clone().connect(&sentinel.url()).await.unwrap(), &runs);
    invalidated(&writer).await;
    drop(writer);
    sentinel.hand_over_to(first.port);
    let stranger = Node::on(builder.connect(&sentinel.url()).await.unwrap(), &runs);
    assert_ne!(stranger.text(1).await, old, "a node that comes now");
    // The others ask the sentinels now and then.
    sleep(Duration::from_secs(2)).await;
    resumes_without(&nodes, 1, &old).await;
}

#[tokio::test]
async fn acknowledged_invalidation_is_on_the_primary_that_sentinels_name() {
    let sentinel = Sentinel::start_obedient();
    let runs = Runs::default();
    let nodes = nodes(&patient(), &sentinel.url(), &runs).await;
    warm(&nodes, 1).await;
    has_everything(&sentinel.primary, &sentinel.replica);
    sentinel.hand_over_to(sentinel.replica.port);
    let other = [Node::on(patient().connect(&sentinel.url()).await.unwrap(), &runs)];
    let old = warm(&other, 1).await;
    // Its connection may lead to the old primary, which takes writes.
    eventually("an invalidation succeeds", async || nodes[0].cache.invalidate_tags(["post:1"]).await.is_ok()).await;
    assert_ne!(other[0].text(1).await, old, "it was invalidated on a primary that rules no more");
}

#[tokio::test]
async fn nodes_leave_a_primary_that_rules_no_more() {
    let sentinel = Sentinel::start_obedient();
    let runs = Runs::default();
    let nodes = nodes(&patient(), &sentinel.url(), &runs).await;
    let old = warm(&nodes, 1).await;
    has_everything(&sentinel.primary, &sentinel.replica);
    sentinel.hand_over_to(sentinel.replica.port);
    let other = Node::on(patient().connect(&sentinel.url()).await.unwrap(), &runs);
    invalidated(&other).await;
    // The README says a second; the old primary would rule for some more.
    sleep(Duration::from_millis(1500)).await;
    assert!(sentinel.primary.run::<String>("INFO replication").contains("role:master"), "it was demoted: this shows nothing");
    for node in &nodes {
        assert_ne!(node.text(1).await, old);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_was_out_of_reach_brings_nothing_back() {
    let (first, at) = (Server::start(), free_port());
    let proxy = Proxy::start_at(at, first.port).await;
    let via = at.to_string();
    let sentinel = spawn_blocking(move || {
        let second = Server::start_with(&["--replicaof", "127.0.0.1", &via, "--replica-priority", "1"]);
        second.wait_until_it_follows();
        let sentinel = Sentinel::watch(first, second, at, &[]);
        sentinel.look_often();
        sentinel
    });
    let sentinel = sentinel.await.unwrap();
    let runs = Runs::default();
    let builder = patient().read_timeout(Duration::from_millis(300)).invalidate_timeout(Duration::from_millis(500));
    let nodes = nodes(&builder, &sentinel.url(), &runs).await;
    let old = warm(&nodes, 1).await;
    has_everything(&sentinel.primary, &sentinel.replica);

    proxy.set(Fault::Silence);
    let sentinel = spawn_blocking(move || {
        sentinel.wait_for_failover();
        sentinel
    });
    let sentinel = sentinel.await.unwrap();
    invalidated(&nodes[1]).await;
    proxy.set(Fault::None);
    let sentinel = spawn_blocking(move || {
        sentinel.hand_over_to(at);
        sentinel
    });
    let sentinel = sentinel.await.unwrap();
    hang_up(&sentinel.replica);
    let stranger = Node::on(builder.connect(&sentinel.url()).await.unwrap(), &runs);
    assert_ne!(stranger.text(1).await, old, "a node that comes now");
    resumes_without(&nodes, 1, &old).await;
}

/// An address, such as that of a proxy, leads to one server, to another, and to the first again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_moves_and_comes_back_brings_nothing_back() {
    let servers = [Server::start(), Server::start()];
    let proxy = Proxy::start(servers[0].port).await;
    let runs = Runs::default();
    let mut nodes = nodes(&patient(), &proxy.url(), &runs).await;
    nodes.push(Node::on(patient().from_connection(manager(&proxy.url()).await), &runs));
    nodes.push(Node::on(patient().from_connector(deadpool(&proxy.url(), 2)), &runs));
    let mut old = warm(&nodes, 1).await;
    for round in 0..4 {
        proxy.lead_to(servers[(round + 1) % 2].port);
        let writer = &nodes[[1, 4, 5][round % 3]];
        invalidated(writer).await;
        resumes_without(&nodes, 1, &old).await;
        let between = nodes[0].text(1).await;
        proxy.lead_to(servers[round % 2].port);
        resumes_without(&nodes, 1, &old).await;
        invalidated(writer).await;
        resumes_without(&nodes, 1, &between).await;
        old = warm(&nodes, 1).await;
    }
}

/// An operator loads an older state into a server that runs.
#[tokio::test]
async fn running_server_with_older_data_restores_nothing() {
    let server = Server::start();
    let runs = Runs::default();
    let mut nodes = nodes(&patient(), &server.url(), &runs).await;
    nodes.push(Node::on(patient().from_connection(manager(&server.url()).await), &runs));
    nodes.push(Node::on(patient().from_connector(deadpool(&server.url(), 2)), &runs));
    for writer in 0..nodes.len() {
        let old = warm(&nodes, 1).await;
        let keys: Vec<Vec<u8>> = server.run("KEYS *");
        let dumps: Vec<Vec<u8>> = keys.iter().map(|key| server.query(cmd("DUMP").arg(key))).collect();
        nodes[writer].cache.invalidate_tags(["post:1"]).await.unwrap();
        let mut restore = pipe();
        restore.atomic().cmd("FLUSHALL").ignore();
        keys.iter().zip(&dumps).for_each(|(key, dump)| _ = restore.cmd("RESTORE").arg(key).arg(0).arg(dump).ignore());
        restore.exec(&mut server.connection()).unwrap();
        sleep(LEASE).await;
        assert_ne!(nodes[writer].text(1).await, old, "node {writer}");
        sleep(LEASE).await;
        resumes_without(&nodes, 1, &old).await;
    }
}
