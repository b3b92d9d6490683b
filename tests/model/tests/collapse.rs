//! Every interleaving of those who fetch and those who wait: one fetches at a time, no follower sleeps forever, no follower is counted
//! who has gone, and nothing that was invalidated is waited for.
//!
//! It is the real file that runs, on loom's locks and atomics, together with the real tag table where invalidation matters;
//! `build.rs` writes copies with one slip each, and the last tests show that these models notice every one of them. For the
//! bounds see `explore`.
//!
//! Nothing blocks and nothing panics halfway, since a lead that is dropped while loom unwinds takes locks that are no more: who
//! would sleep leaves it to the end of the model, and what is wrong is noted until then.

#![allow(clippy::unwrap_used, reason = "a thread that panics has failed its model")]

mod explore;

mod sync {
    pub(super) use loom::sync::{
        Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    };
}

#[path = "../../../src/cache/flights.rs"]
#[allow(dead_code, reason = "the models need not call everything")]
mod collapse;

mod clock {
    pub(crate) use larder::backend::Timestamp;
}

mod entry {
    pub(crate) mod epoch {
        pub(crate) use larder::backend::Epoch;
    }
}

mod backend {
    pub(crate) use crate::{expiries, tag_record, validity};
}

#[path = "../../../src/backend/expiries.rs"]
#[allow(dead_code, reason = "the model need not call everything")]
mod expiries;

#[path = "../../../src/backend/tag_record.rs"]
#[allow(dead_code, unreachable_pub, reason = "the model need not call everything")]
mod tag_record;

#[path = "../../../src/backend/validity.rs"]
#[allow(dead_code, unreachable_pub, reason = "the model need not call everything")]
mod validity;

#[path = "../../../src/backend/memory/tag_counts.rs"]
#[allow(dead_code, reason = "the model need not call everything")]
mod tag_counts;

#[path = "../../../src/backend/memory/tag_table.rs"]
#[allow(dead_code, reason = "the models need not call everything")]
mod tag_table;

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use explore::{ALL, SOME, explore};
use larder::backend::Epoch;
use loom::{
    sync::atomic::{AtomicBool as SharedBool, AtomicU64, AtomicUsize},
    thread,
};
use tag_table::TagTable;
use validity::{Strength, Validity};

const KEY: &[u8] = &[0];
/// Under another lock, where there is more than one.
const OTHER_KEY: &[u8] = &[1];

/// The epoch of those who began first.
const EARLY: u64 = 1;
const LATE: u64 = 2;

/// How a fetch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Stored,
    /// Its lead was dropped.
    Failed,
}

enum Joined<F: Flights> {
    Leader(F::LeaderGuard),
    Follower(F::Follower),
    Outdated(u64),
    Full,
}

/// The fetches that are under way, or those of a copy with a slip.
trait Flights: Send + Sync + 'static {
    type LeaderGuard: Send;
    type Follower: Future<Output = Self::FetchOutcome> + Unpin + Send;
    type FetchOutcome;

    fn new(shards: usize, limits: WaiterLimits) -> Arc<Self>;
    fn join(self: &Arc<Self>, key: &[u8], epoch: u64, accept: u64) -> Joined<Self>
    where
        Self: Sized;
    fn supersede(self: &Arc<Self>, key: &[u8], epoch: u64) -> Joined<Self>
    where
        Self: Sized;
    fn overtake(self: &Arc<Self>, key: &[u8], epoch: u64, follower: &Self::Follower) -> Option<Joined<Self>>
    where
        Self: Sized;
    fn lead(self: &Arc<Self>, key: &[u8], epoch: u64) -> Option<Self::LeaderGuard>;
    fn end(lead: Self::LeaderGuard, end: End);
    fn ended(landing: Self::FetchOutcome) -> End;
}

#[derive(Debug, Clone, Copy)]
struct WaiterLimits {
    per_key: usize,
    total: usize,
}

