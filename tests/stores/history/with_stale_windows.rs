//! The promise in rough weather: with stale responses allowed, refreshes ahead of time and by hand, warm-ups, a schedule, refills after
//! invalidations, revisions that are activated, and a clock that runs, while handlers panic, fail, dawdle and change their minds about being stored, and clients leave.
//!
//! What was invalidated for good is still never answered again; an error is its own handler's. When it is over, nothing
//! is left behind that later requests would have to wait for.

use std::{
    any::Any,
    future::poll_fn,
    panic::{self, AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{
        Arc, Once,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    task::{Context, Poll},
    thread,
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing,
};
use http::{
    Method, StatusCode,
    header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH, VARY},
};
use larder::{Cache, Invalidate, ManualClock, Reason, Warm};
use tokio::{
    sync::Barrier,
    task::{JoinSet, yield_now},
};
use tower::ServiceExt as _;

use super::{Answers, Chance, Pieces, READER, Register, SEEDS, Slip, Violation, broken, soak, stores};
use crate::support::{Answer, Gate, MINUTE, get, read, request};

/// What one history is made of.
#[derive(Debug, Clone, Copy)]
struct Plan {
    seed: u64,
    answers: Answers,
    registers: u64,
    writers: u64,
    writes: u64,
    readers: u64,
    reads: u64,
}

impl Plan {
    fn new(seed: u64) -> Self {
        let (writes, reads) = (120 * soak(100), 300 * soak(100));
        Self { seed, answers: Answers::Whole, registers: 6, writers: 4, writes, readers: 24, reads }
    }
}

/// How many handlers may run at once, and how many requests may wait for them.
const FETCHES: usize = 4;
const WAITERS: usize = 16;

/// How long a history may take before it counts as hanging.
const WATCHDOG: Duration = Duration::from_secs(60);

/// How often things happened.
#[derive(Debug, Default)]
struct Report {
    reads: u64,
    hits: u64,
    /// Of the hits, those from what was stale.
    stale: u64,
    collapsed: u64,
    validated: u64,
    /// Answered from what was stale because the handler failed, or took too long.
    instead_of_errors: u64,
    instead_of_slow: u64,
    /// Went to the handler because too many waited, or for too long.
    impatient: u64,
    errors: u64,
    unstorable: u64,
    panics: u64,
    departures: u64,
    refreshes: u64,
    /// Stored by warm-ups, and by the schedule.
    warmed: u64,
    /// Filled and activated.
    revisions: u64,
    violations: Vec<Violation>,
}

impl Report {
    fn add(&mut self, other: Self) {
        self.reads += other.reads;
        self.hits += other.hits;
        self.stale += other.stale;
        self.collapsed += other.collapsed;
        self.validated += other.validated;
        self.instead_of_errors += other.instead_of_errors;
        self.instead_of_slow += other.instead_of_slow;
        self.impatient += other.impatient;
        self.errors += other.errors;
        self.unstorable += other.unstorable;
        self.panics += other.panics;
        self.departures += other.departures;
        self.refreshes += other.refreshes;
        self.warmed += other.warmed;
        self.revisions += other.revisions;
        self.violations.extend(other.violations);
    }

    /// Of everything there was some.
    fn assert_rough(&self) {
        let Self { reads, hits, stale, collapsed, validated, instead_of_errors, instead_of_slow, .. } = *self;
        let Self { errors, unstorable, panics, departures, refreshes, warmed, revisions, .. } = *self;
        assert!((reads / 4..reads * 99 / 100).contains(&hits), "{hits} hits show little: {self:?}");
        let often = [stale, collapsed, departures, refreshes, warmed];
        // A handler that fails late is mostly answered for as a slow one before.
        let seldom = [validated, instead_of_errors + instead_of_slow, errors, unstorable, panics, revisions];
        assert!(often.iter().all(|times| *times > reads / 500), "there was little of something: {self:?}");
        assert!(seldom.iter().all(|times| *times > reads / 10_000), "there was little of something: {self:?}");
    }

    fn note(&mut self, answer: &Answer) {
        self.reads += 1;
        let Some(status) = answer.cache else { return };
        self.hits += u64::from(status.is_hit());
        self.stale += u64::from(status.is_hit() && status.ttl().is_some_and(|ttl| ttl < 0));
        self.collapsed += u64::from(status.is_collapsed());
        self.validated += u64::from(status.is_validated());
        match status.reason() {
            Some(Reason::StaleOnError) => self.instead_of_errors += 1,
            Some(Reason::StaleWhileSlow) => self.instead_of_slow += 1,
            Some(Reason::WaitLimit) => self.impatient += 1,
            Some(Reason::NoStore) => self.unstorable += 1,
            _ => {}
        }
        self.errors += u64::from(answer.status.is_server_error());
    }
}

#[derive(Debug, Clone)]
struct World {
    registers: Arc<[Register]>,
    cache: Cache,
    clock: ManualClock,
    answers: Answers,
    chance: Chance,
    /// From here on handlers do what they are for.
    calm: Arc<AtomicBool>,
    running: Arc<AtomicUsize>,
    together: Arc<Barrier>,
    door: Gate,
}

impl World {
    fn new(plan: Plan, cache: &Cache) -> Self {
        let clock = ManualClock::new();
        Self {
            registers: (0..plan.registers).map(|_| Register::default()).collect(),
            cache: cache.with_clock(&clock).with_max_fetches(FETCHES).with_max_waiters(WAITERS, WAITERS),
            clock,
            answers: plan.answers,
            chance: Chance::new(plan.seed),
            calm: Arc::default(),
            running: Arc::default(),
            together: Arc::new(Barrier::new(FETCHES)),
            door: Gate::closed(),
        }
    }

    fn register(&self, register: u64) -> &Register {
        &self.registers[usize::try_from(register).unwrap()]
    }

    async fn pause(&self, below: u64) {
        for _ in 0..self.chance.below(below) {
            yield_now().await;
        }
    }

    /// Whether something happens that does so once in `times`.
    fn happens(&self, times: u64) -> bool {
        !self.calm.load(Ordering::SeqCst) && self.chance.below(times) == 0
    }

    /// Panics once in so many times; without noise, since it is planned.
    fn panic(&self, times: u64) {
        if self.happens(times) {
            resume_unwind(Box::new(Planned));
        }
    }

    async fn increment(&self, register: u64) -> u64 {
        self.pause(6).await;
        self.register(register).value.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// What handlers panic with.
#[derive(Debug)]
struct Planned;

/// Counts a handler as running.
struct Running<'w>(&'w AtomicUsize);

impl<'w> Running<'w> {
    fn new(world: &'w World) -> Self {
        world.running.fetch_add(1, Ordering::SeqCst);
        Self(&world.running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn app(world: World) -> Router {
    let second = Duration::from_secs(1);
    let layer = world
        .cache
        .layer()
        .ttl(3 * second)
        .stale_while_revalidate(3 * second)
        .stale_if_error(30 * second)
        .soft_timeout(Duration::from_millis(1))
        .refresh_ahead(1.0)
        .jitter(0.5)
        .wait_limit(Duration::from_millis(100))
        .rewarm(2);
    let registers = layer.tags(["register:{register}", "registers"]);
    let patient = world.cache.layer().ttl(MINUTE).wait_limit(10 * second);
    Router::new()
        .route("/registers/{register}", routing::get(show).put(put).layer(registers.clone()))
        .route("/registers/{register}/increment", routing::post(increment).layer(registers))
        .route("/together/{number}", routing::get(together).layer(patient.clone()))
        .route("/doors/{number}", routing::get(door).layer(patient))
        .with_state(world)
}

/// The value twice, so that a torn answer shows.
async fn show(Path(register): Path<u64>, State(world): State<World>, headers: HeaderMap) -> Response {
    let _running = Running::new(&world);
    world.pause(6).await;
    let value = world.register(register).value.load(Ordering::SeqCst);
    world.pause(6).await;
    if world.happens(16) {
        world.pause(400).await;
    }
    world.panic(24);
    if world.happens(24) {
        let status = [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::SERVICE_UNAVAILABLE][usize::from(world.happens(2))];
        return (status, format!("{value} {value}")).into_response();
    }
    let etag = format!("\"{value}\"");
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response();
    }
    let body = match world.answers {
        Answers::Streamed => axum::body::Body::new(Pieces(vec![
            (world.chance.below(4), format!(" {value}")),
            (world.chance.below(4), value.to_string()),
        ])),
        _ => axum::body::Body::from(format!("{value} {value}")),
    };
    let mut response = ([(ETAG, etag)], body).into_response();
    if world.answers == Answers::Varied {
        response.headers_mut().insert(VARY, READER.into());
    }
    if world.happens(48) {
        response.headers_mut().insert(CACHE_CONTROL, "no-store".parse().unwrap());
    }
    response
}

async fn put(Path(register): Path<u64>, State(world): State<World>) -> String {
    world.panic(24);
    world.increment(register).await.to_string()
}

async fn increment(Path(register): Path<u64>, State(world): State<World>) -> (Invalidate, String) {
    world.panic(24);
    let value = world.increment(register).await;
    (Invalidate::tags([format!("register:{register}")]), value.to_string())
}

/// Answers when as many of these run as may.
async fn together(State(world): State<World>) -> &'static str {
    world.together.wait().await;
    "together"
}

async fn door(State(world): State<World>) -> &'static str {
    world.door.pass().await;
    "open"
}

/// A request whose client leaves when it has waited too often, and whose handler may panic.
struct Visit<F> {
    future: Option<Pin<Box<F>>>,
    patience: Option<u64>,
}

enum Visited<T> {
    Answered(T),
    Left,
    Panicked,
}

fn visit<F: Future>(future: F, patience: Option<u64>) -> Visit<F> {
    Visit { future: Some(Box::pin(future)), patience }
}

impl<F: Future> Future for Visit<F> {
    type Output = Visited<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.future.as_mut().unwrap();
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        match polled {
            Ok(Poll::Ready(output)) => return Poll::Ready(Visited::Answered(output)),
            Err(panic) => return Poll::Ready(planned(panic)),
            Ok(Poll::Pending) => {}
        }
        let Some(patience) = &mut self.patience else { return Poll::Pending };
        if let Some(left) = patience.checked_sub(1) {
            *patience = left;
            return Poll::Pending;
        }
        self.future = None;
        Poll::Ready(Visited::Left)
    }
}

fn planned<T>(panic: Box<dyn Any + Send>) -> Visited<T> {
    match panic.downcast::<Planned>() {
        Ok(_) => Visited::Panicked,
        Err(panic) => resume_unwind(panic),
    }
}

/// An unplanned panic on a thread of these histories, whether or not a task waits for it.
static UNPLANNED_PANICS: AtomicUsize = AtomicUsize::new(0);
const THREADS: &str = "rough weather";

fn count_unplanned_panics() {
    static COUNTING: Once = Once::new();
    COUNTING.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if thread::current().name() == Some(THREADS) {
                UNPLANNED_PANICS.fetch_add(1, Ordering::SeqCst);
            }
            usual(info);
        }));
    });
}

