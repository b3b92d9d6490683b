//! Handlers that read from a replica which lags, on nodes that share a store: no stored response is older than a write that was done
//! (`Cache::begin_write`) before the request began. What a handler answers by itself may be older, and a node with leased copies may lag by its lease.
//!
//! A history in which the replica was later than the hold says nothing, and is played again.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State},
    routing,
};
use larder::{Cache, Memory, Reason};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    Chance,
    nodes::{Acknowledged, Member},
    soak,
};
use crate::support::{MINUTE, get};

/// How long the replica lags at most, and how long writers hold their tags.
const LAG: Duration = Duration::from_millis(20);
const HOLD: Duration = Duration::from_millis(150);
const REGISTERS: u64 = 16;
const SEEDS: [u64; 2] = [11, 12];

/// How a writer keeps the old row from being stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Guard,
    /// It invalidates after the commit.
    Invalidation,
}

/// A row on the primary and on the replica, and which versions' writers were done, when and where.
#[derive(Debug, Default)]
struct Row {
    primary: AtomicU64,
    replica: AtomicU64,
    done: Mutex<Acknowledged>,
}

/// One node, and how long after a write was done on another it may still answer with what is older.
#[derive(Debug, Clone)]
struct Node {
    cache: Cache,
    number: usize,
    lag: Duration,
}