macro_rules! flights {
    ($($collapse:ident),+) => {
        $(impl Flights for $collapse::Flights {
            type LeaderGuard = $collapse::LeaderGuard;
            type Follower = $collapse::Follower;
            type FetchOutcome = $collapse::FetchOutcome;

            fn new(shards: usize, WaiterLimits { per_key, total }: WaiterLimits) -> Arc<Self> {
                Self::new(shards, $collapse::WaiterLimits { per_key, total })
            }

            fn join(self: &Arc<Self>, key: &[u8], epoch: u64, accept: u64) -> Joined<Self> {
                self.join(key, Epoch::new(epoch), Epoch::new(accept)).into()
            }

            fn supersede(self: &Arc<Self>, key: &[u8], epoch: u64) -> Joined<Self> {
                self.supersede(key, Epoch::new(epoch)).into()
            }

            fn overtake(self: &Arc<Self>, key: &[u8], epoch: u64, follower: &Self::Follower) -> Option<Joined<Self>> {
                Some(self.overtake(key, Epoch::new(epoch), follower)?.into())
            }

            fn lead(self: &Arc<Self>, key: &[u8], epoch: u64) -> Option<Self::LeaderGuard> {
                self.lead(key, Epoch::new(epoch))
            }

            fn end(lead: Self::LeaderGuard, end: End) {
                match end {
                    End::Stored => lead.finish($collapse::FetchOutcome::Stored),
                    End::Failed => drop(lead),
                }
            }

            fn ended(landing: Self::FetchOutcome) -> End {
                match landing {
                    $collapse::FetchOutcome::Stored => End::Stored,
                    $collapse::FetchOutcome::Failed => End::Failed,
                    landing => panic!("no fetch ends with {landing:?}"),
                }
            }
        }

        impl From<$collapse::Joined> for Joined<$collapse::Flights> {
            fn from(turn: $collapse::Joined) -> Self {
                match turn {
                    $collapse::Joined::Leader(lead) => Self::Leader(lead),
                    $collapse::Joined::Follower(follow) => Self::Follower(follow),
                    $collapse::Joined::Outdated(epoch) => Self::Outdated(epoch.get()),
                    $collapse::Joined::Full => Self::Full,
                }
            }
        })+
    };
}

flights!(collapse);

impl<F: Flights> Joined<F> {
    #[track_caller]
    fn lead(self) -> F::LeaderGuard {
        let Self::Leader(lead) = self else { panic!("there is no leader yet") };
        lead
    }

    #[track_caller]
    fn follow(self) -> F::Follower {
        let Self::Follower(follow) = self else { panic!("there is a leader") };
        follow
    }
}

/// The flights, how many fetch at this moment, and what was seen to be wrong.
struct Scene<F> {
    flights: Arc<F>,
    limits: WaiterLimits,
    fetching: AtomicUsize,
    wrong: Mutex<Option<&'static str>>,
}

/// Plays `model` on a stage where two may wait.
fn play<F: Flights>(preemptions: Option<usize>, model: impl Fn(&Arc<Scene<F>>) + Send + Sync + 'static) {
    play_with(preemptions, 1, WaiterLimits { per_key: 2, total: 2 }, model);
}

fn play_with<F: Flights>(
    preemptions: Option<usize>,
    shards: usize,
    limits: WaiterLimits,
    model: impl Fn(&Arc<Scene<F>>) + Send + Sync + 'static,
) {
    explore(preemptions, move || {
        let flights = F::new(shards, limits);
        let scene = Arc::new(Scene { flights, limits, fetching: AtomicUsize::new(0), wrong: Mutex::new(None) });
        model(&scene);
        scene.check_that_all_have_gone();
        let wrong = scene.wrong.lock().unwrap().take();
        assert!(wrong.is_none(), "{}", wrong.unwrap());
    });
}

impl<F: Flights> Scene<F> {
    fn check(&self, right: bool, wrong: &'static str) {
        if !right {
            self.wrong.lock().unwrap().get_or_insert(wrong);
        }
    }

    fn join(&self, epoch: u64) -> Joined<F> {
        self.flights.join(KEY, epoch, epoch)
    }

    fn join_or_supersede(&self, epoch: u64) -> Joined<F> {
        match self.join(epoch) {
            Joined::Outdated(_) => self.flights.supersede(KEY, epoch),
            turn => turn,
        }
    }

