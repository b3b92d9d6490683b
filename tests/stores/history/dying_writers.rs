//! Writers whose processes end at any step of a pending write (`Cache::begin_write`): before its begin was acknowledged, between begin, commit and
//! done, during `done`, and during a hold.
//!
//! What is stored is never older than what `done` acknowledged, nor than what a writer committed that had begun before it died; nothing is stored of
//! a handler that started before the lease of a dead writer has ended; and no register is kept from being stored for longer than that.
//!
//! A process is a runtime of its own: what it has not done when the runtime ends, it never does. In memory the clock goes on with the steps that are
//! taken, so that leases end; in Redis they do with `LARDER_SOAK=1`, which waits for them.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
    thread,
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Router,
    extract::{Path, State},
    routing,
};
use larder::{
    Cache, Error, ManualClock, Memory, Reason, Receipt,
    backend::{Backend, Clock, Epoch, Invalidation, Key, PutOutcome, ReadOutcome, Stored, Tag},
};
use tokio::{runtime, task::yield_now};

use super::Chance;
use crate::support::get;

/// How long a dead writer holds its tags, and for how much longer one that dies during its hold.
const LEASE: Duration = Duration::from_secs(30);
const HOLD: Duration = Duration::from_secs(5);
/// Longer than any history, and than what leases and holds take of it.
const LONG: Duration = Duration::from_secs(24 * 3600);
const SEEDS: [u64; 2] = [21, 22];
/// In each history at least.
const DEATHS: u64 = 40;

/// What a writer does around its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Guard,
    /// It invalidates after the commit.
    Invalidation,
}

/// How to become a node of the store, in a process that has just started.
type Join = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Cache>>> + Send + Sync>;

#[derive(Clone)]
struct World {
    rows: Arc<[Row]>,
    join: Join,
    clock: Clock,
    /// What the clock goes on with, unless it does by itself.
    hand: Option<ManualClock>,
    chance: Chance,
    is_over: Arc<AtomicBool>,
    deaths: Arc<AtomicU64>,
    way: Way,
    /// How long a register may be kept from being stored after its last writer.
    lease: Duration,
}

/// A row, and what is known about it. Times are milliseconds.
#[derive(Debug, Default)]
struct Row {
    version: AtomicU64,
    /// The latest version whose writer was done.
    done: AtomicU64,
    /// The latest version whose writer had begun, committed, and died.
    left_behind: AtomicU64,
    /// No handler that started before then has made what is stored.
    held_until: AtomicU64,
    writers: AtomicU64,
    /// When the latest writer began or ended.
    last_written: AtomicU64,
}

#[derive(Debug, Default)]
struct Outcome {
    reads: u64,
    stored: u64,
    pending: u64,
    old: Vec<String>,
    unheld: Vec<String>,
    blocked: Vec<String>,
}