/// Plays a history on a runtime of its own, and watches from outside of it, where nothing that spins is in the way.
fn play(plan: Plan, cache: &Cache) -> Report {
    count_unplanned_panics();
    let (report, reported) = mpsc::channel();
    let world = World::new(plan, cache);
    let playing = thread::spawn(move || {
        let builder = &mut tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(4).thread_name(THREADS).enable_time().build().unwrap();
        report.send(runtime.block_on(play_to_the_end(plan, world))).unwrap();
    });
    match reported.recv_timeout(WATCHDOG * u32::try_from(soak(100)).unwrap()) {
        Ok(report) => report,
        Err(RecvTimeoutError::Disconnected) => resume_unwind(playing.join().unwrap_err()),
        Err(RecvTimeoutError::Timeout) => panic!("{plan:?}: it hangs"),
    }
}

/// If the promise was kept, looks for what is left over.
async fn play_to_the_end(plan: Plan, world: World) -> Report {
    let app = app(world.clone());
    let report = play_all(plan, &world, &app).await;
    if report.violations.is_empty() {
        world.calm.store(true, Ordering::SeqCst);
        assert_nothing_is_left(plan, &world, &app).await;
    }
    report
}

async fn play_all(plan: Plan, world: &World, app: &Router) -> Report {
    let time = tokio::spawn(pass_time(world.clone(), Chance::new(plan.seed << 16 | 0xffff)));
    let scheduled = Client { plan, world: world.clone(), app: app.clone(), chance: Chance::new(plan.seed << 16 | 0xfffe) };
    let schedule = world.cache.every(Duration::from_millis(20)).jitter(Duration::ZERO).start(move || scheduled.warm());
    let mut tasks = JoinSet::new();
    for task in 0..plan.writers {
        let chance = Chance::new(plan.seed << 16 | task << 1);
        tasks.spawn(Client { plan, world: world.clone(), app: app.clone(), chance }.write_all());
    }
    for task in 0..plan.readers {
        let chance = Chance::new(plan.seed << 16 | task << 1 | 1);
        tasks.spawn(Client { plan, world: world.clone(), app: app.clone(), chance }.read_all());
    }
    let mut report = Report::default();
    while let Some(part) = tasks.join_next().await {
        report.add(part.unwrap());
    }
    time.abort();
    report.warmed += schedule.latest_report().map_or(0, |latest| latest.stored());
    report
}

