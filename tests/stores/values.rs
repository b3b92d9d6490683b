//! Values that nodes share, in real servers.

use std::{convert::Infallible, time::Duration};

use axum::{Router, routing};
use larder::{Cache, FillResult, ManualClock, Memcached, Memory, Reason, Redis, Tiered, Trigger, ValuePolicy};
use serde::{Deserialize, Serialize};

use crate::{
    servers::{memcached::Memcached as MemcachedServer, process::eventually, redis::Redis as RedisServer},
    support::{Gate, MINUTE, Runs, get, minute},
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Post {
    id: u64,
    title: String,
    rating: Option<f64>,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum State {
    Draft,
    Published { at: i64 },
}

fn post(id: u64) -> Post {
    let state = if id.is_multiple_of(2) { State::Draft } else { State::Published { at: -1 } };
    Post { id, title: "é \" \0".repeat(3), rating: (id > 2).then_some(f64::INFINITY), state }
}

fn policy() -> ValuePolicy {
    ValuePolicy::ttl(MINUTE).tags(["posts"])
}

/// Returns posts, the number of whose computation is the id of the first one.
async fn posts(cache: &Cache, runs: &Runs) -> Vec<Post> {
    let runs = runs.clone();
    let compute = || async move {
        let first = runs.begin() as u64;
        Ok::<_, Infallible>((first..first + 4).map(post).collect::<Vec<_>>())
    };
    cache.get_or_compute("posts", policy(), compute).await.unwrap()
}

/// Reads until the value is stored: a new tag may have no record yet.
async fn stored(cache: &Cache, runs: &Runs) -> Vec<Post> {
    eventually("the value is stored", async || {
        let before = runs.count();
        posts(cache, runs).await;
        runs.count() == before
    })
    .await;
    posts(cache, runs).await
}

async fn shared(nodes: &[Cache], lag: Duration) {
    let runs = Runs::default();
    let first = stored(&nodes[0], &runs).await;
    let count = runs.count();
    for node in nodes.iter().chain(nodes) {
        assert_eq!(posts(node, &runs).await, first);
    }
    assert_eq!(runs.count(), count, "all nodes have the value of the first");
    for node in nodes {
        let old = stored(&nodes[0], &runs).await;
        node.invalidate_tags("posts").await.unwrap();
        tokio::time::sleep(lag).await;
        for other in nodes {
            assert_ne!(posts(other, &runs).await, old);
        }
    }
}

#[tokio::test]
async fn nodes_share_a_value_in_redis_until_an_invalidation() {
    let server = RedisServer::start();
    let connect = async || Redis::connect(&server.url()).await.unwrap();
    let near = || Memory::new(16 << 20);
    let strict = [Cache::new(connect().await), Cache::new(Tiered::new(near(), connect().await))];
    shared(&strict, Duration::ZERO).await;
    let lease = Duration::from_millis(200);
    let leased = [Cache::new(connect().await), Cache::new(Tiered::new(near(), connect().await).lease(lease))];
    shared(&leased, lease + Duration::from_millis(10)).await;
}

#[tokio::test]
async fn nodes_share_a_value_in_memcached_until_an_invalidation() {
    let server = MemcachedServer::start();
    let url = crate::servers::memcached::url(&[&server]);
    let connect = async || Memcached::connect(&url).await.unwrap();
    let nodes = [Cache::new(connect().await), Cache::new(Tiered::new(Memory::new(16 << 20), connect().await))];
    shared(&nodes, Duration::ZERO).await;
}

/// A value that one node has read from its copies is in a page that all nodes share.
#[tokio::test]
async fn a_page_that_is_made_of_a_leased_copy_dies_with_it_on_all_nodes() {
    let server = RedisServer::start();
    let connect = async || Redis::connect(&server.url()).await.unwrap();
    let lease = Duration::from_secs(600);
    let leased = Cache::new(Tiered::new(Memory::new(16 << 20), connect().await).lease(lease));
    let other = Cache::new(connect().await);
    let runs = Runs::default();
    let old = stored(&leased, &runs).await;
    let app = |cache: &Cache| {
        let (layer, values, runs) = (minute(cache), cache.clone(), runs.clone());
        let handler = move || {
            let (values, runs) = (values.clone(), runs.clone());
            async move { posts(&values, &runs).await[0].id.to_string() }
        };
        Router::new().route("/", routing::get(handler).layer(layer))
    };
    let (leased_app, other_app) = (app(&leased), app(&other));
    // The node with the lease learns of it at its next poll, and may serve its copy until then. The page is not there yet, so that its
    // lookup reads the epoch of the server, which is later.
    other.invalidate_tags("posts").await.unwrap();
    let page = get(&leased_app, "/").await;
    let made_of_copy = page.text() == old[0].id.to_string();
    let next = get(&other_app, "/").await;
    assert_ne!(next.text(), old[0].id.to_string(), "{page:?}, {made_of_copy}");
}

#[tokio::test]
async fn a_value_of_another_type_or_of_no_type_is_a_miss() {
    let (server, memcached) = (RedisServer::start(), MemcachedServer::start());
    let caches = [Cache::connect(&server.url()).await.unwrap(), Cache::connect(&memcached.url()).await.unwrap()];
    for cache in caches {
        let number = async || cache.get_or_compute("x", policy(), || async { Ok::<_, Infallible>(7_u64) }).await.unwrap();
        let text = async || cache.get_or_compute("x", policy(), || async { Ok::<_, Infallible>("7".to_owned()) }).await.unwrap();
        for _ in 0..3 {
            assert_eq!((number().await, text().await.as_str()), (7, "7"));
        }
    }
}

#[tokio::test]
async fn a_value_that_stays_in_memory_is_not_stored_on_a_server() {
    let server = RedisServer::start();
    let cache = Cache::connect(&server.url()).await.unwrap();
    let runs = Runs::default();
    for run in 1..=2 {
        let runs = runs.clone();
        let compute = || async move { Ok::<_, Infallible>(runs.begin()) };
        assert_eq!(cache.get_or_compute_in_memory("x", policy(), compute).await, Ok(run));
    }
    let stats = cache.stats();
    let not_stored = FillResult::NotStored(Reason::TooLarge);
    assert_eq!(stats.route("value").unwrap().fills(Trigger::Request, not_stored), 2);
}

#[tokio::test]
async fn values_are_computed_while_the_server_is_down() {
    let mut server = RedisServer::start();
    let cache = Cache::connect(&server.url()).await.unwrap();
    let runs = Runs::default();
    stored(&cache, &runs).await;
    server.kill();
    let before = runs.count();
    for run in 1..=3 {
        posts(&cache, &runs).await;
        assert_eq!(runs.count(), before + run);
    }
    server.start_again();
    stored(&cache, &runs).await;
}

/// Authentication covers values as it covers responses.
#[tokio::test]
async fn a_value_of_a_node_with_another_secret_is_a_miss() {
    let server = RedisServer::start();
    let connect = async |secret: &str| Cache::connect(&server.url()).await.unwrap().with_secret(secret);
    let (one, same, other) = (connect("one").await, connect("one").await, connect("other").await);
    let runs = Runs::default();
    let value = stored(&one, &runs).await;
    assert_eq!(posts(&same, &runs).await, value);
    assert_ne!(posts(&other, &runs).await, value);
}

/// Nodes with limits that a busy machine does not exceed.
async fn nodes(redis: &RedisServer, memcached: &MemcachedServer) -> [[Cache; 2]; 2] {
    let limits = "read_timeout=20s&store_timeout=20s&invalidate_timeout=20s";
    let connect = async |url: String| Cache::connect(&format!("{url}?{limits}")).await.unwrap();
    [[connect(redis.url()).await, connect(redis.url()).await], [connect(memcached.url()).await, connect(memcached.url()).await]]
}

/// Calls for the value `top`, whose computation waits at the gate.
async fn gated(cache: Cache, policy: ValuePolicy, runs: Runs, gate: Gate) -> usize {
    let compute = || async move {
        let run = runs.begin();
        gate.pass().await;
        Ok::<_, Infallible>(run)
    };
    let Ok(top) = cache.get_or_compute("top", &policy, compute).await;
    top
}

#[tokio::test]
async fn one_node_computes_a_value_for_all_that_collapse_across_nodes() {
    let (redis, memcached) = (RedisServer::start(), MemcachedServer::start());
    for nodes in nodes(&redis, &memcached).await {
        // The tag has a record now.
        stored(&nodes[0], &Runs::default()).await;
        let (runs, gate) = (Runs::default(), Gate::closed());
        let policy = policy().wait_limit(MINUTE).collapse_across_nodes(MINUTE);
        let mut callers = tokio::task::JoinSet::new();
        for cache in &nodes {
            for _ in 0..5 {
                callers.spawn(gated(cache.clone(), policy.clone(), runs.clone(), gate.clone()));
            }
        }
        gate.arrival().await;
        gate.open(10);
        assert_eq!(callers.join_all().await, [1; 10]);
    }
}

#[tokio::test]
async fn node_computes_a_value_when_the_lock_of_another_expires() {
    let (redis, memcached) = (RedisServer::start(), MemcachedServer::start());
    for nodes in nodes(&redis, &memcached).await {
        // The tag has a record now.
        stored(&nodes[0], &Runs::default()).await;
        let (runs, gate) = (Runs::default(), Gate::closed());
        let policy = policy().wait_limit(MINUTE).collapse_across_nodes(Duration::from_millis(50));
        let [stuck, other] = nodes.map(|cache| tokio::spawn(gated(cache, policy.clone(), runs.clone(), gate.clone())));
        gate.arrival().await;
        gate.arrival().await;
        gate.open(2);
        let mut computed = [stuck.await.unwrap(), other.await.unwrap()];
        computed.sort_unstable();
        assert_eq!(computed, [1, 2]);
    }
}

#[tokio::test]
async fn a_stale_value_of_a_server_is_returned_while_its_computation_is_slow() {
    let (redis, memcached) = (RedisServer::start(), MemcachedServer::start());
    for nodes in nodes(&redis, &memcached).await {
        let (runs, gate, clock) = (Runs::default(), Gate::closed(), ManualClock::new());
        let [cache, other] = nodes.map(|cache| cache.with_clock(&clock));
        let policy = ValuePolicy::ttl(MINUTE).stale_if_error(MINUTE).soft_timeout(Duration::from_millis(20));
        let call = |cache: &Cache| gated(cache.clone(), policy.clone(), runs.clone(), gate.clone());
        gate.open(1);
        assert_eq!(call(&cache).await, 1);
        clock.advance(MINUTE);
        assert_eq!((call(&cache).await, runs.count()), (1, 2));
        // The computation continues, and its value is stored for other nodes.
        gate.open(1);
        eventually("the other node finds it", async || call(&other).await == 2).await;
    }
}
