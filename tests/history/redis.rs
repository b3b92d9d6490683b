//! Nodes that share Redis, which is killed, stopped, emptied, brought back from snapshots and robbed of single keys, and whose clocks
//! are an hour apart.

use std::{thread, time::Duration};

use larder::{Cache, ManualClock, Memory, Redis, Tiered};
use redis::{Client, Cmd, aio::ConnectionManager, cmd};

use super::{
    Chance, SEEDS,
    nodes::{Outcome, Plan, play},
    servers::redis::{Cluster, Redis as Server},
};

/// Each on connections of its own, as they would be on several machines.
async fn nodes(url: &str, further: Option<Cache>) -> Vec<Cache> {
    let redis = async || Redis::builder().invalidate_timeout(Duration::from_millis(200)).connect(url).await.unwrap();
    let ahead = ManualClock::new();
    ahead.advance(Duration::from_secs(3600));
    let nodes = [
        Cache::new(redis().await),
        Cache::new(redis().await).clock(&ahead),
        Cache::new(Tiered::new(Memory::new(16 << 20), redis().await)).clock(&ManualClock::new()),
    ];
    nodes.into_iter().chain(further).collect()
}

/// A node on a connection of the application's own.
async fn on_a_manager(server: &Server) -> Cache {
    let manager = ConnectionManager::new(Client::open(server.url()).unwrap()).await.unwrap();
    Cache::new(Redis::builder().invalidate_timeout(Duration::from_millis(200)).from_connection(manager))
}

fn accident(servers: &mut [Server], chance: &Chance) {
    let count = servers.len() as u64;
    let server = &mut servers[usize::try_from(chance.below(count)).unwrap()];
    match chance.below(9) {
        0 | 1 => {
            // What is invalidated in between is not in the snapshot.
            attempt(server, &cmd("SAVE"));
            pass(chance, 50);
            server.kill();
            pass(chance, 50);
            server.start_again();
        }
        2 => {
            server.pause();
            pass(chance, 400);
            server.resume();
        }
        3 => attempt(server, &cmd("FLUSHALL")),
        4 => attempt(server, cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal")),
        5 => delete(server, "*clock", chance),
        6 => delete(server, "larder:t:*", chance),
        7 => delete(server, "larder:e:*", chance),
        _ => delete(server, "*stream", chance),
    }
    pass(chance, 300);
}

fn delete(server: &Server, pattern: &str, chance: &Chance) {
    let keys: Vec<Vec<u8>> = server.query(cmd("KEYS").arg(pattern));
    if !keys.is_empty() {
        attempt(server, cmd("DEL").arg(&keys[usize::try_from(chance.below(keys.len() as u64)).unwrap()]));
    }
}

/// A node of a Cluster refuses while it does not know the others.
fn attempt(server: &Server, command: &Cmd) {
    let _ = command.exec(&mut server.connection());
}

fn pass(chance: &Chance, milliseconds: u64) {
    thread::sleep(Duration::from_millis(chance.below(milliseconds)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_is_older_while_a_server_has_accidents() {
    let mut all = Outcome::default();
    for seed in SEEDS {
        let plan = Plan::new(seed);
        let mut server = [Server::start()];
        let nodes = nodes(&server[0].url(), Some(on_a_manager(&server[0]).await)).await;
        let outcome = play(plan, nodes, move |chance| accident(&mut server, chance)).await;
        outcome.assert_kept(plan);
        all.add(outcome);
    }
    all.assert_lively();
    assert_ne!(all.failed(), 0, "no invalidation failed: the accidents were harmless");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_is_older_while_a_cluster_has_accidents() {
    let mut all = Outcome::default();
    for seed in SEEDS {
        let plan = Plan::new(seed);
        let mut cluster = Cluster::start();
        let nodes = nodes(&cluster.url(), None).await;
        let outcome = play(plan, nodes, move |chance| {
            accident(&mut cluster.nodes, chance);
            // It serves nobody until its nodes have found each other again; then there is something to keep.
            cluster.wait_until_ready();
            pass(chance, 800);
        });
        let outcome = outcome.await;
        outcome.assert_kept(plan);
        all.add(outcome);
    }
    all.assert_lively();
    assert_ne!(all.failed(), 0, "no invalidation failed: the accidents were harmless");
}