async fn pass_time(world: World, chance: Chance) {
    loop {
        world.clock.advance(Duration::from_millis(chance.below(1500)));
        for _ in 0..chance.below(24) {
            yield_now().await;
        }
    }
}

struct Client {
    plan: Plan,
    world: World,
    app: Router,
    chance: Chance,
}

impl Client {
    async fn write_all(self) -> Report {
        let mut report = Report::default();
        for _ in 0..self.plan.writes {
            let register = self.chance.below(self.plan.registers);
            if let Some(value) = self.write(register, &mut report).await {
                self.world.register(register).acknowledged.fetch_max(value, Ordering::SeqCst);
            }
            self.rest().await;
        }
        report
    }

    /// Writes, and invalidates in one of the ways there are; what it returns is acknowledged.
    async fn write(&self, register: u64, report: &mut Report) -> Option<u64> {
        let uri = format!("/registers/{register}");
        let way = self.chance.below(16);
        match way {
            0..4 => return self.send(Method::PUT, &uri, report).await,
            4..8 => return self.send(Method::POST, &format!("{uri}/increment"), report).await,
            _ => {}
        }
        let value = self.world.increment(register).await;
        let cache = &self.world.cache;
        let tag = format!("register:{register}");
        match way {
            8 | 9 => cache.invalidate_tags([tag]).await,
            10 => cache.invalidate_tags(["registers"]).await,
            11 => cache.invalidate_uri(format!("http://example.com{uri}")).await,
            12 => cache.invalidate_uri(uri).await,
            13 => cache.clear().await,
            _ => {
                // May be answered yet, and promises nothing.
                cache.expire_tags([tag]).await.unwrap();
                return None;
            }
        }
        .unwrap();
        Some(value)
    }