    /// Whether a follower overtakes its fetch, and not another one; its own fetch ends at once.
    fn overtakes(&self, follower: &F::Follower) -> bool {
        match self.flights.overtake(KEY, EARLY, follower) {
            Some(Joined::Leader(lead)) => {
                F::end(lead, End::Stored);
                true
            }
            Some(Joined::Follower(_)) | None => false,
            Some(Joined::Outdated(_) | Joined::Full) => {
                self.check(false, "a follower neither overtakes nor follows");
                false
            }
        }
    }

    fn fetch(&self, lead: F::LeaderGuard, end: End) {
        self.check(self.fetching.fetch_add(1, Ordering::Relaxed) == 0, "two fetch at a time");
        self.fetching.fetch_sub(1, Ordering::Relaxed);
        F::end(lead, end);
    }

    /// No flight is left over, and as many may wait as at the beginning.
    fn check_that_all_have_gone(&self) {
        let WaiterLimits { per_key, total } = self.limits;
        let (mut leads, mut waiting) = (Vec::new(), Vec::new());
        for key in 0..total {
            let key = [u8::try_from(key).unwrap()];
            let join = || self.flights.join(&key, u64::MAX, u64::MAX);
            let Joined::Leader(lead) = join() else { return self.check(false, "a flight is left over") };
            leads.push(lead);
            let before = waiting.len();
            while let Joined::Follower(follow) = join() {
                waiting.push(follow);
            }
            self.check(waiting.len() - before <= per_key, "more wait than may");
        }
        self.check(waiting.len() <= total, "more wait than may");
        self.check(waiting.len() >= total, "a follower is counted that has gone");
    }

    /// Polls the followers that were woken until none is left.
    fn finish<T: Task>(&self, tasks: impl IntoIterator<Item = Option<T>>) {
        let mut asleep: Vec<T> = tasks.into_iter().flatten().collect();
        while let Some(woken) = asleep.iter().position(T::is_woken) {
            let task = asleep.remove(woken);
            asleep.extend(task.run());
        }
        self.check(asleep.is_empty(), "a follower sleeps forever");
    }
}

/// Something that has to sleep at times.
trait Task: Sized {
    /// Runs until it has done what it is for, or sleeps.
    fn run(self) -> Option<Self>;
    fn is_woken(&self) -> bool;
}

/// One who waits. Each flight has one at most: the wakers lie in a hash map, whose order is random, and loom must be able to repeat
/// what it has seen.
struct Sleep<F: Flights> {
    follow: F::Follower,
    alarm: Arc<Alarm>,
}

impl<F: Flights> Sleep<F> {
    fn new(follow: F::Follower) -> Self {
        Self { follow, alarm: Arc::default() }
    }

    /// Looks again whenever it was woken.
    fn poll(&mut self) -> Poll<End> {
        loop {
            self.alarm.0.store(false, Ordering::Relaxed);
            let polled = poll::<F>(&mut self.follow, &Arc::clone(&self.alarm).into());
            if polled.is_ready() || !self.is_woken() {
                return polled;
            }
        }
    }

    fn is_woken(&self) -> bool {
        self.alarm.0.load(Ordering::Acquire)
    }
}

fn poll<F: Flights>(follow: &mut F::Follower, waker: &Waker) -> Poll<End> {
    Pin::new(follow).poll(&mut Context::from_waker(waker)).map(F::ended)
}

#[derive(Debug, Default)]
struct Alarm(SharedBool);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// Fetches, or waits for the leader, or supersedes it.
struct Request<F: Flights> {
    scene: Arc<Scene<F>>,
    epoch: u64,
    end: End,
    sleep: Option<Sleep<F>>,
}

impl<F: Flights> Request<F> {
    fn new(scene: &Arc<Scene<F>>, epoch: u64, end: End) -> Self {
        Self { scene: Arc::clone(scene), epoch, end, sleep: None }
    }
}

