//! Nodes that share memcached servers, which are killed, stopped, emptied and robbed of single items.

use std::{thread, time::Duration};

use larder::{Cache, Memcached};

use super::{
    Answers, Chance, SEEDS,
    nodes::{Member, Plan, SHARE, SHARE_OF_VALUES, histories},
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

async fn histories_on(servers: usize, answers: Answers, share: u64) {
    let plans = SEEDS.into_iter().map(|seed| Plan { answers, ..Plan::new(seed) });
    histories(plans, share, async || {
        let mut servers: Vec<_> = (0..servers).map(|_| Server::start()).collect();
        (nodes(&servers).await.into_iter().map(Member::from).collect(), move |chance: &Chance| accident(&mut servers, chance))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_is_older_while_a_server_has_accidents() {
    histories_on(1, Answers::Whole, SHARE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_is_older_while_several_servers_have_accidents() {
    histories_on(3, Answers::Whole, SHARE).await;
}

#[cfg(feature = "values")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_value_is_older_while_a_server_has_accidents() {
    histories_on(1, Answers::Valued, SHARE_OF_VALUES).await;
}