    async fn send(&self, method: Method, uri: &str, report: &mut Report) -> Option<u64> {
        let request = request(method, uri, &[]);
        match visit(self.app.clone().oneshot(request), self.patience()).await {
            Visited::Answered(response) => Some(read(response.unwrap()).await.text().parse().unwrap()),
            Visited::Left => {
                report.departures += 1;
                None
            }
            Visited::Panicked => {
                report.panics += 1;
                None
            }
        }
    }

    async fn read_all(self) -> Report {
        let mut report = Report::default();
        for _ in 0..self.plan.reads {
            let register = self.chance.below(self.plan.registers);
            match self.chance.below(64) {
                0 => self.refresh(register, &mut report).await,
                2 if self.chance.below(8) == 0 => self.activate_revision(&mut report).await,
                2 => report.warmed += self.warm().start().await.stored(),
                1 => drop(self.ask(Method::HEAD, register, &mut report).await),
                _ => self.read(register, &mut report).await,
            }
            self.rest().await;
        }
        report
    }

    async fn read(&self, register: u64, report: &mut Report) {
        let acknowledged = self.world.register(register).acknowledged.load(Ordering::SeqCst);
        let Some(response) = self.ask(Method::GET, register, report).await else { return };
        if self.chance.below(16) == 0 {
            report.departures += 1;
            leave_early(response).await;
            return;
        }
        let answer = read(response).await;
        report.note(&answer);
        let value = value(&answer);
        if value.is_none_or(|value| value < acknowledged) {
            let answer = format!("{} {:?} {}", answer.status, answer.cache, answer.text());
            report.violations.push(Violation { register, acknowledged, answer });
        }
    }