impl<F: Flights> Task for Request<F> {
    fn run(mut self) -> Option<Self> {
        loop {
            if let Some(mut sleep) = self.sleep.take() {
                match sleep.poll() {
                    Poll::Pending => return Some(Self { sleep: Some(sleep), ..self }),
                    Poll::Ready(End::Stored) => return None,
                    Poll::Ready(End::Failed) => {}
                }
            }
            match self.scene.join_or_supersede(self.epoch) {
                Joined::Leader(lead) => {
                    self.scene.fetch(lead, self.end);
                    return None;
                }
                Joined::Follower(follow) => self.sleep = Some(Sleep::new(follow)),
                Joined::Outdated(_) | Joined::Full => {
                    self.scene.check(false, "a request neither leads nor follows");
                    return None;
                }
            }
        }
    }

    fn is_woken(&self) -> bool {
        self.sleep.as_ref().is_some_and(Sleep::is_woken)
    }
}

/// Runs `part` of the scene on another thread.
fn spawn<F: Flights, T: 'static>(
    scene: &Arc<Scene<F>>,
    part: impl FnOnce(&Scene<F>) -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let scene = Arc::clone(scene);
    thread::spawn(move || part(&scene))
}

fn spawn_task<T: Task + Send + 'static>(task: T) -> thread::JoinHandle<Option<T>> {
    thread::spawn(move || task.run())
}

/// Two requests for one key.
fn two_requests<F: Flights>(end: End) {
    play::<F>(ALL, move |scene| {
        let other = spawn_task(Request::new(scene, EARLY, end));
        let one = Request::new(scene, EARLY, end).run();
        scene.finish([one, other.join().unwrap()]);
    });
}

/// A request comes while a fetch ends.
fn request_while_a_fetch_ends<F: Flights>(end: End) {
    play::<F>(ALL, move |scene| {
        let lead = scene.join(EARLY).lead();
        let request = spawn_task(Request::new(scene, EARLY, End::Stored));
        scene.fetch(lead, end);
        scene.finish([request.join().unwrap()]);
    });
}

/// One of two who wait leaves while the fetch ends.
fn departure_while_a_fetch_ends<F: Flights>(end: End) {
    play::<F>(ALL, move |scene| {
        let lead = scene.join(EARLY).lead();
        let stays = Sleep::new(scene.join(EARLY).follow());
        let mut leaves = scene.join(EARLY).follow();
        let stays = spawn_task(Request { sleep: Some(stays), ..Request::new(scene, EARLY, End::Stored) });
        let leaves = spawn(scene, move |scene| {
            let polled = poll::<F>(&mut leaves, Waker::noop());
            scene.check(polled.is_pending() || polled == Poll::Ready(end), "the fetch did not end like this");
        });
        scene.fetch(lead, end);
        leaves.join().unwrap();
        scene.finish([stays.join().unwrap()]);
    });
}

/// A wait is handed on to another task while the fetch ends.
fn handover_while_a_fetch_ends<F: Flights>() {
    play::<F>(ALL, |scene| {
        let lead = scene.join(EARLY).lead();
        let mut follow = scene.join(EARLY).follow();
        let leader = spawn(scene, |scene| scene.fetch(lead, End::Stored));
        let asleep = match poll::<F>(&mut follow, Waker::noop()) {
            Poll::Pending => Request { sleep: Some(Sleep::new(follow)), ..Request::new(scene, EARLY, End::Stored) }.run(),
            Poll::Ready(_) => None,
        };
        leader.join().unwrap();
        scene.finish([asleep]);
    });
}

/// A fetch ends that another has superseded, or is about to.
fn end_of_the_superseded<F: Flights>(end: End) {
    play::<F>(SOME, move |scene| {
        let old = scene.join(EARLY).lead();
        let mut early = Sleep::<F>::new(scene.join(EARLY).follow());
        let polled = early.poll();
        scene.check(polled.is_pending(), "no fetch has ended");
        let leader = spawn(scene, move |_| F::end(old, end));
        match scene.flights.supersede(KEY, LATE) {
            Joined::Leader(new) => {
                let late = spawn_task(Request::new(scene, LATE, End::Stored));
                scene.fetch(new, End::Stored);
                scene.finish([late.join().unwrap()]);
            }
            _ => scene.check(false, "what began later supersedes"),
        }
        leader.join().unwrap();
        scene.check(early.is_woken(), "a follower sleeps forever");
        scene.check(early.poll() == Poll::Ready(end), "the fetch did not end like this");
    });
}

