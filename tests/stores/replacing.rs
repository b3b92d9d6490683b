//! Content codings in shared stores: made once for all nodes, and never in place of what is newer.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, routing};
use larder::{
    Cache, Memcached, Redis,
    backend::{Backend, Key, PutOutcome, Stored, Tag},
    conformance::{body, stored},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    servers::{
        memcached::Memcached as MemcachedServer,
        process::eventually,
        redis::{Cluster, Redis as RedisServer},
    },
    support::{Answer, Gate, Runs, answering, fields, get_with, minute},
};

const ALL: [&str; 3] = ["gzip", "br", "zstd"];
const PATIENT: &str = "read_timeout=20s&store_timeout=20s&invalidate_timeout=20s";

/// A node whose page compresses well.
struct Node {
    cache: Cache,
    app: Router,
}

impl Node {
    async fn new(url: &str, runs: &Runs) -> Self {
        let cache = Cache::connect(url).await.unwrap();
        let runs = runs.clone();
        let handler = answering(move |_| {
            (fields(&[("content-type", "text/html")]), format!("run {} {}", runs.begin(), "<li>a line</li>\n".repeat(400)))
        });
        let layer = minute(&cache).tags(["page"]).compress(true);
        Self { app: Router::new().route("/page", routing::get(handler).layer(layer)), cache }
    }

    async fn accepting(&self, coding: &str) -> Answer {
        get_with(&self.app, "/page", &[("accept-encoding", coding)]).await
    }

    async fn idle(&self) {
        eventually("no coding is being made", async || self.cache.unfinished_work().codings == 0).await;
    }
}

fn coding_of(answer: &Answer) -> Option<&str> {
    answer.header("content-encoding")
}

/// A node with copies in memory meets the codings that another one adds only when its own copy is gone: there, one coding is tried.
async fn one_node_makes_codings_for_all(url: &str, codings: &[&str]) {
    let url = format!("{url}{}{PATIENT}", if url.contains('?') { '&' } else { '?' });
    let runs = Runs::default();
    let (one, other) = (Node::new(&url, &runs).await, Node::new(&url, &runs).await);
    assert!(one.accepting("").await.is_stored(), "{url}");
    for coding in codings {
        assert_eq!(coding_of(&one.accepting(coding).await), None, "{coding} is not made yet: {url}");
        one.idle().await;
        // With its first request: it made none.
        let answer = other.accepting(coding).await;
        assert!(answer.is_hit(), "{url}");
        assert_eq!(coding_of(&answer), Some(*coding), "{url}");
        assert_eq!(other.cache.unfinished_work().codings, 0, "{url}");
        assert_eq!(answer.body, one.accepting(coding).await.body, "{url}");
    }
    assert_eq!(runs.count(), 1);

    // The other node has not made them, and an invalidation by it ends all.
    other.cache.invalidate_tags("page").await.unwrap();
    for coding in codings {
        let answer = one.accepting(coding).await;
        one.idle().await;
        assert_eq!(coding_of(&answer), None, "{coding}: {url}");
    }
    assert!(one.accepting("").await.text().starts_with("run 2 "), "{url}");
    assert_eq!(runs.count(), 2);
    eventually("the codings of the next response", async || coding_of(&other.accepting("gzip").await) == Some("gzip")).await;
    assert_eq!(runs.count(), 2);
}

#[tokio::test]
async fn nodes_of_redis_share_codings() {
    let server = RedisServer::start();
    one_node_makes_codings_for_all(&server.url(), &ALL).await;
    one_node_makes_codings_for_all(&format!("tiered+{}?lease=off&key_prefix=strict", server.url()), &["gzip"]).await;
}

#[tokio::test]
async fn nodes_of_a_cluster_share_codings() {
    one_node_makes_codings_for_all(&Cluster::start().url(), &ALL).await;
}

#[tokio::test]
async fn nodes_of_memcached_share_codings() {
    let server = MemcachedServer::start();
    one_node_makes_codings_for_all(&server.url(), &ALL).await;
    one_node_makes_codings_for_all(&format!("tiered+{}?key_prefix=strict", server.url()), &["gzip"]).await;
}

/// Leads to a server, and once armed lets one more request pass and holds what follows at a gate.
#[derive(Debug, Clone)]
struct Holding {
    port: u16,
    /// The requests that may pass, and 0 for all.
    left: Arc<AtomicUsize>,
    gate: Gate,
}

impl Holding {
    async fn in_front_of(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let holding = Self { port, left: Arc::default(), gate: Gate::closed() };
        let on_way = holding.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = TcpStream::connect(("127.0.0.1", server)).await.unwrap().into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
                let holding = on_way.clone();
                tokio::spawn(async move {
                    let mut piece = vec![0; 1 << 20];
                    while let Ok(length @ 1..) = from_client.read(&mut piece).await {
                        if holding.left.load(Ordering::SeqCst) > 0 && holding.left.fetch_sub(1, Ordering::SeqCst) == 1 {
                            holding.gate.pass().await;
                        }
                        if to_server.write_all(&piece[..length]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        holding
    }

    /// Lets one more request pass.
    fn arm(&self) {
        self.left.store(2, Ordering::SeqCst);
    }
}

/// What another node stores while a response is being replaced stays: a newer response, and one of the same handler run.
async fn newer_response_is_not_replaced(on_way: &Holding, slow: Arc<dyn Backend>, other: Arc<dyn Backend>) {
    let key = Key::from_bytes(b"page");
    let tags = || vec![Tag::new("a").unwrap()];
    let text = async || {
        let (found, _) = other.get(&key, &[]).await.unwrap().found.unwrap();
        body(&found).unwrap().clone()
    };
    let born = slow.get(&key, &tags()).await.unwrap().epoch.unwrap();
    let present: Arc<Stored> = stored(born, tags(), "present");
    assert_eq!(slow.put(&key, Arc::clone(&present)).await.unwrap(), PutOutcome::Stored);
    on_way.arm();
    let replacing = tokio::spawn({
        let (slow, key, present) = (Arc::clone(&slow), key.clone(), Arc::clone(&present));
        let coded = stored(born, tags(), "present, coded");
        async move { slow.replace(&key, &present, coded).await }
    });
    // It has read the entry, and is about to store another.
    on_way.gate.arrival().await;
    assert_eq!(other.put(&key, stored(born, tags(), "newer")).await.unwrap(), PutOutcome::Stored);
    on_way.gate.open(1);
    assert_eq!(replacing.await.unwrap().unwrap(), PutOutcome::Invalidated);
    assert_eq!(text().await, "newer");
}

#[tokio::test]
async fn redis_keeps_what_was_stored_while_a_response_was_replaced() {
    let server = RedisServer::start();
    let on_way = Holding::in_front_of(server.port).await;
    let slow = Redis::connect(&format!("redis://127.0.0.1:{}?{PATIENT}", on_way.port)).await.unwrap();
    let other = Redis::connect(&format!("{}?{PATIENT}", server.url())).await.unwrap();
    newer_response_is_not_replaced(&on_way, Arc::new(slow), Arc::new(other)).await;
}

#[tokio::test]
async fn memcached_keeps_what_was_stored_while_a_response_was_replaced() {
    let server = MemcachedServer::start();
    let on_way = Holding::in_front_of(server.port).await;
    let slow = Memcached::connect(&format!("memcached://127.0.0.1:{}?{PATIENT}", on_way.port)).await.unwrap();
    let other = Memcached::connect(&format!("{}?{PATIENT}", server.url())).await.unwrap();
    newer_response_is_not_replaced(&on_way, Arc::new(slow), Arc::new(other)).await;
}
