//! The promise on several nodes that share a store, while the store has accidents: whatever was acknowledged on one node,
//! every node knows.
//!
//! An invalidation may fail then, and is not acknowledged; a read never fails. A node that uses copies without asking may know what
//! another has invalidated a while later.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::Router;
use larder::Cache;
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep},
};

use super::{Answers, Chance, Report, SEEDS, Slip, World, app, broken, is_soak, soak};
use crate::support::get;

/// What one history is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) registers: u64,
    pub(crate) writers: u64,
    pub(crate) readers: u64,
    /// How long a writer rests whose invalidation has failed. It is carried out before its node reads again, which hides what a server
    /// has forgotten of the same registers.
    pub(crate) respite: Duration,
    /// How many accidents there are; when they are over, so is the history.
    pub(crate) accidents: u64,
    pub(crate) answers: Answers,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            registers: 8,
            writers: 4,
            readers: 12,
            respite: Duration::ZERO,
            accidents: 16 * longer(),
            answers: Answers::Whole,
        }
    }
}

/// How many times as many accidents as usual there are to be.
pub(crate) fn longer() -> u64 {
    soak(10)
}

/// Of what happened on all nodes.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    reads: Report,
    acknowledged: u64,
    failed: u64,
}

impl Outcome {
    /// There was something to keep, and an accident did harm: at least one read in `share` was a hit, and an invalidation failed.
    fn is_lively(&self, share: u64) -> bool {
        let Self { reads: Report { reads, hits, .. }, acknowledged, failed } = self;
        (reads / share..reads * 99 / 100).contains(hits) && *acknowledged > reads / 100 && *failed > 0
    }

    /// For the record of a soak.
    fn print(&self, topology: &str) {
        let Self { reads: Report { reads, hits, .. }, acknowledged, failed } = self;
        println!("{topology}: {reads} reads, {hits} of them hits, {acknowledged} acknowledged writes, {failed} failed writes");
    }

    pub(crate) fn assert_kept(&self, plan: Plan) {
        let violations = &self.reads.violations;
        assert!(violations.is_empty(), "{plan:?}: {} violations, such as {:?}", violations.len(), violations[0]);
    }

    pub(crate) fn violations(&self) -> usize {
        self.reads.violations.len()
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.reads.add(other.reads);
        self.acknowledged += other.acknowledged;
        self.failed += other.failed;
    }
}

/// In a lively history, one read in so many is a hit; machines differ, and reads that take too long are no hits.
pub(crate) const SHARE: u64 = 50;

/// The same where pages are made of values: a page counts as born when the value in it was, and is stored less often.
pub(crate) const SHARE_OF_VALUES: u64 = 100;

/// Plays a history for each plan, and all of them again while they show little, as they do on a busy machine; `begin` starts the servers,
/// and says which nodes use them and what happens to them.
pub(crate) async fn histories<A: FnMut(&Chance) + Send + 'static>(
    plans: impl IntoIterator<Item = Plan, IntoIter: Clone>,
    share: u64,
    begin: impl AsyncFn() -> (Vec<Member>, A),
) {
    const TIMES: usize = 4;
    let plans = plans.into_iter();
    for _ in 0..TIMES {
        let mut all = Outcome::default();
        for plan in plans.clone() {
            let (nodes, accident) = begin().await;
            let outcome = play(plan, nodes, accident).await;
            outcome.assert_kept(plan);
            all.add(outcome);
        }
        all.print(std::thread::current().name().unwrap_or("history"));
        if all.is_lively(share) {
            return;
        }
    }
    panic!("the histories show little");
}

/// A cache, and how long after another has invalidated something it may still answer with it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) cache: Cache,
    pub(crate) lag: Duration,
}

impl From<Cache> for Member {
    fn from(cache: Cache) -> Self {
        Self { cache, lag: Duration::ZERO }
    }
}

/// One node, and whether the history is over.
#[derive(Debug, Clone)]
struct Node {
    world: World,
    app: Router,
    number: usize,
    lag: Duration,
    acknowledged: Arc<[Mutex<Acknowledged>]>,
    over: Arc<AtomicBool>,
}

/// Longer than any node may lag.
const LONGEST_LAG: Duration = Duration::from_secs(1);

/// What writes of one register were acknowledged, where and when.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    /// The highest of those that every node has to know.
    settled: u64,
    recent: VecDeque<(Instant, usize, u64)>,
}

impl Acknowledged {
    pub(crate) fn note(&mut self, node: usize, value: u64) {
        self.recent.push_back((Instant::now(), node, value));
    }