/// Two requests supersede the same fetch.
fn two_superseding<F: Flights>() {
    play::<F>(ALL, |scene| {
        let old = scene.join(EARLY).lead();
        let other = spawn_task(Request::new(scene, LATE, End::Stored));
        let one = Request::new(scene, LATE, End::Stored).run();
        scene.finish([one, other.join().unwrap()]);
        F::end(old, End::Stored);
    });
}

/// Two followers overtake a fetch that takes long, while it ends.
fn two_overtaking<F: Flights>() {
    play_with::<F>(SOME, 1, WaiterLimits { per_key: 4, total: 4 }, |scene| {
        let slow = scene.join(EARLY).lead();
        let (one, other) = (scene.join(EARLY).follow(), scene.join(EARLY).follow());
        let other = spawn(scene, move |scene| scene.overtakes(&other));
        let leader = spawn(scene, move |_| F::end(slow, End::Stored));
        let (one, other) = (scene.overtakes(&one), other.join().unwrap());
        scene.check(!(one && other), "two overtake the same fetch");
        leader.join().unwrap();
    });
}

/// A refresh in the background, and a request.
fn refresh_and_request<F: Flights>() {
    play::<F>(ALL, |scene| {
        let refresh = spawn(scene, |scene| {
            if let Some(lead) = scene.flights.lead(KEY, EARLY) {
                scene.fetch(lead, End::Stored);
            }
        });
        let request = Request::new(scene, EARLY, End::Stored).run();
        refresh.join().unwrap();
        scene.finish([request]);
    });
}

/// A waker that notes that it was woken, unseen by loom, so that two may wait for the same.
#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Two who waited try again when the fetch has failed.
fn two_tries_after_a_failure<F: Flights>() {
    play::<F>(SOME, |scene| {
        let lead = scene.join(EARLY).lead();
        let followers = [(); 2].map(|()| {
            let mut follow = scene.join(EARLY).follow();
            spawn(scene, move |scene| {
                let flag = Arc::<Flag>::default();
                if poll::<F>(&mut follow, &Arc::clone(&flag).into()).is_pending() {
                    return Err((follow, flag));
                }
                drop(follow);
                Ok(scene.join(EARLY))
            })
        });
        F::end(lead, End::Failed);
        let followers = followers.map(|follower| follower.join().unwrap());
        let turns = followers.map(|follower| {
            follower.unwrap_or_else(|(mut follow, flag)| {
                scene.check(flag.0.load(Ordering::SeqCst), "a follower sleeps forever");
                let polled = poll::<F>(&mut follow, Waker::noop());
                scene.check(polled == Poll::Ready(End::Failed), "the fetch did not end like this");
                drop(follow);
                scene.join(EARLY)
            })
        });
        let leads = turns.iter().filter(|turn| matches!(turn, Joined::Leader(_))).count();
        let follows = turns.iter().filter(|turn| matches!(turn, Joined::Follower(_))).count();
        scene.check((leads, follows) == (1, 1), "not exactly one of two has the next try");
    });
}