    async fn ask(&self, method: Method, register: u64, report: &mut Report) -> Option<Response> {
        let request = self.request(method, register);
        match visit(self.app.clone().oneshot(request), self.patience()).await {
            Visited::Answered(response) => return Some(response.unwrap()),
            Visited::Left => report.departures += 1,
            Visited::Panicked => report.panics += 1,
        }
        None
    }

    async fn refresh(&self, register: u64, report: &mut Report) {
        let request = self.request(Method::GET, register);
        match visit(self.world.cache.refresh(self.app.clone(), request), self.patience()).await {
            Visited::Answered(status) => report.refreshes += u64::from(status.unwrap().is_some_and(|status| status.is_stored())),
            Visited::Left => report.departures += 1,
            Visited::Panicked => report.panics += 1,
        }
    }

    /// A warm-up of some registers, fresh or not.
    fn warm(&self) -> Warm {
        self.some_pages(self.world.cache.warm(self.app.clone()))
    }

    fn some_pages(&self, warm: Warm) -> Warm {
        let first = self.chance.below(self.plan.registers);
        let pages = (first..self.plan.registers).map(|register| format!("/registers/{register}"));
        let warm = warm.host("example.com").paths(pages).vary(READER.as_str(), ["0", "1"]);
        if self.chance.below(2) == 0 { warm.skip_fresh() } else { warm }
    }

    async fn activate_revision(&self, report: &mut Report) {
        let prepared = self.world.cache.prepare_revision(&self.chance.below(4).to_string());
        report.warmed += self.some_pages(prepared.warm(self.app.clone())).start().await.stored();
        prepared.activate();
        report.revisions += 1;
    }

    fn request(&self, method: Method, register: u64) -> axum::extract::Request {
        let reader = self.chance.below(2).to_string();
        request(method, &format!("/registers/{register}"), &[(READER.as_str(), &reader)])
    }

    /// Without it there would be no hits, or no misses.
    async fn rest(&self) {
        for _ in 0..self.chance.below(16) {
            yield_now().await;
        }
    }

    fn patience(&self) -> Option<u64> {
        (self.chance.below(8) == 0).then(|| self.chance.below(4))
    }
}

/// What a whole answer says.
fn value(answer: &Answer) -> Option<u64> {
    let value = answer.text().split(' ').next()?.parse().ok()?;
    (answer.text() == format!("{value} {value}")).then_some(value)
}

async fn leave_early(response: Response) {
    use http_body_util::BodyExt as _;

    let _ = response.into_body().frame().await;
}