    /// What a node has to know now.
    pub(crate) fn owed(&mut self, node: usize, lag: Duration) -> u64 {
        let now = Instant::now();
        while let Some(&(at, _, value)) = self.recent.front()
            && now - at >= LONGEST_LAG
        {
            self.recent.pop_front();
            self.settled = self.settled.max(value);
        }
        let known = self.recent.iter().filter(|(at, by, _)| *by == node || now - *at >= lag);
        known.map(|(_, _, value)| *value).max().map_or(self.settled, |value| value.max(self.settled))
    }
}

impl Node {
    fn acknowledged(&self, register: u64) -> std::sync::MutexGuard<'_, Acknowledged> {
        self.acknowledged[usize::try_from(register).unwrap()].lock().unwrap()
    }
}

/// Plays a history on `nodes`; `accident` makes one happen and lets some time pass, on a thread of its own.
pub(crate) async fn play(
    plan: Plan,
    nodes: Vec<impl Into<Member>>,
    mut accident: impl FnMut(&Chance) + Send + 'static,
) -> Outcome {
    let over = Arc::<AtomicBool>::default();
    let acknowledged: Arc<[_]> = (0..plan.registers).map(|_| Mutex::default()).collect();
    let members: Vec<Member> = nodes.into_iter().map(Into::into).collect();
    let first = World {
        delay: Duration::from_millis(2),
        ..World::new(plan.registers, members[0].cache.clone(), plan.answers, plan.seed)
    };
    let nodes = members.into_iter().enumerate().map(|(number, Member { cache, lag })| {
        let world = World { cache, ..first.clone() };
        let (app, acknowledged, over) = (app(world.clone()), Arc::clone(&acknowledged), Arc::clone(&over));
        Node { world, app, number, lag, acknowledged, over }
    });
    let nodes: Arc<[Node]> = nodes.collect();
    let mut tasks = JoinSet::new();
    for task in 0..plan.writers {
        tasks.spawn(write_until_it_is_over(plan, Arc::clone(&nodes), Chance::new(plan.seed << 16 | task << 1)));
    }
    for task in 0..plan.readers {
        tasks.spawn(read_until_it_is_over(plan, Arc::clone(&nodes), Chance::new(plan.seed << 16 | task << 1 | 1)));
    }
    let chance = Chance::new(plan.seed << 16 | 0xffff);
    let accidents = spawn_blocking(move || (0..plan.accidents).for_each(|_| accident(&chance)));
    accidents.await.unwrap();
    over.store(true, Ordering::SeqCst);
    let mut outcome = Outcome::default();
    while let Some(part) = tasks.join_next().await {
        outcome.add(part.unwrap());
    }
    outcome
}

async fn write_until_it_is_over(plan: Plan, nodes: Arc<[Node]>, chance: Chance) -> Outcome {
    let mut outcome = Outcome::default();
    while !nodes[0].over.load(Ordering::SeqCst) {
        let (node, register) = (any(&nodes, &chance), chance.below(plan.registers));
        let world = &node.world;
        let value = world.increment(register).await;
        // Everything at once is for seldom: there would be nothing left to hit.
        let way = chance.below(if chance.below(8) == 0 { 8 } else { 6 });
        match world.invalidate(way, register).await {
            Ok(_) => {
                node.acknowledged(register).note(node.number, value);
                outcome.acknowledged += 1;
            }
            Err(_) => {
                outcome.failed += 1;
                sleep(plan.respite).await;
            }
        }
        sleep(Duration::from_millis(chance.below(30))).await;
    }
    outcome
}

async fn read_until_it_is_over(plan: Plan, nodes: Arc<[Node]>, chance: Chance) -> Outcome {
    let mut outcome = Outcome::default();
    while !nodes[0].over.load(Ordering::SeqCst) {
        let (node, register) = (any(&nodes, &chance), chance.below(plan.registers));
        let acknowledged = node.acknowledged(register).owed(node.number, node.lag);
        let answer = get(&node.app, &node.world.uri(&chance, register)).await;
        outcome.reads.note(register, acknowledged, &answer);
        // Servers and other tests need the processor, too.
        sleep(Duration::from_micros(chance.below(if is_soak() { 6_000 } else { 15_000 }))).await;
    }
    outcome
}

fn any<'n>(nodes: &'n [Node], chance: &Chance) -> &'n Node {
    &nodes[usize::try_from(chance.below(nodes.len() as u64)).unwrap()]
}

/// Whether one of the histories shows that a store makes this slip.
async fn is_shown(slip: Slip) -> bool {
    for seed in SEEDS {
        let plan = Plan { accidents: 1, ..Plan::new(seed) };
        let cache = broken(slip);
        let outcome = play(plan, vec![cache.clone(), cache], |_| std::thread::sleep(Duration::from_millis(300))).await;
        if outcome.violations() > 0 {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_history_of_nodes_shows_invalidations_that_are_forgotten() {
    assert!(is_shown(Slip::Forgets).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_history_of_nodes_shows_epochs_that_are_too_high() {
    assert!(is_shown(Slip::EpochTooHigh).await);
}
