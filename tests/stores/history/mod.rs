//! The promise under load: registers that are written and read at the same time through a cache, on several threads, and
//! no reader ever gets less than what was acknowledged before it asked.
//!
//! Every history is drawn from a seed, which a failure prints; the threads add their own disorder. `LARDER_SOAK=1` makes
//! a history of one node a hundred or two hundred times as long, and one of several nodes ten times, which is more than a million reads.

mod dying_writers;
mod lagging;
#[cfg(feature = "memcached")]
mod memcached;
#[cfg_attr(not(any(feature = "redis", feature = "memcached")), allow(dead_code, reason = "for stores that nodes share"))]
mod nodes;
#[cfg(feature = "redis")]
mod redis;
mod with_stale_windows;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::HeaderName,
    response::{IntoResponse, Response},
    routing,
};
use bytes::Bytes;
use http::Method;
use http_body::Frame;
use larder::{
    Cache, Error, Invalidate, Memory, Receipt,
    backend::{Backend, Clock, Epoch, FetchLock, Invalidation, Key, PutOutcome, ReadOutcome, Stored, Tag},
};
use tokio::{
    task::{JoinSet, yield_now},
    time::sleep,
};
use tower::ServiceExt as _;

use crate::support::{Answer, MINUTE, memories, read, request};

/// What one history is made of.
#[derive(Debug, Clone, Copy)]
struct Plan {
    seed: u64,
    registers: u64,
    writers: u64,
    writes: u64,
    readers: u64,
    reads: u64,
    answers: Answers,
}

/// How handlers answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// At once.
    Whole,
    /// In two pieces, with time in between, and some readers leave after the first.
    Streamed,
    /// As one of several variants of the URI.
    Varied,
    /// Made of a cached value, whose tags are the only ones that the response has; some are read without a layer.
    #[cfg(feature = "values")]
    Valued,
}

impl Plan {
    fn new(seed: u64) -> Self {
        let (writes, reads) = (100 * soak(200), 400 * soak(200));
        Self { seed, registers: 8, writers: 6, writes, readers: 24, reads, answers: Answers::Whole }
    }
}

/// How many times as long as usual a history is to be: `longer` times in a soak.
fn soak(longer: u64) -> u64 {
    if is_soak() { longer } else { 1 }
}

fn is_soak() -> bool {
    std::env::var_os("LARDER_SOAK").is_some()
}

/// What became of it.
#[derive(Debug, Default)]
struct Report {
    reads: u64,
    hits: u64,
    collapsed: u64,
    violations: Vec<Violation>,
}

#[derive(Debug)]
#[expect(dead_code, reason = "its fields are printed when a test fails")]
struct Violation {
    register: u64,
    acknowledged: u64,
    answer: String,
}

impl Report {
    /// A register was read, after that value had been acknowledged.
    fn note(&mut self, register: u64, acknowledged: u64, answer: &Answer) {
        self.reads += 1;
        self.hits += u64::from(answer.is_hit());
        self.collapsed += u64::from(answer.cache.is_some_and(|status| status.is_collapsed()));
        let value = answer.text().split(' ').next().and_then(|value| value.parse::<u64>().ok());
        if value.is_none_or(|value| value < acknowledged || answer.text() != format!("{value} {value}")) {
            self.violations.push(Violation { register, acknowledged, answer: answer.text().to_owned() });
        }
    }

    fn add(&mut self, other: Self) {
        self.reads += other.reads;
        self.hits += other.hits;
        self.collapsed += other.collapsed;
        self.violations.extend(other.violations);
    }

    /// The promise was kept, and there was something to keep: many of the reads were hits, many were not, and some of those were
    /// answered by the fetch of another.
    fn assert_kept(&self, plan: Plan) {
        let Self { reads, hits, collapsed, violations } = self;
        assert!(violations.is_empty(), "{plan:?}: {} violations, such as {:?}", violations.len(), violations[0]);
        assert!((reads / 5..reads * 99 / 100).contains(hits), "{plan:?}: {hits} hits in {reads} reads show little");
        assert!(*collapsed > 0, "{plan:?}: {collapsed} collapsed of {reads} reads show little");
    }
}