/// Two requests want to wait where one may, each for one of `keys`.
fn two_for_one_seat<F: Flights>(shards: usize, limits: WaiterLimits, keys: [&'static [u8]; 2]) {
    play_with::<F>(ALL, shards, limits, move |scene| {
        let leads = keys.map(|key| scene.flights.lead(key, EARLY));
        let waiting = Arc::new(AtomicUsize::new(0));
        let wait = move |scene: &Scene<F>, key| {
            let Joined::Follower(_follow) = scene.flights.join(key, EARLY, EARLY) else { return };
            scene.check(waiting.fetch_add(1, Ordering::Relaxed) == 0, "more wait than may");
            waiting.fetch_sub(1, Ordering::Relaxed);
        };
        let other = spawn(scene, {
            let wait = wait.clone();
            move |scene| wait(scene, keys[1])
        });
        wait(scene, keys[0]);
        other.join().unwrap();
        let next = scene.flights.join(KEY, EARLY, EARLY);
        scene.check(matches!(next, Joined::Follower(_)), "a follower is counted that has gone");
        drop((leads, next));
    });
}

fn two_for_one_seat_at_a_key<F: Flights>() {
    two_for_one_seat::<F>(1, WaiterLimits { per_key: 1, total: 2 }, [KEY, KEY]);
}

fn two_for_one_seat_in_all<F: Flights>() {
    two_for_one_seat::<F>(2, WaiterLimits { per_key: 2, total: 1 }, [KEY, OTHER_KEY]);
}

/// The tag of the response in question.
const POST: u64 = 1;
/// A tag that it does not have.
const OTHER: u64 = 3;

/// What a handler reads, what is stored of it, and whether an invalidation of it has returned.
struct House<F> {
    scene: Arc<Scene<F>>,
    table: TagTable,
    data: AtomicU64,
    stored: loom::sync::Mutex<Option<Stored>>,
    returned: SharedBool,
    foresight: Foresight,
}

#[derive(Clone, Copy)]
struct Stored {
    born: u64,
    data: u64,
}

/// Whether a response's tags are known before its handler has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Foresight {
    Known,
    Unknown,
}

impl<F: Flights> House<F> {
    fn new(scene: &Arc<Scene<F>>, foresight: Foresight) -> Arc<Self> {
        Arc::new(Self {
            scene: Arc::clone(scene),
            table: TagTable::new(8, 1, std::sync::Arc::new(tag_counts::TagCounts::new(1))),
            data: AtomicU64::new(0),
            stored: loom::sync::Mutex::new(None),
            returned: SharedBool::new(false),
            foresight,
        })
    }

    /// Changes the data, invalidates, and lets everyone know that it has returned.
    fn write(&self, tag: u64) {
        self.data.store(1, Ordering::Relaxed);
        self.table.invalidate(&[tag], Strength::Hard);
        if tag == POST {
            self.returned.store(true, Ordering::Release);
        }
    }

    fn lookup(&self) -> Option<u64> {
        let stored = (*self.stored.lock().unwrap())?;
        self.is_alive(stored.born).then_some(stored.data)
    }

    fn is_alive(&self, born: u64) -> bool {
        self.table.validity(born, [POST].into_iter()) == Some(Validity::Valid)
    }

    /// `FetchContext::join`.
    fn join(&self, epoch: u64) -> Joined<F> {
        let flights = &self.scene.flights;
        let turn = flights.join(KEY, epoch, epoch);
        let Joined::Outdated(began) = turn else { return turn };
        if self.foresight == Foresight::Known && self.is_alive(began) {
            let turn = flights.join(KEY, epoch, began);
            let Joined::Outdated(_) = turn else { return turn };
        }
        flights.supersede(KEY, epoch)
    }

    fn fetch(&self, lead: F::LeaderGuard, born: u64) -> u64 {
        let data = self.data.load(Ordering::Relaxed);
        let alive = self.is_alive(born);
        if alive {
            *self.stored.lock().unwrap() = Some(Stored { born, data });
        }
        F::end(lead, if alive { End::Stored } else { End::Failed });
        data
    }
}

/// `Fetch::run`, as a request that begins now.
struct ReadOutcome<F: Flights> {
    house: Arc<House<F>>,
    /// Whether the invalidation had returned when it began.
    returned: bool,
    sleep: Option<Sleep<F>>,
}

impl<F: Flights> ReadOutcome<F> {
    fn new(house: &Arc<House<F>>) -> Self {
        Self { house: Arc::clone(house), returned: house.returned.load(Ordering::Acquire), sleep: None }
    }

    fn answer(&self, data: u64) {
        let old = self.returned && data == 0;
        self.house.scene.check(!old, "served old data after the invalidation had returned");
    }
}

