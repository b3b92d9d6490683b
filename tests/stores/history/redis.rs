//! Nodes that share Redis, which is killed, stopped, emptied, brought back from snapshots, robbed of single keys, cut off,
//! replaced by a replica that lacks something, and whose slots move; and whose clocks are an hour apart.

use std::{thread, time::Duration};

use larder::{Cache, ManualClock, Memory, Redis, RedisBuilder, Tiered};
use redis::{Client, Cmd, aio::ConnectionManager, cmd};

use super::{
    Chance, SEEDS,
    nodes::{Member, Plan, SHARE, SHARE_OF_VALUES, histories, longer},
};
use crate::servers::{
    proxy::{Fault, Proxy},
    redis::{Cluster, Redis as Server, Sentinel},
};

fn hasty() -> RedisBuilder {
    Redis::builder().invalidate_timeout(Duration::from_millis(200))
}

async fn connected(builder: RedisBuilder, url: &str) -> Redis {
    builder.connect(url).await.unwrap()
}

/// A node that uses copies without asking, and may know a while later what another has invalidated.
pub(crate) fn leased(redis: Redis) -> Member {
    const LEASE: Duration = Duration::from_millis(300);
    // A lease is measured in milliseconds.
    const TICK: Duration = Duration::from_millis(2);
    Member { cache: Cache::new(Tiered::new(Memory::new(16 << 20), redis).lease(LEASE)), lag: LEASE + TICK }
}

/// A node whose copies answer while Redis cannot be reached. What it has invalidated itself it knows at once even then.
fn graced(redis: Redis, lease: Option<Duration>) -> Member {
    const GRACE: Duration = Duration::from_millis(800);
    // The clock that measures it has a resolution of 4 ms.
    const TICKS: Duration = Duration::from_millis(10);
    let tiered = Tiered::new(Memory::new(16 << 20), redis).outage_grace(GRACE);
    let cache = Cache::new(match lease {
        Some(lease) => tiered.lease(lease),
        None => tiered,
    });
    Member { cache, lag: GRACE + TICKS }
}

const GRACED_LEASE: Duration = Duration::from_millis(200);

/// Each on connections of its own, as they would be on several machines.
async fn nodes(builder: RedisBuilder, url: &str) -> Vec<Member> {
    let redis = async || connected(builder.clone(), url).await;
    let ahead = ManualClock::new();
    ahead.advance(Duration::from_secs(3600));
    vec![
        Cache::new(redis().await).into(),
        Cache::new(redis().await).with_clock(&ahead).into(),
        Cache::new(Tiered::new(Memory::new(16 << 20), redis().await)).with_clock(&ManualClock::new()).into(),
        leased(redis().await),
    ]
}