/// A register: what handlers read, and what writers have acknowledged.
#[derive(Debug, Default)]
struct Register {
    value: AtomicU64,
    acknowledged: AtomicU64,
}

#[derive(Debug, Clone)]
struct World {
    registers: Arc<[Register]>,
    cache: Cache,
    answers: Answers,
    /// What handlers draw their delays from.
    chance: Chance,
    /// How long they take at most beyond that.
    delay: Duration,
}

impl World {
    fn new(registers: u64, cache: Cache, answers: Answers, seed: u64) -> Self {
        let registers = (0..registers).map(|_| Register::default()).collect();
        Self { registers, cache, answers, chance: Chance::new(seed), delay: Duration::ZERO }
    }

    fn register(&self, register: u64) -> &Register {
        &self.registers[usize::try_from(register).unwrap()]
    }

    /// The URI of a register. A quarter of the reads of values are made without a layer.
    fn uri(&self, chance: &Chance, register: u64) -> String {
        let place = if self.has_tags_only() && chance.below(4) == 0 { "uncached" } else { "registers" };
        format!("/{place}/{register}")
    }

    async fn pause(&self) {
        for _ in 0..self.chance.below(6) {
            yield_now().await;
        }
        if !self.delay.is_zero() {
            sleep(self.delay.mul_f64(self.chance.below(100) as f64 / 100.0)).await;
        }
    }

    /// Whether invalidations of the URI are of any use: a value has none.
    fn has_tags_only(&self) -> bool {
        #[cfg(feature = "values")]
        return self.answers == Answers::Valued;
        #[cfg(not(feature = "values"))]
        false
    }

    async fn read(&self, register: u64) -> u64 {
        self.pause().await;
        let value = self.register(register).value.load(Ordering::SeqCst);
        self.pause().await;
        value
    }