#[derive(Debug, Clone)]
struct World {
    rows: Arc<[Row]>,
    chance: Chance,
    is_over: Arc<AtomicBool>,
    /// Whether the replica has lagged for longer than it may.
    was_late: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Outcome {
    reads: u64,
    stored: u64,
    pending: u64,
    violations: Vec<String>,
}

impl World {
    fn row(&self, register: u64) -> &Row {
        &self.rows[usize::try_from(register).unwrap()]
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Commits, and lets the replica follow.
    fn commit(&self, register: u64) -> u64 {
        let version = self.row(register).primary.fetch_add(1, Ordering::SeqCst) + 1;
        let (world, committed) = (self.clone(), Instant::now());
        let lag = LAG.mul_f64(self.chance.below(100) as f64 / 100.0);
        tokio::spawn(async move {
            sleep(lag).await;
            world.row(register).replica.fetch_max(version, Ordering::SeqCst);
            if committed.elapsed() > HOLD {
                world.was_late.store(true, Ordering::SeqCst);
            }
        });
        version
    }
}

async fn show(Path(register): Path<u64>, State(world): State<World>) -> String {
    let version = world.row(register).replica.load(Ordering::SeqCst);
    sleep(Duration::from_millis(world.chance.below(4))).await;
    version.to_string()
}

fn app(cache: &Cache, world: &World) -> Router {
    let layer = cache.layer().ttl(MINUTE).tags(["register:{register}", "registers"]);
    Router::new().route("/registers/{register}", routing::get(show).layer(layer)).with_state(world.clone())
}

async fn write(node: Node, world: World, way: Way) {
    while !world.is_over() {
        let register = world.chance.below(REGISTERS);
        let tags = [format!("register:{register}")];
        let version = match way {
            Way::Invalidation => {
                let version = world.commit(register);
                node.cache.invalidate_tags(tags).await.unwrap();
                version
            }
            Way::Guard => {
                let write = node.cache.begin_write(tags).await.unwrap().hold(HOLD);
                sleep(Duration::from_millis(world.chance.below(3))).await;
                let version = world.commit(register);
                // A writer that fails after its commit promises nothing.
                if world.chance.below(10) == 0 { 0 } else { write.done().await.map(|_| version).unwrap() }
            }
        };
        world.row(register).done.lock().unwrap().note(node.number, version);
        sleep(Duration::from_millis(20 + world.chance.below(60))).await;
    }
}

async fn read(node: Node, world: World) -> Outcome {
    let (app, mut outcome) = (app(&node.cache, &world), Outcome::default());
    while !world.is_over() {
        let register = world.chance.below(REGISTERS);
        let done = world.row(register).done.lock().unwrap().owed(node.number, node.lag);
        let answer = get(&app, &format!("/registers/{register}")).await;
        let was_stored = answer.is_hit() || answer.cache.is_some_and(|status| status.is_collapsed());
        outcome.reads += 1;
        outcome.stored += u64::from(was_stored);
        outcome.pending += u64::from(answer.reason() == Some(Reason::PendingWrite));
        if was_stored && answer.text().parse::<u64>().unwrap() < done {
            outcome.violations.push(format!("register {register}: {} after {done}", answer.text()));
        }
        sleep(Duration::from_millis(world.chance.below(3))).await;
    }
    outcome
}

fn numbered<M: Into<Member>>(nodes: impl IntoIterator<Item = M>) -> Vec<Node> {
    let members = nodes.into_iter().map(Into::into).enumerate();
    members.map(|(number, Member { cache, lag })| Node { cache, number, lag }).collect()
}

/// Plays one history; `None` if the replica was too late.
async fn play(nodes: &[Node], way: Way, seed: u64) -> Option<Outcome> {
    let (is_over, was_late) = Default::default();
    let rows = (0..REGISTERS).map(|_| Row::default()).collect();
    let world = World { rows, chance: Chance::new(seed), is_over, was_late };
    let (mut readers, mut writers) = (JoinSet::new(), JoinSet::new());
    for node in nodes {
        // Rows begin again with each history.
        node.cache.clear().await.unwrap();
    }
    // Until every node knows.
    sleep(nodes.iter().map(|node| node.lag).max().unwrap()).await;
    for (node, others) in nodes.iter().cycle().take(6).zip(0..) {
        readers.spawn(read(node.clone(), world.clone()));
        if others % 2 == 0 {
            writers.spawn(write(node.clone(), world.clone(), way));
        }
    }
    sleep(Duration::from_secs(2 * soak(30))).await;
    world.is_over.store(true, Ordering::SeqCst);
    writers.join_all().await;
    let mut all = Outcome::default();
    for outcome in readers.join_all().await {
        all.reads += outcome.reads;
        all.stored += outcome.stored;
        all.pending += outcome.pending;
        all.violations.extend(outcome.violations);
    }
    // Until holds and replicas of this history have ended.
    sleep(2 * HOLD).await;
    (!world.was_late.load(Ordering::SeqCst)).then_some(all)
}

/// Plays histories until each has shown something.
async fn outcomes(nodes: &[Node], way: Way) -> Vec<Outcome> {
    const TIMES: usize = 6;
    let mut outcomes = Vec::new();
    for seed in SEEDS {
        for _ in 0..TIMES {
            let Some(outcome) = play(nodes, way, seed).await else { continue };
            let Outcome { reads, stored, pending, violations } = &outcome;
            println!("{way:?}: {reads} reads, {stored} from the store, {pending} not stored, {} violations", violations.len());
            if *stored > reads / 20 && (way == Way::Invalidation || *pending > 0) {
                outcomes.push(outcome);
                break;
            }
        }
    }
    assert_eq!(outcomes.len(), SEEDS.len(), "the histories show little");
    outcomes
}

async fn assert_kept(nodes: &[Node]) {
    for outcome in outcomes(nodes, Way::Guard).await {
        assert!(outcome.violations.is_empty(), "{} violations, such as {}", outcome.violations.len(), outcome.violations[0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_stored_response_is_older_than_a_write_in_memory() {
    assert_kept(&numbered([Cache::new(Memory::new(1 << 20))])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_history_shows_writers_without_the_guard() {
    let outcomes = outcomes(&numbered([Cache::new(Memory::new(1 << 20))]), Way::Invalidation).await;
    assert!(outcomes.iter().all(|outcome| !outcome.violations.is_empty()), "{outcomes:?}");
}

#[cfg(feature = "redis")]
mod redis {
    use larder::{Redis, Tiered};

    use super::{super::redis::leased, *};
    use crate::servers::redis as servers;

    fn direct(redis: Redis) -> Cache {
        Cache::new(redis)
    }

    fn tiered(redis: Redis) -> Cache {
        Cache::new(Tiered::new(Memory::new(1 << 20), redis))
    }

    async fn nodes<M: Into<Member>>(url: &str, of: [fn(Redis) -> M; 3]) -> Vec<Node> {
        let limit = Duration::from_secs(10);
        let mut nodes = Vec::new();
        for of in of {
            let builder = Redis::builder().read_timeout(limit).store_timeout(limit).invalidate_timeout(limit);
            nodes.push(of(builder.connect(url).await.unwrap()));
        }
        numbered(nodes)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_stored_response_is_older_than_a_write_on_nodes_with_redis() {
        let server = servers::Redis::start();
        assert_kept(&nodes(&server.url(), [direct; 3]).await).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_stored_response_is_older_than_a_write_on_a_cluster() {
        let cluster = servers::Cluster::start();
        assert_kept(&nodes(&cluster.url(), [direct; 3]).await).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_stored_response_is_older_than_a_write_on_nodes_with_near_copies() {
        let server = servers::Redis::start();
        assert_kept(&nodes(&server.url(), [tiered; 3]).await).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_stored_response_is_older_than_a_write_and_a_lease_on_nodes_of_which_one_has_leased_copies() {
        let server = servers::Redis::start();
        let mixed: [fn(Redis) -> Member; 3] = [|redis| direct(redis).into(), |redis| tiered(redis).into(), leased];
        assert_kept(&nodes(&server.url(), mixed).await).await;
    }

    /// As if a lease were none.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_history_shows_that_leased_copies_lag() {
        let server = servers::Redis::start();
        let at_once: fn(Redis) -> Member = |redis| leased(redis).cache.into();
        let outcomes = outcomes(&nodes(&server.url(), [at_once; 3]).await, Way::Guard).await;
        assert!(outcomes.iter().any(|outcome| !outcome.violations.is_empty()), "{outcomes:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_history_on_nodes_shows_writers_without_the_guard() {
        let server = servers::Redis::start();
        let outcomes = outcomes(&nodes(&server.url(), [direct; 3]).await, Way::Invalidation).await;
        assert!(outcomes.iter().all(|outcome| !outcome.violations.is_empty()), "{outcomes:?}");
    }
}

#[cfg(feature = "memcached")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_stored_response_is_older_than_a_write_on_nodes_with_memcached() {
    use larder::Memcached;

    use crate::servers::memcached as servers;

    let (server, limit) = (servers::Memcached::start(), Duration::from_secs(10));
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let builder = Memcached::builder().read_timeout(limit).store_timeout(limit).invalidate_timeout(limit);
        nodes.push(Cache::new(builder.connect(&servers::url(&[&server])).await.unwrap()));
    }
    assert_kept(&numbered(nodes)).await;
}
