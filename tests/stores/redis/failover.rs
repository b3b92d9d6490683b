//! Servers that die, and others, or older selves of theirs, that take their place.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::Path, routing};
use larder::{Cache, Memory, Redis, Tiered};
use tokio::{task::yield_now, time::sleep};

use super::support::topology::{LEASE, deadpool, manager, patient};
use crate::{
    servers::{
        process::{eventually, wait_until},
        redis::{Cluster, Redis as Server, Sentinel},
    },
    support::{MINUTE, get},
};

/// What the pages of an application say: each the same number, which only grows.
#[derive(Debug, Clone, Default)]
struct Version(Arc<AtomicU64>);

impl Version {
    fn app(&self, cache: &Cache) -> Router {
        let version = self.0.clone();
        let show = move |Path(_): Path<u64>| {
            let version = version.load(Ordering::SeqCst);
            async move { version.to_string() }
        };
        let layer = cache.layer().ttl(10 * MINUTE).tags(["post:{id}"]);
        Router::new().route("/posts/{id}", routing::get(show).layer(layer))
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Changes all pages and returns when that was acknowledged for each of them.
    async fn change(&self, cache: &Cache) {
        self.0.fetch_add(1, Ordering::SeqCst);
        for id in 0..PAGES {
            eventually("an invalidation succeeds", async || cache.invalidate_tags([format!("post:{id}")]).await.is_ok()).await;
        }
    }
}

const PAGES: u64 = 12;

async fn warm(apps: &[Router]) {
    for app in apps.iter().chain(apps) {
        for id in 0..PAGES {
            get(app, &format!("/posts/{id}")).await;
        }
    }
}

async fn number(app: &Router, id: u64) -> u64 {
    get(app, &format!("/posts/{id}")).await.text().parse().unwrap()
}

/// No page of any node is older than the last change, however often it is asked for; and nodes come to share pages again.
async fn assert_nothing_is_stale(what: &str, version: &Version, apps: &[Router]) {
    for _ in 0..3 {
        for app in apps {
            for id in 0..PAGES {
                assert_eq!(number(app, id).await, version.now(), "{what}: page {id}");
            }
        }
    }
    for app in apps {
        for id in 0..PAGES {
            eventually("every node answers what is current", async || {
                let answer = get(app, &format!("/posts/{id}")).await;
                assert_eq!(answer.text(), version.now().to_string(), "{what}: page {id}");
                answer.is_hit()
            })
            .await;
        }
    }
}

#[tokio::test]
async fn older_snapshot_is_not_served() {
    for place in ["single", "manager", "pool", "strict", "lease"] {
        let mut server = Server::start();
        let version = Version::default();
        let mut caches = Vec::new();
        for _ in 0..2 {
            let redis = || async { patient().connect(&server.url()).await.unwrap() };
            caches.push(match place {
                "single" => Cache::new(redis().await),
                "manager" => Cache::new(patient().from_connection(manager(&server.url()).await)),
                "pool" => Cache::new(patient().from_connector(deadpool(&server.url(), 2))),
                "strict" => Cache::new(Tiered::new(Memory::new(1 << 20), redis().await)),
                _ => Cache::new(Tiered::new(Memory::new(1 << 20), redis().await).lease(LEASE)),
            });
        }
        let apps: Vec<_> = caches.iter().map(|cache| version.app(cache)).collect();
        warm(&apps).await;
        server.run::<()>("SAVE");
        version.change(&caches[1]).await;
        server.kill();
        server.start_again();
        sleep(if place == "lease" { LEASE } else { Duration::ZERO }).await;
        assert_nothing_is_stale(place, &version, &apps).await;
    }
}

#[tokio::test]
async fn older_snapshot_of_a_cluster_node_is_not_served() {
    let mut cluster = Cluster::start();
    let version = Version::default();
    let mut caches = Vec::new();
    for _ in 0..2 {
        caches.push(Cache::new(patient().connect(&cluster.url()).await.unwrap()));
    }
    let apps: Vec<_> = caches.iter().map(|cache| version.app(cache)).collect();
    for node in 0..3 {
        warm(&apps).await;
        cluster.nodes[node].run::<()>("SAVE");
        version.change(&caches[1]).await;
        cluster.nodes[node].kill();
        cluster.nodes[node].start_again();
        cluster.wait_until_ready();
        assert_nothing_is_stale(&format!("node {node}"), &version, &apps).await;
    }
}

#[tokio::test]
async fn a_replica_of_a_cluster_that_lacks_invalidations_serves_nothing_old() {
    let mut cluster = Cluster::start().with_replicas();
    let version = Version::default();
    let mut caches = Vec::new();
    for _ in 0..2 {
        caches.push(Cache::new(patient().connect(&cluster.url()).await.unwrap()));
    }
    let apps: Vec<_> = caches.iter().map(|cache| version.app(cache)).collect();
    for node in 0..3 {
        warm(&apps).await;
        wait_until("the replica has everything", || {
            let info: String = cluster.nodes[node].run("INFO replication");
            let offset = |name: &str| info.split(name).nth(1).unwrap().split([',', '\r']).next().unwrap().to_owned();
            offset(",offset=") == offset("master_repl_offset:")
        });
        cluster.nodes[node].cut_off(&cluster.nodes[node + 3]);
        version.change(&caches[1]).await;
        cluster.nodes[node].kill();
        cluster.nodes[node + 3].resume();
        cluster.nodes[node + 3].run::<()>("CLUSTER FAILOVER TAKEOVER");
        wait_until("the replica rules", || {
            (0..6)
                .filter(|other| *other > node)
                .all(|other| cluster.nodes[other].run::<String>("CLUSTER INFO").contains("cluster_state:ok"))
        });
        assert_nothing_is_stale(&format!("primary {node}"), &version, &apps).await;
    }
}

#[tokio::test]
async fn a_replica_that_lacks_acknowledged_invalidations_serves_nothing_old() {
    for tiered in [false, true] {
        let mut sentinel = Sentinel::start();
        let version = Version::default();
        let mut caches = Vec::new();
        for _ in 0..2 {
            let redis = patient().connect(&sentinel.url()).await.unwrap();
            caches.push(if tiered { Cache::new(Tiered::new(Memory::new(1 << 20), redis)) } else { Cache::new(redis) });
        }
        let apps: Vec<_> = caches.iter().map(|cache| version.app(cache)).collect();
        warm(&apps).await;
        sentinel.primary.run::<i64>("WAIT 1 10000");
        sentinel.primary.cut_off(&sentinel.replica);
        version.change(&caches[1]).await;
        sentinel.primary.kill();
        sentinel.replica.resume();
        sentinel.wait_for_failover();
        assert_nothing_is_stale("failover", &version, &apps).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_forgotten_while_the_primary_dies() {
    let mut sentinel = Sentinel::start();
    let version = Version::default();
    let mut caches = Vec::new();
    for _ in 0..3 {
        let limit = Duration::from_millis(300);
        let builder = Redis::builder().read_timeout(limit).store_timeout(limit).invalidate_timeout(limit);
        caches.push(Cache::new(builder.connect(&sentinel.url()).await.unwrap()));
    }
    let (acknowledged, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let done = Arc::new(AtomicU64::new(0));
    let writing = {
        let (version, cache, acknowledged, over) = (version.clone(), caches[0].clone(), acknowledged.clone(), over.clone());
        let done = Arc::clone(&done);
        tokio::spawn(async move {
            let mut failed = 0;
            while !over.load(Ordering::SeqCst) {
                let value = version.0.fetch_add(1, Ordering::SeqCst) + 1;
                match cache.invalidate_tags(["post:1"]).await {
                    Ok(_) => {
                        acknowledged.store(value, Ordering::SeqCst);
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(_) => failed += 1,
                }
                sleep(Duration::from_millis(3)).await;
            }
            failed
        })
    };
    let mut reading = Vec::new();
    for cache in &caches {
        let (app, acknowledged, over) = (version.app(cache), acknowledged.clone(), over.clone());
        reading.push(tokio::spawn(async move {
            let mut hits = 0;
            while !over.load(Ordering::SeqCst) {
                let before = acknowledged.load(Ordering::SeqCst);
                let answer = get(&app, "/posts/1").await;
                let value: u64 = answer.text().parse().unwrap();
                assert!(value >= before, "{value} is older than {before}: {answer:?}");
                hits += u64::from(answer.is_hit());
                // Nothing else in this loop has to wait while Redis is not asked.
                yield_now().await;
            }
            hits
        }));
    }
    sleep(Duration::from_millis(300)).await;
    sentinel.primary.kill();
    let sentinel = tokio::task::spawn_blocking(move || {
        sentinel.wait_for_failover();
        sentinel
    });
    let _sentinel = sentinel.await.unwrap();
    let reached = done.load(Ordering::SeqCst);
    eventually("readers go on", async || done.load(Ordering::SeqCst) > reached + 20).await;
    over.store(true, Ordering::SeqCst);
    let failed = writing.await.unwrap();
    assert!(reached > 0 && failed > 0, "{reached} acknowledged before, {failed} failed");
    for reading in reading {
        assert_ne!(reading.await.unwrap(), 0);
    }
}