    async fn increment(&self, register: u64) -> u64 {
        self.pause().await;
        self.register(register).value.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// Numbers that look random (splitmix64), shared by all clones.
#[derive(Debug, Clone)]
struct Chance(Arc<AtomicU64>);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seed)))
    }

    fn below(&self, limit: u64) -> u64 {
        let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

fn app(world: World) -> Router {
    let layer = world.cache.layer().ttl(MINUTE);
    let layer = if world.has_tags_only() { layer } else { layer.tags(["register:{register}", "registers"]) };
    Router::new()
        .route("/uncached/{register}", routing::get(show))
        .route("/registers/{register}", routing::get(show).put(put).layer(layer.clone()))
        .route("/registers/{register}/increment", routing::post(increment).layer(layer))
        .with_state(world)
}

const READER: HeaderName = HeaderName::from_static("x-reader");

/// The value twice, so that a torn answer shows.
async fn show(Path(register): Path<u64>, State(world): State<World>) -> Response {
    #[cfg(feature = "values")]
    if world.answers == Answers::Valued {
        let policy = larder::ValuePolicy::ttl(MINUTE).tags((format!("register:{register}"), "registers"));
        let (cache, name) = (world.cache.clone(), format!("register {register}"));
        let compute = move || async move { Ok::<_, std::convert::Infallible>(world.read(register).await) };
        let Ok(value) = cache.get_or_compute(name, &policy, compute).await;
        return format!("{value} {value}").into_response();
    }
    let value = world.read(register).await;
    match world.answers {
        #[cfg(feature = "values")]
        Answers::Valued => unreachable!("answered above"),
        Answers::Whole => format!("{value} {value}").into_response(),
        Answers::Varied => ([("vary", READER.as_str())], format!("{value} {value}")).into_response(),
        Answers::Streamed => {
            let pieces = vec![(world.chance.below(4), format!(" {value}")), (world.chance.below(4), value.to_string())];
            Body::new(Pieces(pieces)).into_response()
        }
    }
}

/// An unsafe method: that alone invalidates its URI (RFC 9111 §4.4).
async fn put(Path(register): Path<u64>, State(world): State<World>) -> (Invalidate, String) {
    let value = world.increment(register).await;
    let of_value = if world.has_tags_only() { vec![format!("register:{register}")] } else { Vec::new() };
    (Invalidate::tags(of_value), value.to_string())
}

/// An unsafe method on another URI, which says what it changed.
async fn increment(Path(register): Path<u64>, State(world): State<World>) -> (Invalidate, String) {
    let value = world.increment(register).await;
    (Invalidate::tags([format!("register:{register}")]), value.to_string())
}

/// A body that comes in pieces, the last one first in the list, each after so many pauses.
struct Pieces(Vec<(u64, String)>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.0.last_mut() {
            None => Poll::Ready(None),
            Some((0, text)) => {
                let text = std::mem::take(text);
                self.0.pop();
                Poll::Ready(Some(Ok(Frame::data(text.into()))))
            }
            Some((pauses, _)) => {
                *pauses -= 1;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

/// Plays a history on a runtime of its own.
fn play(plan: Plan, cache: Cache) -> Report {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    let world = World::new(plan.registers, cache, plan.answers, plan.seed);
    let app = app(world.clone());
    runtime.block_on(async move {
        let mut tasks = JoinSet::new();
        for task in 0..plan.writers {
            let chance = Chance::new(plan.seed << 16 | task << 1);
            tasks.spawn(write_all(plan, world.clone(), app.clone(), chance));
        }
        for task in 0..plan.readers {
            let chance = Chance::new(plan.seed << 16 | task << 1 | 1);
            tasks.spawn(read_all(plan, world.clone(), app.clone(), chance));
        }
        let mut report = Report::default();
        while let Some(part) = tasks.join_next().await {
            report.add(part.unwrap());
        }
        report
    })
}

async fn write_all(plan: Plan, world: World, app: Router, chance: Chance) -> Report {
    for _ in 0..plan.writes {
        let register = chance.below(plan.registers);
        let value = write(&world, &app, &chance, register).await;
        world.register(register).acknowledged.fetch_max(value, Ordering::SeqCst);
        // Without rest between writes there would be nothing to hit.
        for _ in 0..chance.below(20) {
            yield_now().await;
        }
    }
    Report::default()
}

/// Writes and invalidates in one of the ways there are; what it returns is acknowledged.
async fn write(world: &World, app: &Router, chance: &Chance, register: u64) -> u64 {
    let uri = format!("/registers/{register}");
    let way = chance.below(16);
    if way < 4 {
        return send(app, Method::PUT, &uri).await;
    }
    if way < 8 {
        return send(app, Method::POST, &format!("{uri}/increment")).await;
    }
    let value = world.increment(register).await;
    world.invalidate(way - 8, register).await.unwrap();
    value
}

impl World {
    /// Invalidates a register in one of eight ways.
    async fn invalidate(&self, way: u64, register: u64) -> Result<Receipt, Error> {
        // The URI of a page is not that of its value.
        let way = if self.has_tags_only() && matches!(way, 4 | 5) { 0 } else { way };
        invalidate(&self.cache, way, register).await
    }
}

async fn invalidate(cache: &Cache, way: u64, register: u64) -> Result<Receipt, Error> {
    let uri = format!("/registers/{register}");
    let tag = format!("register:{register}");
    match way {
        0 | 1 => cache.invalidate_tags([tag]).await,
        2 => cache.invalidate_tags(["elsewhere".to_owned(), tag]).await,
        3 => cache.expire_tags([tag]).await,
        4 => cache.invalidate_uri(format!("http://example.com{uri}")).await,
        5 => cache.invalidate_uri(uri).await,
        6 => cache.invalidate_tags(["registers"]).await,
        _ => cache.clear().await,
    }
}

async fn send(app: &Router, method: Method, uri: &str) -> u64 {
    let answer = crate::support::send_empty(app, method, uri).await;
    answer.text().parse().unwrap()
}

async fn read_all(plan: Plan, world: World, app: Router, chance: Chance) -> Report {
    let mut report = Report::default();
    for _ in 0..plan.reads {
        let register = chance.below(plan.registers);
        let reader = chance.below(3).to_string();
        let acknowledged = world.register(register).acknowledged.load(Ordering::SeqCst);
        let request = request(Method::GET, &world.uri(&chance, register), &[(READER.as_str(), &reader)]);
        let response = app.clone().oneshot(request).await.unwrap();
        if plan.answers == Answers::Streamed && chance.below(8) == 0 {
            leave_early(response).await;
            continue;
        }
        report.note(register, acknowledged, &read(response).await);
        yield_now().await;
    }
    report
}

async fn leave_early(response: Response) {
    use http_body_util::BodyExt as _;

    let first = response.into_body().frame().await;
    assert!(first.is_some());
}

const SEEDS: [u64; 4] = [1, 20, 300, 4000];

/// A seed of a history and an empty store for it, several times; the engines take turns.
fn stores(max_bytes: u64) -> impl Iterator<Item = (u64, Memory)> {
    SEEDS.into_iter().enumerate().map(move |(turn, seed)| {
        let mut engines = memories(max_bytes);
        let engine = turn % engines.len();
        (seed, engines.swap_remove(engine))
    })
}

fn histories(answers: Answers, cache: fn(Memory) -> Cache) {
    for (seed, memory) in stores(1 << 20) {
        let plan = Plan { answers, ..Plan::new(seed) };
        play(plan, cache(memory)).assert_kept(plan);
    }
}

#[test]
fn no_read_is_older_than_an_acknowledged_write() {
    histories(Answers::Whole, Cache::new);
}

#[test]
fn no_streamed_read_is_older_or_torn() {
    histories(Answers::Streamed, Cache::new);
}

#[test]
fn no_variant_is_older_than_an_acknowledged_write() {
    histories(Answers::Varied, Cache::new);
}

#[cfg(feature = "values")]
#[test]
fn no_value_is_older_than_an_acknowledged_write() {
    histories(Answers::Valued, Cache::new);
}

#[cfg(feature = "values")]
#[test]
fn a_history_of_values_shows_epochs_that_are_too_high_and_invalidations_that_are_forgotten() {
    for slip in [Slip::EpochTooHigh, Slip::Forgets, Slip::ReturnsEarly] {
        let is_shown = |seed| {
            let plan = Plan { answers: Answers::Valued, ..Plan::new(seed) };
            !play(plan, broken(slip)).violations.is_empty()
        };
        assert!(SEEDS.into_iter().any(is_shown), "{slip:?}");
    }
}

#[test]
fn a_namespace_keeps_the_promise_too() {
    histories(Answers::Whole, |memory| Cache::new(memory).with_namespace("shop"));
}

#[test]
fn a_store_that_evicts_all_the_time_keeps_the_promise() {
    for (seed, memory) in stores(8 << 10) {
        let plan = Plan { registers: 24, ..Plan::new(seed) };
        let memory = Arc::new(memory.tag_capacity(4));

        let report = play(plan, Cache::from_arc(Arc::clone(&memory) as Arc<dyn Backend>));

        report.assert_kept(plan);
        assert!(memory.evictions() > 0 && memory.entries() < plan.registers, "nothing had to be evicted");
        // Four of stored entries, and four others.
        assert!(memory.invalidated_tags() <= 4 + 4);
    }
}

/// A backend that breaks its contract in one way, to see that these histories would tell.
#[derive(Debug)]
struct Broken {
    memory: Arc<Memory>,
    slip: Slip,
    invalidations: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
enum Slip {
    /// Invalidations return before they have happened.
    ReturnsEarly,
    /// One invalidation in ten is forgotten.
    Forgets,
    /// Reads report an epoch that has not come yet, and so what was born too early looks new.
    EpochTooHigh,
    /// What was to be gone for good has expired only.
    ExpiresOnly,
}

impl Broken {
    fn slip(&self, mut read: ReadOutcome) -> ReadOutcome {
        if matches!(self.slip, Slip::EpochTooHigh) {
            read.epoch = read.epoch.map(|epoch| Epoch::new(epoch.get() + 1));
        }
        read
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Backend for Broken {
    fn use_clock(&self, clock: &Clock) {
        self.memory.use_clock(clock);
    }

    fn get_now(&self, key: &Key) -> Option<ReadOutcome> {
        self.memory.get_now(key).map(|read| self.slip(read))
    }

    async fn get(&self, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        self.memory.get(key, known).await.map(|read| self.slip(read))
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        self.memory.put(key, stored).await
    }

    async fn replace(&self, key: &Key, present: &Stored, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        self.memory.replace(key, present, stored).await
    }

    async fn hold_tags(&self, tags: &[Tag], writer: u64, life: Duration) -> Result<(), Error> {
        self.memory.hold_tags(tags, writer, life).await
    }

    async fn release_tags(&self, tags: &[Tag], writer: u64) -> Result<(), Error> {
        self.memory.release_tags(tags, writer).await
    }

    async fn lock_fetch(&self, key: &Key, life: Duration) -> Result<FetchLock, Error> {
        self.memory.lock_fetch(key, life).await
    }

    async fn unlock_fetch(&self, key: &Key) {
        self.memory.unlock_fetch(key).await;
    }

    async fn health(&self) -> larder::Health {
        self.memory.health().await
    }

    fn shared_mode(&self) -> larder::CacheMode {
        self.memory.shared_mode()
    }

    async fn set_shared_mode(&self, mode: larder::CacheMode) -> Result<larder::Scope, Error> {
        self.memory.set_shared_mode(mode).await
    }

    fn stats(&self) -> Vec<larder::backend::StoreStats> {
        self.memory.stats()
    }

    async fn install_function(&self) -> Result<(), Error> {
        self.memory.install_function().await
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        self.memory.is_alive(born, tags).await
    }

    fn copy_in_outage(&self, key: &Key) -> Option<Arc<Stored>> {
        self.memory.copy_in_outage(key)
    }

    fn reads_are_exact(&self) -> bool {
        self.memory.reads_are_exact()
    }

    fn lookup_limit(&self) -> Option<Duration> {
        self.memory.lookup_limit()
    }

    fn owed(&self) -> usize {
        self.memory.owed()
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        let number = self.invalidations.fetch_add(1, Ordering::Relaxed);
        match self.slip {
            Slip::Forgets if number % 10 == 9 => self.memory.invalidate(&Invalidation::Tags(Vec::new())).await,
            Slip::Forgets | Slip::EpochTooHigh => self.memory.invalidate(invalidation).await,
            Slip::ExpiresOnly => match invalidation {
                Invalidation::Tags(tags) => {
                    self.memory.invalidate(&Invalidation::ExpireTags { tags: tags.clone(), at: Clock::default().now() }).await
                }
                invalidation => self.memory.invalidate(invalidation).await,
            },
            Slip::ReturnsEarly => {
                let (memory, invalidation) = (Arc::clone(&self.memory), invalidation.clone());
                tokio::spawn(async move {
                    yield_now().await;
                    memory.invalidate(&invalidation).await
                });
                self.memory.invalidate(&Invalidation::Tags(Vec::new())).await
            }
        }
    }
}

fn broken(slip: Slip) -> Cache {
    Cache::new(Broken { memory: Arc::new(Memory::new(1 << 20)), slip, invalidations: AtomicU64::new(0) })
}

/// Whether one of the histories shows that a store makes this slip.
fn is_shown(slip: Slip) -> bool {
    SEEDS.into_iter().any(|seed| !play(Plan::new(seed), broken(slip)).violations.is_empty())
}

#[test]
fn a_history_shows_invalidations_that_return_early() {
    assert!(is_shown(Slip::ReturnsEarly));
}

#[test]
fn a_history_shows_invalidations_that_are_forgotten() {
    assert!(is_shown(Slip::Forgets));
}

#[test]
fn a_history_shows_epochs_that_are_too_high() {
    assert!(is_shown(Slip::EpochTooHigh));
}