/// A node on a connection of the application's own.
async fn on_a_manager(server: &Server) -> Member {
    let manager = ConnectionManager::new(Client::open(server.url()).unwrap()).await.unwrap();
    Cache::new(hasty().from_connection(manager)).into()
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

fn plans(accidents: u64) -> impl Iterator<Item = Plan> + Clone {
    SEEDS.into_iter().map(move |seed| Plan { accidents: accidents * longer(), ..Plan::new(seed) })
}

/// Nodes on one server, and what happens to it.
async fn server_with_accidents() -> (Vec<Member>, impl FnMut(&Chance) + Send + 'static) {
    let mut server = [Server::start()];
    let mut nodes = nodes(hasty(), &server[0].url()).await;
    nodes.push(on_a_manager(&server[0]).await);
    (nodes, move |chance: &Chance| accident(&mut server, chance))
}

/// Nodes on a Cluster, and what happens to its servers.
async fn cluster_with_accidents() -> (Vec<Member>, impl FnMut(&Chance) + Send + 'static) {
    let mut cluster = Cluster::start();
    let nodes = nodes(hasty(), &cluster.url()).await;
    let accident = move |chance: &Chance| {
        accident(&mut cluster.nodes, chance);
        // The Cluster serves no request until its nodes have found each other again.
        cluster.wait_until_ready();
        pass(chance, 800);
    };
    (nodes, accident)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_is_older_while_a_server_has_accidents() {
    histories(plans(16), SHARE, server_with_accidents).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_on_one_node_is_older_while_its_copies_answer_during_outages() {
    for lease in [None, Some(GRACED_LEASE)] {
        histories(plans(16), SHARE, async || {
            let mut server = [Server::start()];
            let node = graced(connected(hasty(), &server[0].url()).await, lease);
            (vec![node], move |chance: &Chance| accident(&mut server, chance))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_is_older_than_the_grace_while_copies_answer_during_outages() {
    histories(plans(12), SHARE, async || {
        let server = Server::start();
        let proxy = Proxy::start(server.port).await;
        let nodes = vec![
            Cache::new(connected(hasty(), &server.url()).await).into(),
            graced(connected(hasty(), &proxy.url()).await, None),
            graced(connected(hasty(), &proxy.url()).await, Some(GRACED_LEASE)),
        ];
        let accident = move |chance: &Chance| {
            let _server = &server;
            proxy.set([Fault::Silence, Fault::Deaf, Fault::Cut, Fault::HalfClosed][usize::try_from(chance.below(4)).unwrap()]);
            // Often longer than the grace.
            pass(chance, 1500);
            proxy.set(Fault::None);
            pass(chance, 600);
        };
        (nodes, accident)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_is_older_while_a_cluster_has_accidents() {
    histories(plans(16), SHARE, cluster_with_accidents).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_is_older_while_slots_of_a_cluster_move() {
    histories(plans(12), SHARE, async || {
        let cluster = Cluster::start();
        let nodes = nodes(hasty(), &cluster.url()).await;
        let accident = move |chance: &Chance| {
            let key = match chance.below(4) {
                0 | 1 => "{larder}:clock".to_owned(),
                2 => format!("larder:t:t:register:{}", chance.below(8)),
                _ => "larder:t:t:registers".to_owned(),
            };
            let to = (cluster.owner(key.as_bytes()) + 1 + usize::try_from(chance.below(2)).unwrap()) % 3;
            cluster.move_slot(key.as_bytes(), to, || pass(chance, 300));
            pass(chance, 300);
        };
        (nodes, accident)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_is_older_while_the_network_has_faults() {
    histories(plans(12), SHARE, async || {
        let server = Server::start();
        let proxies = [Proxy::start(server.port).await, Proxy::start(server.port).await];
        let mut nodes = nodes(hasty(), &proxies[0].url()).await;
        nodes.push(leased(connected(hasty(), &proxies[1].url()).await));
        nodes.push(Cache::new(connected(hasty(), &server.url()).await).into());
        let accident = move |chance: &Chance| {
            let _server = &server;
            let proxy = &proxies[usize::try_from(chance.below(2)).unwrap()];
            proxy.set(match chance.below(6) {
                0 => Fault::Delay(Duration::from_millis(chance.below(30))),
                1 => Fault::Delay(Duration::from_millis(100 + chance.below(200))),
                2 => Fault::Silence,
                3 => Fault::Deaf,
                4 => Fault::Cut,
                _ => Fault::HalfClosed,
            });
            pass(chance, 400);
            proxy.set(Fault::None);
            pass(chance, 400);
        };
        (nodes, accident)
    })
    .await;
}

/// Plans of histories of values.
#[cfg(feature = "values")]
fn valued(accidents: u64) -> impl Iterator<Item = Plan> + Clone {
    plans(accidents).map(|plan| Plan { answers: super::Answers::Valued, ..plan })
}

#[cfg(feature = "values")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_value_is_older_while_a_server_has_accidents() {
    histories(valued(12), SHARE_OF_VALUES, server_with_accidents).await;
}

#[cfg(feature = "values")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_value_is_older_while_a_cluster_has_accidents() {
    histories(valued(12), SHARE_OF_VALUES, cluster_with_accidents).await;
}

fn accident_under_a_sentinel(sentinel: &mut Sentinel, chance: &Chance) {
    // There must be something to lose.
    thread::sleep(Duration::from_millis(400));
    pass(chance, 600);
    match chance.below(8) {
        0..=2 => {
            sentinel.primary.cut_off(&sentinel.replica);
            // What is acknowledged from here on is lost.
            thread::sleep(Duration::from_millis(100));
            fail_over(sentinel, chance);
        }
        3 => fail_over(sentinel, chance),
        4 => {
            sentinel.replica.pause();
            pass(chance, 400);
            sentinel.replica.resume();
        }
        5 => attempt(&sentinel.primary, cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal")),
        6 => delete(&sentinel.primary, "*clock", chance),
        _ => delete(&sentinel.primary, "larder:t:*", chance),
    }
}

/// A replica takes the place of its primary, with what it has.
fn fail_over(sentinel: &mut Sentinel, chance: &Chance) {
    pass(chance, 300);
    sentinel.primary.kill();
    sentinel.replica.resume();
    sentinel.take_over();
}

async fn histories_under_a_sentinel(builder: RedisBuilder) {
    // Longer than the time without a primary.
    let respite = Duration::from_secs(2);
    let plans = plans(5).map(|plan| Plan { registers: 24, readers: 4, respite, ..plan });
    histories(plans, SHARE, async || {
        let mut sentinel = Sentinel::start_obedient();
        let nodes = nodes(builder.clone(), &sentinel.url()).await;
        (nodes, move |chance: &Chance| accident_under_a_sentinel(&mut sentinel, chance))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_is_older_while_replicas_take_over() {
    histories_under_a_sentinel(hasty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_is_older_while_replicas_take_over_that_had_to_confirm() {
    histories_under_a_sentinel(hasty().durability(1)).await;
}

/// Servers that take turns as the primary, each told late or never that another one ruled meanwhile.
async fn histories_of_hand_overs(builder: RedisBuilder, has_third: bool) {
    // Nodes ask the sentinels five times a second; the README says a second.
    const NOTICED: Duration = Duration::from_millis(900);
    let respite = Duration::from_secs(2);
    let plans = plans(6).map(|plan| Plan { registers: 24, readers: 6, respite, ..plan });
    histories(plans, SHARE, async || {
        let sentinel = Sentinel::start_obedient();
        // One that confirms, and is never promoted.
        let at = sentinel.primary.port.to_string();
        let third = has_third.then(|| Server::start_with(&["--replicaof", "127.0.0.1", &at, "--replica-priority", "0"]));
        third.iter().for_each(|third| sentinel.wait_for_replica(third));
        let nodes = nodes(builder.clone(), &sentinel.url()).await;
        let nodes = nodes.into_iter().map(|node| Member { lag: node.lag.max(NOTICED), ..node }).collect();
        let mut turn = 0;
        let accident = move |chance: &Chance| {
            let _third = &third;
            thread::sleep(Duration::from_millis(900));
            pass(chance, 900);
            turn += 1;
            sentinel.hand_over_to([sentinel.primary.port, sentinel.replica.port][turn % 2]);
            // A node that has not noticed yet may learn it from its connection.
            if chance.below(2) == 0 {
                attempt([&sentinel.replica, &sentinel.primary][turn % 2], cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal"));
            }
        };
        (nodes, accident)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_is_older_while_primaries_take_turns_undemoted() {
    histories_of_hand_overs(hasty(), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_is_older_while_confirmed_primaries_take_turns_undemoted() {
    histories_of_hand_overs(hasty().durability(1), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_is_older_while_an_address_moves_between_servers() {
    let plans = plans(6).map(|plan| Plan { respite: Duration::from_secs(1), ..plan });
    histories(plans, SHARE, async || {
        let servers = [Server::start(), Server::start()];
        let proxy = Proxy::start(servers[0].port).await;
        let nodes = nodes(hasty(), &proxy.url()).await;
        let mut turn = 0;
        let accident = move |chance: &Chance| {
            // Each node is to see each server: one that does not cannot know.
            thread::sleep(Duration::from_millis(900));
            pass(chance, 600);
            turn += 1;
            proxy.lead_to(servers[turn % 2].port);
        };
        (nodes, accident)
    })
    .await;
}