impl<F: Flights> Task for ReadOutcome<F> {
    fn run(mut self) -> Option<Self> {
        loop {
            if let Some(mut sleep) = self.sleep.take()
                && sleep.poll().is_pending()
            {
                return Some(Self { sleep: Some(sleep), ..self });
            }
            let epoch = self.house.table.epoch();
            if let Some(data) = self.house.lookup() {
                self.answer(data);
                return None;
            }
            match self.house.join(epoch) {
                Joined::Leader(lead) => {
                    self.answer(self.house.fetch(lead, epoch));
                    return None;
                }
                Joined::Follower(follow) => self.sleep = Some(Sleep::new(follow)),
                Joined::Outdated(_) | Joined::Full => {
                    self.house.scene.check(false, "a request neither leads nor follows");
                    return None;
                }
            }
        }
    }

    fn is_woken(&self) -> bool {
        self.sleep.as_ref().is_some_and(Sleep::is_woken)
    }
}

/// Two requests, and an invalidation at any time.
fn requests_and_invalidation<F: Flights>(foresight: Foresight, tag: u64) {
    play::<F>(SOME, move |scene| {
        let house = House::new(scene, foresight);
        let writer = thread::spawn({
            let house = Arc::clone(&house);
            move || house.write(tag)
        });
        let reader = thread::spawn({
            let house = Arc::clone(&house);
            move || ReadOutcome::new(&house).run()
        });
        let read = ReadOutcome::new(&house).run();
        writer.join().unwrap();
        scene.finish([read, reader.join().unwrap()]);
        scene.finish([ReadOutcome::new(&house).run()]);
    });
}

/// A request that begins after an invalidation, while a fetch is under way that began before it.
fn request_after_an_invalidation<F: Flights>(foresight: Foresight) {
    play::<F>(ALL, move |scene| {
        let house = House::new(scene, foresight);
        let epoch = house.table.epoch();
        let old = house.join(epoch).lead();
        let leader = thread::spawn({
            let house = Arc::clone(&house);
            move || house.fetch(old, epoch)
        });
        house.write(POST);
        let epoch = house.table.epoch();
        match house.join(epoch) {
            Joined::Leader(new) => scene.check(house.fetch(new, epoch) == 1, "a handler read old data"),
            _ => scene.check(false, "waits for what began before the invalidation"),
        }
        leader.join().unwrap();
        scene.finish([ReadOutcome::new(&house).run()]);
    });
}

type Real = collapse::Flights;

#[test]
fn one_fetches_at_a_time_and_the_other_is_told_how_it_ended() {
    two_requests::<Real>(End::Stored);
    two_requests::<Real>(End::Failed);
}

#[test]
fn a_request_that_comes_while_a_fetch_ends_leads_or_is_told() {
    request_while_a_fetch_ends::<Real>(End::Stored);
    request_while_a_fetch_ends::<Real>(End::Failed);
}

#[test]
fn a_follower_that_leaves_takes_no_other_wake_up_along() {
    departure_while_a_fetch_ends::<Real>(End::Stored);
    departure_while_a_fetch_ends::<Real>(End::Failed);
}

#[test]
fn a_wait_that_changes_tasks_is_woken_where_it_is() {
    handover_while_a_fetch_ends::<Real>();
}

#[test]
fn a_superseded_fetch_tells_its_own_and_leaves_the_newer_one_alone() {
    end_of_the_superseded::<Real>(End::Stored);
    end_of_the_superseded::<Real>(End::Failed);
}

#[test]
fn one_of_two_overtakes_a_slow_fetch() {
    two_overtaking::<Real>();
}

#[test]
fn one_of_two_supersedes_and_the_other_follows() {
    two_superseding::<Real>();
}

#[test]
fn a_refresh_does_not_run_beside_a_request() {
    refresh_and_request::<Real>();
}

#[test]
fn after_a_failure_exactly_one_has_the_next_try() {
    two_tries_after_a_failure::<Real>();
}

#[test]
fn no_more_wait_than_may_and_each_is_counted_until_it_goes() {
    two_for_one_seat_at_a_key::<Real>();
    two_for_one_seat_in_all::<slips::tables::sharded_by_first_byte::Flights>();
}

#[test]
fn no_request_is_answered_from_what_was_invalidated_before_it() {
    requests_and_invalidation::<Real>(Foresight::Unknown, POST);
    requests_and_invalidation::<Real>(Foresight::Known, POST);
}

