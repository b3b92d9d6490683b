//! Very many tags invalidated at once, and the nodes that share the server.

use std::{slice, time::Duration};

use axum::{Router, routing};
use futures_util::future::join_all;
use larder::{Cache, Redis};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::support::{
    node::{Node, warm},
    topology::{everywhere, patient},
};
use crate::{
    servers::{
        process::eventually,
        proxy::{Fault, Proxy},
        redis::{Cluster, Redis as Server},
    },
    support::{Runs, get, minute, numbered},
};

const TAGS: usize = 300_000;
/// Fewer where each tag takes commands of its own.
const TAGS_OF_A_CLUSTER: usize = 100_000;
const SPAN: Duration = Duration::from_secs(1);
/// 16 Mbit/s.
const SLOW: Fault = Fault::Slow(2 << 20);
/// How long a node may take until its answers are hits again.
const RECOVERY: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leased_node_recovers_from_one_call_of_very_many_tags() {
    a_leased_node_recovers(TAGS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leased_node_recovers_from_very_many_calls() {
    a_leased_node_recovers(100).await;
}

async fn a_leased_node_recovers(tags_per_call: usize) {
    let server = Server::start();
    let proxy = Proxy::start(server.port).await;
    proxy.set(SLOW);
    let runs = Runs::default();
    let nodes = vec![
        Node::leased(hurried(&proxy.url()).await, SPAN, &runs),
        Node::on(hurried(&server.url()).await, &runs),
        Node::strict(hurried(&server.url()).await, &runs),
    ];
    let other = Cache::new(patient().connect(&server.url()).await.unwrap());
    let [leased, plain, strict] =
        answer_through_a_burst(nodes, &other, TAGS, tags_per_call, &[&server]).await.try_into().unwrap();
    plain.are_hits_throughout("plain");
    strict.are_hits_throughout("strict");
    leased.are_hits_after_recovery("leased");
    leased.node.is_idle_with(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leased_node_of_a_cluster_recovers_from_one_call_of_very_many_tags() {
    let cluster = Cluster::start();
    let runs = Runs::default();
    let nodes = vec![Node::leased(hurried(&cluster.url()).await, SPAN, &runs), Node::on(hurried(&cluster.url()).await, &runs)];
    let other = Cache::new(patient().connect(&cluster.url()).await.unwrap());
    let servers: Vec<_> = cluster.nodes.iter().collect();
    let [leased, plain] =
        answer_through_a_burst(nodes, &other, TAGS_OF_A_CLUSTER, TAGS_OF_A_CLUSTER, &servers).await.try_into().unwrap();
    leased.are_hits_after_recovery("leased");
    plain.are_hits_after_recovery("plain");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announcements_that_take_longer_than_a_read_do_not_suspend_a_node() {
    let server = Server::start();
    let proxy = Proxy::start(server.port).await;
    let runs = Runs::default();
    let node = Node::leased(hurried(&proxy.url()).await, SPAN * 4, &runs);
    let other = Cache::new(patient().connect(&server.url()).await.unwrap());
    warm(slice::from_ref(&node), 1).await;
    // A copy from before the first polls is dropped by them.
    sleep(SPAN).await;
    warm(slice::from_ref(&node), 1).await;
    // Half a Mbit/s: 100 KiB of announcements take almost two seconds.
    proxy.set(Fault::Slow(64 << 10));
    let names: Vec<_> = (0..3200).map(|number| format!("a product with a long name:{number}")).collect();
    for tags in names.chunks(400) {
        other.invalidate_tags(tags).await.unwrap();
    }
    let until = Instant::now() + SPAN * 8;
    while Instant::now() < until {
        assert!(get(&node.app, "/posts/1").await.is_hit());
        assert!(!node.redis.is_suspended());
        sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_call_of_many_tags_invalidates_each_of_them() {
    everywhere(async |site| {
        let runs = Runs::default();
        let (a, b) = site.nodes().await;
        let tags: Vec<_> = (0..2501).map(|number| format!("tag {number}")).collect();
        // The first and the last of each command's.
        let ids = [0, 999, 1000, 1999, 2000, 2500];
        let layer = minute(&b).tags(["tag {id}"]);
        let app = Router::new().route("/posts/{id}", routing::get(numbered(&runs)).layer(layer));
        let ask = async || {
            let mut texts = Vec::new();
            for id in ids {
                texts.push(get(&app, &format!("/posts/{id}")).await.text().to_owned());
            }
            texts
        };
        for invalidates in [true, false] {
            let old = ask().await;
            let receipt = if invalidates { a.invalidate_tags(&tags).await } else { a.expire_tags(&tags).await };
            assert_eq!(receipt.unwrap().tag_count, tags.len());
            site.lease_ends().await;
            for (old, new) in old.iter().zip(ask().await) {
                assert_ne!(*old, new, "{:?}", site.place);
            }
        }
    });
}

/// A node with a limit for reading that is short, but not for a machine that runs other tests as well.
async fn hurried(url: &str) -> Redis {
    let redis = patient().read_timeout(Duration::from_millis(100)).connect(url).await.unwrap();
    eventually("the node has found its servers", async || !redis.is_suspended()).await;
    redis
}

/// What a node has answered during a burst and after it.
#[derive(Debug)]
struct Answers {
    node: Node,
    burst: (Instant, Instant),
    /// When each request began, and whether it was a hit.
    hits: Vec<(Instant, bool)>,
}

/// Asks each node for a page every 20 ms, while another invalidates unrelated tags, and for a while after that.
async fn answer_through_a_burst(
    nodes: Vec<Node>,
    other: &Cache,
    tags: usize,
    per_call: usize,
    servers: &[&Server],
) -> Vec<Answers> {
    warm(&nodes, 1).await;
    servers.iter().for_each(|server| server.run("CONFIG SET slowlog-log-slower-than 1000"));
    let (stop, stopped) = watch::channel(false);
    let answering: Vec<_> = nodes.into_iter().map(|node| tokio::spawn(answer(node, stopped.clone()))).collect();
    sleep(SPAN).await;
    let began = Instant::now();
    invalidate(other, tags, per_call).await;
    let burst = (began, Instant::now());
    let slowest = servers.iter().map(|server| slowest(server)).max().unwrap();
    println!("{tags} tags, {per_call} a call: {:?}; the slowest command took {slowest:?}", burst.1 - burst.0);
    sleep(RECOVERY * 2).await;
    stop.send_replace(true);
    let answers = join_all(answering).await.into_iter().map(Result::unwrap);
    answers.map(|(node, hits)| Answers { node, burst, hits }).collect()
}

async fn answer(node: Node, stop: watch::Receiver<bool>) -> (Node, Vec<(Instant, bool)>) {
    let mut hits = Vec::new();
    while !*stop.borrow() {
        let began = Instant::now();
        hits.push((began, get(&node.app, "/posts/1").await.is_hit()));
        sleep_until(began + Duration::from_millis(20)).await;
    }
    (node, hits)
}

/// Invalidates tags of other pages, so many in each call, in eight calls at a time.
async fn invalidate(cache: &Cache, tags: usize, per_call: usize) {
    let names: Vec<_> = (0..tags).map(|number| format!("product:{number}")).collect();
    for calls in names.chunks(per_call * 8) {
        join_all(calls.chunks(per_call).map(|tags| async move { cache.invalidate_tags(tags).await.unwrap() })).await;
    }
}

/// How long the slowest command took that the server remembers.
fn slowest(server: &Server) -> Duration {
    let log: Vec<(u64, u64, u64, redis::Value, String, String)> = server.run("SLOWLOG GET 128");
    log.iter().map(|(_, _, micros, ..)| Duration::from_micros(*micros)).max().unwrap_or_default()
}

impl Node {
    /// Answers from its copies, and costs its server next to nothing.
    async fn is_idle_with(&self, server: &Server) {
        let before = ["total_commands_processed", "total_net_output_bytes"].map(|name| number(server, name));
        for _ in 0..150 {
            assert!(get(&self.app, "/posts/1").await.is_hit());
            sleep(Duration::from_millis(20)).await;
        }
        let after = ["total_commands_processed", "total_net_output_bytes"].map(|name| number(server, name));
        let (commands, bytes) = (after[0] - before[0], after[1] - before[1]);
        println!("150 hits in 3 s: {commands} commands, {bytes} bytes");
        // Each of 12 polls is a script that looks at the server, its replication and the clock.
        assert!(commands < 100 && bytes < 16 << 10, "{commands} commands, {bytes} bytes");
    }
}

fn number(server: &Server, name: &str) -> u64 {
    let info: String = server.run("INFO stats");
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().parse().unwrap()
}

impl Answers {
    /// The part of those requests that were hits.
    #[allow(clippy::cast_precision_loss, reason = "they are few")]
    fn share(&self, from: Instant, to: Instant) -> f64 {
        let hits: Vec<_> = self.hits.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, is_hit)| *is_hit).collect();
        hits.iter().filter(|is_hit| **is_hit).count() as f64 / hits.len().max(1) as f64
    }

    /// The part of hits during the burst, from then on until it has to be over it, and after that.
    fn shares(&self, name: &str) -> [f64; 3] {
        let (began, ended) = self.burst;
        let last_miss = self.hits.iter().filter(|(at, is_hit)| *at > ended && !is_hit).map(|(at, _)| *at - ended).max();
        let recovered = ended + RECOVERY;
        let shares = [self.share(began, ended), self.share(ended, recovered), self.share(recovered, recovered + RECOVERY)];
        println!("{name}: hits during the burst, soon after it, later: {shares:.2?}; the last miss after {last_miss:?}");
        shares
    }

    fn are_hits_throughout(&self, name: &str) {
        let shares = self.shares(name);
        assert!(shares.iter().all(|share| *share > 0.9), "{name}: {shares:?}");
    }

    fn are_hits_after_recovery(&self, name: &str) {
        let shares = self.shares(name);
        assert!(shares[2] > 0.98, "{name}: {shares:?}");
    }
}
