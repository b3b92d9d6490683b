//! The mode of all nodes, kept in the store.

use axum::{Router, routing};
use larder::{Cache, CacheMode, Reason, Scope};

use crate::{
    servers::{
        memcached::{Memcached, url as of_servers},
        process::eventually,
        redis::{Cluster, Redis, Sentinel},
    },
    support::{Answer, Runs, get, logs::Logs, minute, numbered},
};

const PATIENT: &str = "read_timeout=5s&store_timeout=5s&invalidate_timeout=5s";

/// A node whose pages have the tag `page`.
struct Node {
    cache: Cache,
    app: Router,
}

impl Node {
    async fn new(url: &str, runs: &Runs) -> Self {
        let cache = Cache::connect(url).await.unwrap();
        let app = Router::new().route("/{page}", routing::get(numbered(runs)).layer(minute(&cache).tags(["page"])));
        Self { cache, app }
    }

    async fn get(&self, uri: &str) -> Answer {
        get(&self.app, uri).await
    }

    async fn bypasses(&self) -> bool {
        self.get("/page").await.reason() == Some(Reason::SwitchedOff)
    }

    async fn hits(&self) -> bool {
        self.get("/page").await.is_hit()
    }
}

/// Two nodes and one that restarts follow the mode of all, and no page that was invalidated meanwhile is served afterwards.
async fn every_node_follows(url: &str) {
    let url = format!("{url}{}{PATIENT}", if url.contains('?') { '&' } else { '?' });
    let runs = Runs::default();
    let (one, other) = (Node::new(&url, &runs).await, Node::new(&url, &runs).await);
    for node in [&one, &other] {
        eventually("a page is stored", async || node.hits().await).await;
    }
    let stored = one.get("/page").await.text().to_owned();

    let scope = one.cache.set_mode_everywhere(CacheMode::Bypass).await.unwrap();
    assert!(matches!(scope, Scope::NodesWithin(_)), "{scope:?}");
    assert_eq!([one.cache.mode(), one.cache.own_mode()], [CacheMode::Bypass, CacheMode::Enabled]);
    assert!(one.bypasses().await);
    if !url.contains("lease=1s") {
        assert!(!other.hits().await, "the lookup that reads the mode obeys it");
    }
    eventually("the other node follows", async || other.bypasses().await).await;
    let restarted = Node::new(&url, &runs).await;
    assert!(restarted.bypasses().await, "a node that restarts reads the mode first");
    restarted.cache.invalidate_tags(["page"]).await.unwrap();

    other.cache.set_mode_everywhere(CacheMode::ReadOnly).await.unwrap();
    for node in [&one, &other, &restarted] {
        eventually("the node follows", async || node.get("/new").await.reason() == Some(Reason::ReadOnly)).await;
        assert_ne!(node.get("/page").await.text(), stored, "it was invalidated while the cache was bypassed");
    }
    // The stricter mode counts.
    restarted.cache.set_mode(CacheMode::Bypass);
    restarted.cache.set_mode_everywhere(CacheMode::Enabled).await.unwrap();
    for node in [&one, &other] {
        eventually("a page is stored", async || node.hits().await).await;
        assert_eq!(node.cache.mode(), CacheMode::Enabled);
    }
    assert_eq!([restarted.cache.mode(), restarted.cache.shared_mode()], [CacheMode::Bypass, CacheMode::Enabled]);
    assert!(restarted.bypasses().await);
}

#[tokio::test]
async fn nodes_of_one_redis_follow_the_mode_of_all() {
    let server = Redis::start();
    every_node_follows(&server.url()).await;
    every_node_follows(&format!("tiered+{}?lease=off&key_prefix=strict", server.url())).await;
    every_node_follows(&format!("tiered+{}?lease=1s&key_prefix=leased", server.url())).await;
}

#[tokio::test]
async fn nodes_of_sentinels_follow_the_mode_of_all() {
    every_node_follows(&Sentinel::start().url()).await;
}

#[tokio::test]
async fn nodes_of_a_cluster_follow_the_mode_of_all() {
    let cluster = Cluster::start();
    every_node_follows(&cluster.url()).await;
    every_node_follows(&format!("tiered+{}?lease=off&key_prefix=strict", cluster.url())).await;
    every_node_follows(&format!("tiered+{}?lease=1s&key_prefix=leased", cluster.url())).await;
}

#[tokio::test]
async fn nodes_of_memcached_follow_the_mode_of_all() {
    let servers = [Memcached::start(), Memcached::start(), Memcached::start()];
    every_node_follows(&of_servers(&[&servers[0]])).await;
    every_node_follows(&format!("tiered+{}?key_prefix=strict", of_servers(&[&servers[0]]))).await;
    every_node_follows(&format!("{}?key_prefix=three", of_servers(&servers.each_ref()))).await;
}

#[tokio::test]
async fn mode_is_read_without_a_further_command() {
    let (redis, memcached) = (Redis::start(), Memcached::start());
    let commands = || {
        redis
            .run::<String>("INFO stats")
            .lines()
            .find_map(|line| Some(line.strip_prefix("total_commands_processed:")?.parse::<u64>().unwrap()))
            .unwrap()
    };
    let node = Node::new(&format!("{}?{PATIENT}", redis.url()), &Runs::default()).await;
    eventually("a page is stored", async || node.hits().await).await;
    node.cache.set_mode_everywhere(CacheMode::ReadOnly).await.unwrap();
    let idle = {
        let before = commands();
        commands() - before
    };
    let before = commands();
    assert!(node.hits().await);
    assert_eq!(commands() - before - idle, 1);

    let node = Node::new(&format!("{}?{PATIENT}", memcached.url()), &Runs::default()).await;
    eventually("a page is stored", async || node.hits().await).await;
    let before = memcached.stat("cmd_get");
    assert!(node.hits().await);
    assert_eq!(memcached.stat("cmd_get") - before, 2, "the clock and the entry");
}

#[tokio::test]
async fn clear_keeps_the_mode_and_a_lost_clock_loses_it() {
    let server = Memcached::start();
    let (logs, _guard) = Logs::collect();
    let node = Node::new(&format!("{}?{PATIENT}", server.url()), &Runs::default()).await;
    node.cache.set_mode_everywhere(CacheMode::Bypass).await.unwrap();
    node.cache.clear().await.unwrap();
    let other = Node::new(&format!("{}?{PATIENT}", server.url()), &Runs::default()).await;
    assert!(other.bypasses().await);
    logs.take();
    server.flush();
    eventually("the mode is lost", async || other.hits().await).await;
    assert!(logs.take().iter().any(|line| line.contains("mode")), "the change is logged");
}

#[tokio::test]
async fn mode_in_redis_is_set_by_other_programs_and_an_unknown_one_is_enabled() {
    let mut server = Redis::start();
    let (logs, _guard) = Logs::collect();
    let node = Node::new(&format!("{}?{PATIENT}&failures=1", server.url()), &Runs::default()).await;
    server.run::<()>("SET {larder}:mode bypass");
    eventually("the node follows", async || node.bypasses().await).await;
    server.run::<()>("SET {larder}:mode off");
    eventually("the node follows", async || node.hits().await).await;
    assert!(logs.take().iter().any(|line| line.contains("unknown value")));
    server.run::<()>("SET {larder}:mode bypass");
    eventually("the node follows", async || node.bypasses().await).await;

    // Without the store, the last mode stays in force, and setting it fails.
    server.kill();
    assert!(node.cache.set_mode_everywhere(CacheMode::Enabled).await.is_err());
    assert!(node.bypasses().await);
}
