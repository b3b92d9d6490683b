//! Nodes that share memcached servers, which are killed, stopped, emptied and robbed of single items.

use std::{thread, time::Duration};

use larder::{Cache, Memcached};

use super::{
    Answers, Chance, SEEDS,
    nodes::{Outcome, Plan, play},
};
use crate::servers::memcached::{Memcached as Server, url};

/// Each on connections of its own, as they would be on several machines.
async fn nodes(servers: &[Server]) -> Vec<Cache> {
    let url = url(&servers.iter().collect::<Vec<_>>());
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let builder = Memcached::builder().invalidate_timeout(Duration::from_millis(200));
        nodes.push(Cache::new(builder.connect(&url).await.unwrap()));
    }
    nodes
}

fn accident(servers: &mut [Server], chance: &Chance) {
    let count = servers.len() as u64;
    let server = &mut servers[usize::try_from(chance.below(count)).unwrap()];
    match chance.below(8) {
        0 => {
            server.kill();
            pass(chance, 50);
            server.start_again();
        }
        1 => {
            server.pause();
            pass(chance, 400);
            server.resume();
        }
        2 => server.flush(),
        3 => delete(server, "larder:c:", chance),
        4 | 5 => delete(server, "larder:t:", chance),
        6 => delete(server, "larder:e:", chance),
        _ => server.listed("larder:t:").iter().for_each(|name| server.delete(name)),
    }
    pass(chance, 300);
}

fn delete(server: &Server, prefix: &str, chance: &Chance) {
    let items = server.listed(prefix);
    if !items.is_empty() {
        server.delete(&items[usize::try_from(chance.below(items.len() as u64)).unwrap()]);
    }
}

fn pass(chance: &Chance, milliseconds: u64) {
    thread::sleep(Duration::from_millis(chance.below(milliseconds)));
}

async fn histories(servers: usize, answers: Answers) -> Outcome {
    let mut all = Outcome::default();
    for seed in SEEDS {
        let plan = Plan { answers, ..Plan::new(seed) };
        let mut servers: Vec<_> = (0..servers).map(|_| Server::start()).collect();
        let nodes = nodes(&servers).await;
        let outcome = play(plan, nodes, move |chance| accident(&mut servers, chance)).await;
        outcome.assert_kept(plan);
        all.add(outcome);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_is_older_while_a_server_has_accidents() {
    let all = histories(1, Answers::Whole).await;
    all.assert_lively();
    assert_ne!(all.failed(), 0, "no invalidation failed: the accidents were harmless");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_is_older_while_several_servers_have_accidents() {
    let all = histories(3, Answers::Whole).await;
    all.assert_lively();
    assert_ne!(all.failed(), 0, "no invalidation failed: the accidents were harmless");
}

#[cfg(feature = "values")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_value_is_older_while_a_server_has_accidents() {
    let all = histories(1, Answers::Valued).await;
    all.assert_lively_by(100);
    assert_ne!(all.failed(), 0, "no invalidation failed: the accidents were harmless");
}