/// After the last request: no handler runs, no flight is without a leader, and every place has been released.
async fn assert_nothing_is_left(plan: Plan, world: &World, app: &Router) {
    while world.running.load(Ordering::SeqCst) > 0 {
        yield_now().await;
    }
    // Long enough for everything to be stale and forgotten, and no invalidation: a flight that is left over can be joined.
    world.clock.advance(60 * MINUTE);
    for register in 0..plan.registers {
        let acknowledged = world.register(register).acknowledged.load(Ordering::SeqCst);
        let answer = get(app, &format!("/registers/{register}")).await;
        assert_eq!(answer.reason(), None, "{plan:?}: a flight is left over");
        assert!(value(&answer) >= Some(acknowledged), "{plan:?}: {answer:?}");
    }
    assert_all_fetches_are_free(plan, app).await;
    assert_all_may_wait(plan, world, app).await;
}

/// As many handlers as may run at once wait for each other.
async fn assert_all_fetches_are_free(plan: Plan, app: &Router) {
    let mut fetches = JoinSet::new();
    for number in 0..FETCHES {
        let app = app.clone();
        fetches.spawn(async move { get(&app, &format!("/together/{number}")).await });
    }
    while let Some(answer) = fetches.join_next().await {
        assert!(answer.unwrap().is_stored(), "{plan:?}: a place to fetch was not given back");
    }
}

/// As many requests as may wait follow a fetch, and no more.
async fn assert_all_may_wait(plan: Plan, world: &World, app: &Router) {
    const DOORS: usize = 3;
    let visit = |door: usize| {
        let app = app.clone();
        Box::pin(async move { get(&app, &format!("/doors/{door}")).await })
    };
    let mut leaders = Vec::new();
    for door in 0..DOORS {
        leaders.push(begun(visit(door)).await);
        world.door.arrival().await;
    }
    let mut followers = Vec::new();
    for number in 0..WAITERS {
        followers.push(begun(visit(number % DOORS)).await);
    }
    let refused = begun(visit(0)).await;
    world.door.arrival().await;
    world.door.open(DOORS + 1);
    for leader in leaders {
        assert!(leader.await.is_stored());
    }
    for follower in followers {
        let collapsed = follower.await.cache.is_some_and(|status| status.is_collapsed());
        assert!(collapsed, "{plan:?}: a request that has ended is counted as waiting");
    }
    assert_eq!(refused.await.reason(), Some(Reason::WaitLimit), "{plan:?}: more wait than may");
}

/// A request that has been sent, and waits.
async fn begun<F: Future>(mut request: Pin<Box<F>>) -> Pin<Box<F>> {
    let waits = poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx).is_pending())).await;
    assert!(waits, "the door is closed");
    request
}

fn histories(answers: Answers) {
    let mut all = Report::default();
    for (seed, memory) in stores(1 << 20) {
        let plan = Plan { answers, ..Plan::new(seed) };
        let engine = format!("{memory:?}");
        let report = play(plan, &Cache::new(memory));
        let violations = &report.violations;
        assert!(violations.is_empty(), "{plan:?}, {engine}: {} violations, such as {:?}", violations.len(), violations[0]);
        all.add(report);
    }
    all.assert_rough();
    assert_eq!(UNPLANNED_PANICS.load(Ordering::SeqCst), 0, "larder panicked in a task of its own");
}

#[test]
fn no_read_is_older_in_rough_weather() {
    histories(Answers::Whole);
}

#[test]
fn no_streamed_read_is_older_or_torn_in_rough_weather() {
    histories(Answers::Streamed);
}

#[test]
fn no_variant_is_older_in_rough_weather() {
    histories(Answers::Varied);
}

/// Whether one of the histories shows that a store makes this slip.
fn is_shown(slip: Slip) -> bool {
    SEEDS.into_iter().any(|seed| !play(Plan::new(seed), &broken(slip)).violations.is_empty())
}

#[test]
fn a_rough_history_shows_invalidations_that_are_forgotten() {
    assert!(is_shown(Slip::Forgets));
}

#[test]
fn a_rough_history_shows_invalidations_that_let_the_stale_live_on() {
    assert!(is_shown(Slip::ExpiresOnly));
}