#[test]
fn an_invalidation_of_another_tag_leaves_no_follower_behind() {
    requests_and_invalidation::<Real>(Foresight::Unknown, OTHER);
    requests_and_invalidation::<Real>(Foresight::Known, OTHER);
}

#[test]
fn a_request_after_an_invalidation_begins_a_fetch_of_its_own() {
    request_after_an_invalidation::<Real>(Foresight::Unknown);
    request_after_an_invalidation::<Real>(Foresight::Known);
}

/// The clock was lost, or everything was invalidated: what the flight brings is dead, whatever its number.
#[test]
fn a_flight_of_another_incarnation_is_superseded() {
    explore(ALL, || {
        let limits = collapse::WaiterLimits { per_key: 2, total: 2 };
        let flights = collapse::Flights::new(1, limits);
        for (earlier, later) in [(9, 3), (3, 9), (5, 5)] {
            let (earlier, later) = (Epoch::of(1, earlier), Epoch::of(2, later));
            let collapse::Joined::Leader(old) = flights.join(KEY, earlier, earlier) else { panic!("there is no leader yet") };
            let joined = flights.join(KEY, later, later);
            assert!(matches!(joined, collapse::Joined::Outdated(epoch) if epoch == earlier), "{joined:?}");
            let collapse::Joined::Leader(new) = flights.supersede(KEY, later) else { panic!("the old one still leads") };
            assert!(matches!(flights.join(KEY, later, later), collapse::Joined::Follower(_)));
            drop((old, new));
        }
    });
}

/// The copies with a slip, each with a model that must notice it, and how.
mod slips {
    use super::*;

    macro_rules! copies {
        ($($copy:ident),+) => {
            pub(super) mod tables {
                $(
                    #[allow(dead_code, unused_imports, unused_mut, reason = "a slip leaves things undone")]
                    pub(in super::super) mod $copy {
                        include!(concat!(env!("OUT_DIR"), "/", stringify!($copy), ".rs"));
                    }
                )+
            }

            use tables::{$($copy),+};

            flights!($($copy),+);
        };
    }

    macro_rules! slips {
        ($($slip:ident: $model:ident($($argument:expr),*), $noticed:literal;)+) => {
            copies!(sharded_by_first_byte, $($slip),+);

            $(
                #[test]
                #[should_panic(expected = $noticed)]
                fn $slip() {
                    $model::<$slip::Flights>($($argument),*);
                }
            )+
        };
    }

    slips! {
        checked_and_started_apart: two_requests(End::Stored), "two fetch at a time";
        started_beside_another: refresh_and_request(), "two fetch at a time";
        superseded_by_each: two_superseding(), "two fetch at a time";
        overtaken_by_each: two_overtaking(), "two overtake the same fetch";
        joined_at_any_epoch: request_after_an_invalidation(Foresight::Unknown), "waits for what began before";
        woken_before_the_outcome: request_while_a_fetch_ends(End::Stored), "a follower sleeps forever";
        outcome_after_the_wakers_were_taken: request_while_a_fetch_ends(End::Stored), "a follower sleeps forever";
        finished_without_leaving_the_map: request_while_a_fetch_ends(End::Stored), "a flight is left over";
        removed_whatever_flight_is_there: end_of_the_superseded(End::Stored), "two fetch at a time";
        registered_without_checking_again: request_while_a_fetch_ends(End::Stored), "a follower sleeps forever";
        registered_once_only: handover_while_a_fetch_ends(), "a follower sleeps forever";
        cancelled_with_the_wakers_of_others: departure_while_a_fetch_ends(End::Stored), "a follower sleeps forever";
        counted_forever: two_for_one_seat_at_a_key(), "a follower is counted that has gone";
        counted_in_total_forever: request_while_a_fetch_ends(End::Stored), "a follower is counted that has gone";
        counted_though_refused: two_for_one_seat_at_a_key(), "a follower is counted that has gone";
        counted_too_late: two_for_one_seat_in_all(), "more wait than may";
        one_too_many_for_a_key: two_for_one_seat_at_a_key(), "more wait than may";
        one_too_many_in_total: two_for_one_seat_in_all(), "more wait than may";
    }
}
