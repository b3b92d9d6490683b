//! A process that has one runtime after another, as tests and tools do, with a cache that outlives them.

use larder::{Cache, Memory, Redis, Tiered};
use tokio::runtime::{Builder, Runtime};

use super::support::{
    node::Node,
    topology::{LEASE, manager, patient},
};
use crate::{
    servers::{
        process::eventually,
        process::free_port,
        redis::{Cluster, Redis as Server},
    },
    support::Runs,
};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn a_store_that_was_away_in_a_runtime_that_has_ended_is_found_in_the_next() {
    let (port, runs) = (free_port(), Runs::default());
    let node =
        runtime().block_on(async { Node::on(patient().connect(&format!("redis://127.0.0.1:{port}")).await.unwrap(), &runs) });
    assert!(node.redis.is_suspended());
    let _server = Server::start_at(port);
    runtime().block_on(async {
        let _ = node.text(1).await;
        node.recovered().await;
        node.cache.invalidate_tags(["post:1"]).await.unwrap();
        let text = node.text(1).await;
        assert_eq!(node.text(1).await, text);
    });
}

#[test]
fn pending_invalidation_is_retried_in_the_next_runtime() {
    let (mut server, runs) = (Server::start(), Runs::default());
    let (node, other) = runtime().block_on(async {
        let redis = async || patient().connect(&server.url()).await.unwrap();
        (Node::on(redis().await, &runs), Node::on(redis().await, &runs))
    });
    let old = runtime().block_on(other.text(1));
    server.pause();
    let quick = runtime().block_on(async {
        patient().invalidate_timeout(std::time::Duration::from_millis(100)).connect(&server.url()).await.unwrap()
    });
    let quick = Node::on(quick, &runs);
    runtime().block_on(async { quick.cache.invalidate_tags(["post:1"]).await.unwrap_err() });
    server.resume();
    runtime().block_on(async {
        let _ = quick.text(2).await;
        quick.recovered().await;
        assert_ne!(other.text(1).await, old);
        assert_ne!(node.text(1).await, old);
    });
    server.kill();
}

/// Every way to use Redis, each in one runtime after the other.
#[test]
fn a_cache_outlives_the_runtime_in_which_it_was_made() {
    let (server, cluster, runs) = (Server::start(), Cluster::start(), Runs::default());
    let on = async |url: &str, namespace: &str| patient().key_prefix(namespace).connect(url).await.unwrap();
    let nodes = runtime().block_on(async {
        let manager = patient().key_prefix("manager").from_connection(manager(&server.url()).await);
        [
            ("single", Node::on(on(&server.url(), "single").await, &runs)),
            ("manager", Node::on(manager, &runs)),
            ("strict", Node::strict(on(&server.url(), "strict").await, &runs)),
            ("lease", Node::leased(on(&server.url(), "lease").await, LEASE, &runs)),
            ("cluster", Node::on(on(&cluster.url(), "cluster").await, &runs)),
        ]
    });
    for round in 0..4 {
        runtime().block_on(async {
            for (what, node) in &nodes {
                node.cache.invalidate_tags(["post:1"]).await.unwrap_or_else(|error| panic!("{what} {round}: {error:?}"));
                eventually(what, async || {
                    let text = node.text(1).await;
                    node.text(1).await == text
                })
                .await;
            }
        });
    }
}

/// What the follower of a lease has read in one runtime, it must go on reading in the next.
#[test]
fn a_lease_is_renewed_in_the_next_runtime() {
    let (server, runs) = (Server::start(), Runs::default());
    let redis: Redis = runtime().block_on(async { patient().connect(&server.url()).await.unwrap() });
    let node = Node::leased(redis, LEASE, &runs);
    for round in 0..3 {
        runtime().block_on(async {
            eventually(&format!("copies are used without asking in round {round}"), async || {
                let before = reads(&server);
                for _ in 0..20 {
                    node.text(1).await;
                }
                reads(&server) == before
            })
            .await;
        });
    }
}

/// How often the server was asked for keys.
fn reads(server: &Server) -> u64 {
    let info: String = server.run("INFO commandstats");
    let calls = info.lines().find_map(|line| line.strip_prefix("cmdstat_mget:calls="));
    calls.and_then(|calls| calls.split(',').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn a_static_cache_serves_every_runtime_of_a_process() {
    let server = Server::start();
    let redis = runtime().block_on(async { Redis::builder().connect(&server.url()).await.unwrap() });
    let cache = Cache::new(Tiered::new(Memory::new(1 << 20), redis).lease(LEASE));
    for _ in 0..4 {
        runtime().block_on(async { cache.invalidate_tags(["post:1"]).await }).unwrap();
    }
}