impl World {
    fn row(&self, register: u64) -> &Row {
        &self.rows[usize::try_from(register).unwrap()]
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    fn now(&self) -> u64 {
        self.clock.now().as_millis()
    }

    /// Lets some time pass.
    fn pass(&self, most: Duration) {
        if let Some(clock) = &self.hand {
            clock.advance(most.mul_f64(self.chance.below(100) as f64 / 100.0));
        }
    }

    async fn pause(&self) {
        for _ in 0..self.chance.below(4) {
            yield_now().await;
        }
    }

    fn app(&self, cache: &Cache) -> Router {
        let layer = cache.layer().ttl(LONG).tags(["register:{register}", "registers"]);
        Router::new().route("/registers/{register}", routing::get(show).layer(layer)).with_state(self.clone())
    }
}

/// The version, and when the handler started.
async fn show(Path(register): Path<u64>, State(world): State<World>) -> String {
    let started = world.now();
    let version = world.row(register).version.load(Ordering::SeqCst);
    world.pause().await;
    format!("{version} {started}")
}

/// Polls a future at most so many times; `None` if it is not ready then, as if its process had ended.
async fn for_polls<F: Future>(mut polls: u64, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if polls == 0 {
            return Poll::Ready(None);
        }
        polls -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

/// What a writer has come to.
#[derive(Debug, Default)]
struct Progress {
    begun: AtomicBool,
    committed: AtomicU64,
    is_ending: AtomicBool,
}

async fn write(world: &World, cache: &Cache, register: u64, hold: Duration, progress: &Progress) {
    let (row, tags) = (world.row(register), [format!("register:{register}")]);
    let guard = match world.way {
        Way::Guard => Some(cache.begin_write(tags.clone()).await.unwrap().hold(hold)),
        Way::Invalidation => None,
    };
    progress.begun.store(true, Ordering::SeqCst);
    world.pause().await;
    let version = row.version.fetch_add(1, Ordering::SeqCst) + 1;
    progress.committed.store(version, Ordering::SeqCst);
    world.pause().await;
    progress.is_ending.store(true, Ordering::SeqCst);
    match guard {
        Some(guard) => guard.done().await.unwrap(),
        None => cache.invalidate_tags(tags).await.unwrap(),
    };
    row.done.fetch_max(version, Ordering::SeqCst);
}

/// A process that writes once, and may die meanwhile. It always does if there is a hold.
fn live(world: &World) {
    let register = world.chance.below(world.rows.len() as u64);
    let hold = if world.chance.below(3) == 0 { HOLD } else { Duration::ZERO };
    let row = world.row(register);
    row.writers.fetch_add(1, Ordering::SeqCst);
    row.last_written.fetch_max(world.now(), Ordering::SeqCst);
    let (progress, process) = (Progress::default(), runtime::Builder::new_current_thread().enable_all().build().unwrap());
    let (began, is_done) = process.block_on(async {
        let cache = (world.join)().await;
        let began = world.now();
        (began, for_polls(1 + world.chance.below(24), write(world, &cache, register, hold, &progress)).await.is_some())
    });
    // With all its tasks.
    drop(process);
    let has_died_before_the_end = !progress.is_ending.load(Ordering::SeqCst) && progress.begun.load(Ordering::SeqCst);
    if has_died_before_the_end {
        row.left_behind.fetch_max(progress.committed.load(Ordering::SeqCst), Ordering::SeqCst);
        row.held_until.fetch_max(began + LEASE.as_millis() as u64, Ordering::SeqCst);
    } else if is_done && !hold.is_zero() {
        row.held_until.fetch_max(began + hold.as_millis() as u64, Ordering::SeqCst);
    }
    row.last_written.fetch_max(world.now(), Ordering::SeqCst);
    row.writers.fetch_sub(1, Ordering::SeqCst);
    world.deaths.fetch_add(u64::from(!is_done), Ordering::SeqCst);
}

fn write_until_it_is_over(world: &World) {
    while !world.is_over() {
        live(world);
        world.pass(Duration::from_secs(2));
        thread::sleep(Duration::from_millis(world.chance.below(3)));
    }
}

async fn read(world: &World, app: &Router, outcome: &mut Outcome) {
    let register = world.chance.below(world.rows.len() as u64);
    let row = world.row(register);
    let load = |number: &AtomicU64| number.load(Ordering::SeqCst);
    let (at_least, held_until, now) = (load(&row.done).max(load(&row.left_behind)), load(&row.held_until), world.now());
    let answer = get(app, &format!("/registers/{register}")).await;
    let numbers: Vec<u64> = answer.text().split(' ').map(|number| number.parse().unwrap()).collect();
    outcome.reads += 1;
    let is_pending = answer.reason() == Some(Reason::PendingWrite);
    outcome.pending += u64::from(is_pending);
    // Writers that began meanwhile have said so.
    let held_since = load(&row.last_written);
    if is_pending && load(&row.writers) == 0 && held_since + (world.lease + HOLD).as_millis() as u64 + 10 < now {
        outcome.blocked.push(format!("register {register}: at {now}, after {held_since}"));
    }
    if answer.is_hit() || answer.cache.is_some_and(|status| status.is_collapsed()) {
        outcome.stored += 1;
        if numbers[0] < at_least {
            outcome.old.push(format!("register {register}: {numbers:?} after {at_least}"));
        }
        if numbers[1] < held_until {
            outcome.unheld.push(format!("register {register}: {numbers:?} though held until {held_until}"));
        }
    }
    world.pass(Duration::from_millis(20));
}

/// Reads so often, and until enough writers have died.
fn read_all(world: &World, reads: u64) -> Outcome {
    let process = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    process.block_on(async {
        let app = world.app(&(world.join)().await);
        let mut outcome = Outcome::default();
        while outcome.reads < reads || world.deaths.load(Ordering::SeqCst) < DEATHS {
            read(world, &app, &mut outcome).await;
            world.pause().await;
        }
        outcome
    })
}

fn play(world: &World, reads: u64) -> Outcome {
    let mut all = Outcome::default();
    thread::scope(|scope| {
        (0..2).for_each(|_| drop(scope.spawn(|| write_until_it_is_over(world))));
        let readers: Vec<_> = (0..3).map(|_| scope.spawn(|| read_all(world, reads))).collect();
        for outcome in readers.into_iter().map(|reader| reader.join().unwrap()) {
            all.reads += outcome.reads;
            all.stored += outcome.stored;
            all.pending += outcome.pending;
            all.old.extend(outcome.old);
            all.unheld.extend(outcome.unheld);
            all.blocked.extend(outcome.blocked);
        }
        world.is_over.store(true, Ordering::SeqCst);
    });
    let Outcome { reads, stored, pending, old, unheld, blocked } = &all;
    let (deaths, wrong) = (world.deaths.load(Ordering::SeqCst), [old.len(), unheld.len(), blocked.len()]);
    println!(
        "{:?}: {deaths} deaths, {reads} reads, {stored} from the store, {pending} not stored; {wrong:?} old, too early, held",
        world.way
    );
    all
}

impl Outcome {
    fn assert_kept(&self) {
        assert!(self.old.is_empty() && self.unheld.is_empty() && self.blocked.is_empty(), "{self:?}");
        let Self { reads, stored, pending, .. } = self;
        assert!(*stored > reads / 20 && *pending > 0, "{stored} stored and {pending} pending of {reads} reads show little");
    }
}

/// A store that other processes use as well: it takes its time before an operation takes effect, and before it answers.
#[derive(Debug)]
struct Shared {
    memory: Memory,
    /// Without it, tags are never held.
    holds: bool,
}

#[async_trait]
impl Backend for Shared {
    fn use_clock(&self, clock: &Clock) {
        self.memory.use_clock(clock);
    }

    async fn get(&self, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        yield_now().await;
        self.memory.get(key, known).await
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        yield_now().await;
        self.memory.put(key, stored).await
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        self.memory.is_alive(born, tags).await
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        yield_now().await;
        let receipt = self.memory.invalidate(invalidation).await;
        yield_now().await;
        receipt
    }

    async fn hold_tags(&self, tags: &[Tag], writer: u64, life: Duration) -> Result<(), Error> {
        yield_now().await;
        if self.holds {
            self.memory.hold_tags(tags, writer, life).await?;
        }
        yield_now().await;
        Ok(())
    }

    async fn release_tags(&self, tags: &[Tag], writer: u64) -> Result<(), Error> {
        yield_now().await;
        self.memory.release_tags(tags, writer).await?;
        yield_now().await;
        Ok(())
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("rows", &self.rows).field("way", &self.way).finish_non_exhaustive()
    }
}

fn world(registers: u64, way: Way, seed: u64, join: Join, hand: Option<ManualClock>) -> World {
    let rows = (0..registers).map(|_| Row::default()).collect();
    let clock = hand.as_ref().map(Clock::from).unwrap_or_default();
    World {
        rows,
        join,
        clock,
        hand,
        chance: Chance::new(seed),
        is_over: Arc::default(),
        deaths: Arc::default(),
        way,
        lease: LEASE,
    }
}

fn in_memory(way: Way, seed: u64, holds: bool) -> World {
    let (store, clock) = (Arc::new(Shared { memory: Memory::new(1 << 20), holds }), ManualClock::new());
    let hand = clock.clone();
    let join = move || -> Pin<Box<dyn Future<Output = Cache>>> {
        let (store, clock) = (store.clone(), clock.clone());
        Box::pin(async move { Cache::from_arc(store).with_clock(&clock) })
    };
    world(16, way, seed, Arc::new(join), Some(hand))
}

const READS: u64 = 2000;

/// Each register is stored again, after the leases of all that have died.
fn assert_nothing_stays_held(world: &World) {
    if let Some(clock) = &world.hand {
        clock.advance(LEASE + HOLD);
    }
    let process = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    process.block_on(async {
        let app = world.app(&(world.join)().await);
        for register in 0..world.rows.len() {
            let uri = format!("/registers/{register}");
            // The first may find a mark that has lapsed, and the second stores its response.
            get(&app, &uri).await;
            get(&app, &uri).await;
            assert!(get(&app, &uri).await.is_hit(), "{uri}");
        }
    });
}

#[test]
fn nothing_old_is_stored_when_writers_die_and_leases_end() {
    for seed in SEEDS {
        let world = in_memory(Way::Guard, seed, true);
        play(&world, READS * super::soak(30)).assert_kept();
        assert_nothing_stays_held(&world);
    }
}

#[test]
fn a_history_shows_writers_that_die_without_a_guard() {
    let outcome = play(&in_memory(Way::Invalidation, SEEDS[0], true), READS);
    assert!(!outcome.old.is_empty());
}

#[test]
fn a_history_shows_a_store_that_holds_no_tags_of_the_dead() {
    let outcome = play(&in_memory(Way::Guard, SEEDS[0], false), READS);
    assert!(!outcome.unheld.is_empty());
}

#[test]
fn a_history_shows_registers_that_are_held_for_longer_than_they_may_be() {
    let world = World { lease: Duration::ZERO, ..in_memory(Way::Guard, SEEDS[0], true) };
    assert!(!play(&world, READS).blocked.is_empty());
}

#[cfg(feature = "redis")]
mod redis {
    use larder::{Redis, Tiered};

    use super::*;
    use crate::servers::redis as servers;

    /// Registers of which most are free, although none is until leases end.
    const REGISTERS: u64 = 512;

    fn on_redis(url: String, way: Way, of: fn(Redis) -> Cache) -> World {
        let join = move || -> Pin<Box<dyn Future<Output = Cache>>> {
            let (url, limit) = (url.clone(), Duration::from_secs(10));
            let builder = Redis::builder().read_timeout(limit).store_timeout(limit).invalidate_timeout(limit);
            Box::pin(async move { of(builder.connect(&url).await.unwrap()) })
        };
        world(REGISTERS, way, SEEDS[0], Arc::new(join), None)
    }

    fn assert_kept(url: String, of: fn(Redis) -> Cache) {
        let world = on_redis(url, Way::Guard, of);
        play(&world, READS / 3 * super::super::soak(30)).assert_kept();
        if super::super::soak(2) > 1 {
            thread::sleep(LEASE + HOLD);
            assert_nothing_stays_held(&world);
        }
    }

    #[test]
    fn nothing_old_is_stored_when_writers_on_redis_die() {
        let server = servers::Redis::start();
        assert_kept(server.url(), Cache::new);
    }

    #[test]
    fn nothing_old_is_stored_when_writers_on_a_cluster_die() {
        let cluster = servers::Cluster::start();
        assert_kept(cluster.url(), Cache::new);
    }

    #[test]
    fn nothing_old_is_stored_in_near_tiers_when_writers_die() {
        let server = servers::Redis::start();
        assert_kept(server.url(), |redis| Cache::new(Tiered::new(Memory::new(1 << 20), redis)));
    }

    #[test]
    fn a_history_on_redis_shows_writers_that_die_without_a_guard() {
        let server = servers::Redis::start();
        let outcome = play(&on_redis(server.url(), Way::Invalidation, Cache::new), READS / 3);
        assert!(!outcome.old.is_empty());
    }
}
