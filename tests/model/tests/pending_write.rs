//! Every order of the steps of writers that hold their tags, of fetches that read a replica that lags, and of a reader, in a store whose records
//! change one by one; a writer's process may end at any step, and the store may evict records. After a writer is done, no read finds what
//! was made of the old row; while it is pending, and after it has died, no read finds as valid what was fetched before its marks have ended.
//!
//! On a node with a store in memory the same steps are taken in fewer orders. The real files run; `build.rs` writes copies with one slip
//! each, and the last tests show that these scenes notice every one of them, and a writer without the guard.
//!
//! `LARDER_SOAK=1 cargo test -p larder-model --release --test pending_write` searches larger scenes.

#![allow(clippy::unwrap_used, reason = "an actor that panics has failed its model")]

mod steps;

/// What the files under the model use of larder, under the names by which they do.
mod clock {
    pub(crate) use larder::backend::Timestamp;
}
mod error {
    pub(crate) use larder::Error;
}
mod entry {
    pub(crate) mod epoch {
        pub(crate) use larder::backend::Epoch;
    }
}
mod backend {
    pub(crate) mod contract {
        pub(crate) use larder::backend::{Invalidation, PutOutcome};
    }
    pub(crate) mod remote {
        pub(crate) use crate::registers;
    }
    pub(crate) use crate::{expiries, tag_record, validity, write_marks};
}
mod tag {
    pub(crate) use larder::backend::Tag;

    /// The place of the marks is the one after that of the record.
    pub(crate) fn writes_of(tag: &Tag) -> Tag {
        let place: usize = tag.as_str().parse().unwrap();
        Tag::new((place + 1).to_string()).unwrap()
    }
}

#[path = "../../../src/backend/expiries.rs"]
mod expiries;

#[path = "../../../src/backend/tag_record.rs"]
#[allow(dead_code, unreachable_pub, reason = "the model need not call everything")]
mod tag_record;

#[path = "../../../src/backend/validity.rs"]
#[allow(dead_code, unreachable_pub, reason = "the model need not call everything")]
mod validity;

#[path = "../../../src/backend/write_marks.rs"]
#[allow(dead_code, unreachable_pub, reason = "the model need not call everything")]
mod write_marks;

#[path = "../../../src/backend/remote/registers.rs"]
#[allow(dead_code, reason = "the model need not call everything")]
mod registers;

#[path = "../../../src/backend/remote/write_marks.rs"]
mod marking;

use std::future::Future;

use async_trait::async_trait;
use bytes::Bytes;
use larder::{
    Error,
    backend::{Epoch, Invalidation, PutOutcome, Tag, Timestamp},
};

use registers::{ClockAndRecords, CompareAndSwap, Record, Registers, Versioned};
use steps::{Actor, World, search};
use validity::Validity;

/// How long a mark lasts, and a hold, in steps of time.
const LEASE: u8 = 1;
const HOLD: u8 = 1;

/// The store, the database, and what was promised.
#[derive(Debug, Clone, Hash)]
struct Store {
    clock: u64,
    /// The record of the tag, and its marks.
    cells: [Option<Bytes>; 2],
    entry: Option<Entry>,
    time: u8,
    last_time: u8,
    /// How often the row was changed, on the primary and on the replica.
    primary: u8,
    replica: u8,
    writers: Vec<Writer>,
    crashes: u8,
    evictions: u8,
    /// Whether marks may be evicted: then what is stored during a hold is removed at its end, and nothing is promised about the time before.
    forgets: bool,
    /// What held when the reader began.
    began: Option<Promise>,
    is_over: bool,
}

#[derive(Debug, Clone, Copy, Default, Hash)]
struct Writer {
    is_dead: bool,
    /// Which change of the row was its.
    change: u8,
    /// Until when its tags are held, since `begin_write` has returned.
    held_until: u8,
    /// Until when the replica may lack its change: as long as it holds its tags after the invalidation.
    lag_until: Option<u8>,
    /// `done` has returned.
    is_done: bool,
}

/// The row of which an entry was made, and when its handler started.
#[derive(Debug, Clone, Copy, Hash, PartialEq, Eq)]
struct Entry {
    born: Epoch,
    data: u8,
    started: u8,
}

#[derive(Debug, Clone, Copy, Hash, Default, PartialEq, Eq)]
struct Promise {
    /// The latest change whose writer was done.
    done: u8,
    /// No handler that started before then has made what is found valid.
    held_until: u8,
}

#[derive(Debug, Clone, Copy)]
enum Accident {
    /// The clocks go on.
    Tick,
    Replicate,
    Crash(u8),
    /// Of the marks, or of the record.
    Evict(u8),
}

#[derive(Debug, Clone)]
enum Op {
    Clock,
    Advance,
    Record(usize),
    Write {
        tag: usize,
        seen: Option<Bytes>,
        bytes: Bytes,
    },
    Time,
    /// A handler starts, and reads the row.
    Load,
    Store(Entry),
    Entry,
    /// A reader reads something; the first is where its request begins.
    Begin(Box<Op>),
    /// A step of a writer, which takes none after its process has ended.
    By(usize, Box<Op>),
    /// `begin_write` has returned, with tags that are held until then.
    Begun(u8),
    /// With a hold, the replica shows it later.
    Commit {
        lags: bool,
    },
    /// The tags will be held until then, after the invalidation.
    Holds(u8),
    /// `done` has returned, with tags that are held until then.
    Done(u8),
    /// The hold has ended.
    HoldEnd,
    /// The tags are about to be released, after the last invalidation.
    Releases,
}

#[derive(Debug, Clone, Hash)]
enum Reply {
    Epoch(Epoch),
    Record(Option<Bytes>),
    Entry(Option<Entry>, Promise),
    Data(u8, u8),
    Time(u8),
    Done,
}

/// What a fetch knows between two stages.
#[derive(Debug, Clone, Copy, Default, Hash, PartialEq, Eq)]
enum Memory {
    #[default]
    Nothing,
    Made(Entry),
    Admitted(Entry),
}

type Port = steps::Port<Store>;
type End = steps::End<Memory>;

impl World for Store {
    type Op = Op;
    type Reply = Reply;
    type Accident = Accident;
    type Memory = Memory;

    #[allow(clippy::only_used_in_recursion, reason = "other worlds tell actors apart")]
    fn perform(&mut self, actor: usize, op: &Op) -> Reply {
        match op {
            Op::Clock => Reply::Epoch(self.epoch()),
            Op::Advance => {
                self.clock += 1;
                Reply::Epoch(self.epoch())
            }
            Op::Record(place) => Reply::Record(self.cells[*place].clone()),
            Op::Write { tag, seen, bytes } => {
                let is_expected = self.cells[*tag] == *seen;
                if is_expected {
                    self.cells[*tag] = Some(bytes.clone());
                }
                Reply::Record(is_expected.then(|| bytes.clone()))
            }
            Op::Time => Reply::Time(self.time),
            Op::Load => Reply::Data(self.replica, self.time),
            Op::Store(entry) => {
                self.entry = Some(*entry);
                Reply::Done
            }
            Op::Entry => self.read_entry(),
            Op::Begin(op) => {
                let promise = self.promise();
                self.began.get_or_insert(promise);
                self.perform(actor, op)
            }
            Op::By(writer, op) => self.write(*writer, op),
            Op::Begun(_) | Op::Commit { .. } | Op::Holds(_) | Op::Done(_) | Op::HoldEnd | Op::Releases => {
                unreachable!("a step of a writer")
            }
        }
    }

    /// The row is read as early as it can be, and a promise is made as early as it can be.
    fn is_at_once(op: &Op) -> bool {
        match op {
            Op::By(_, op) => matches!(&**op, Op::Begun(_) | Op::Holds(_) | Op::Done(_) | Op::Releases | Op::Time),
            Op::Load | Op::Time => true,
            _ => false,
        }
    }

    fn lets(&self, op: &Op) -> bool {
        match op {
            Op::By(writer, op) => {
                let writer = self.writers[*writer];
                !writer.is_dead && (!matches!(**op, Op::HoldEnd) || writer.held_until <= self.time)
            }
            // Before, nothing was promised.
            Op::Begin(_) => self.promise() != Promise::default(),
            _ => true,
        }
    }

    fn is_over(&self) -> bool {
        self.is_over
    }

    fn accidents(&self) -> Vec<Accident> {
        let mut accidents = Vec::new();
        // A replica has caught up at the end of a hold.
        let waits =
            |writer: &Writer| writer.lag_until.is_some_and(|until| until <= self.time + 1 && self.replica < writer.change);
        if self.time < self.last_time && !self.writers.iter().any(waits) {
            accidents.push(Accident::Tick);
        }
        if self.replica < self.primary {
            accidents.push(Accident::Replicate);
        }
        for (writer, at) in self.writers.iter().zip(0..) {
            if self.crashes > 0 && !writer.is_dead {
                accidents.push(Accident::Crash(at));
            }
        }
        for (cell, at) in self.cells.iter().zip(0..) {
            if self.evictions > 0 && cell.is_some() {
                accidents.push(Accident::Evict(at));
            }
        }
        accidents
    }

    fn happen(&mut self, accident: Accident) {
        match accident {
            Accident::Tick => self.time += 1,
            Accident::Replicate => self.replica = self.primary,
            Accident::Crash(writer) => {
                self.crashes -= 1;
                self.writers[usize::from(writer)].is_dead = true;
            }
            Accident::Evict(place) => {
                self.evictions -= 1;
                self.cells[usize::from(place)] = None;
            }
        }
    }
}

impl Store {
    fn epoch(&self) -> Epoch {
        Epoch::of(1, self.clock)
    }

    fn promise(&self) -> Promise {
        let is_done = |writer: &&Writer| writer.is_done && (!self.forgets || writer.held_until == 0);
        let held_until = if self.forgets { None } else { self.writers.iter().map(|writer| writer.held_until).max() };
        Promise {
            done: self.writers.iter().filter(is_done).map(|writer| writer.change).max().unwrap_or(0),
            held_until: held_until.unwrap_or(0),
        }
    }

    /// What has come too late to be wrong is not looked at further.
    fn read_entry(&mut self) -> Reply {
        let mut began = self.began.unwrap_or_default();
        // What was stored since the tags were released may have been fetched meanwhile, from the new row.
        began.held_until = began.held_until.min(self.promise().held_until);
        self.is_over |= self.entry.is_none_or(|entry| began.done <= entry.data && began.held_until <= entry.started);
        Reply::Entry(self.entry, began)
    }

    fn write(&mut self, writer: usize, op: &Op) -> Reply {
        match op {
            Op::Begun(until) => self.writers[writer].held_until = *until,
            Op::Commit { lags } => {
                self.primary += 1;
                self.writers[writer].change = self.primary;
                if !lags {
                    self.replica = self.primary;
                }
            }
            Op::Holds(until) => self.writers[writer].lag_until = Some(*until),
            Op::Done(until) => {
                self.writers[writer].held_until = *until;
                self.writers[writer].is_done = true;
            }
            Op::HoldEnd => {}
            Op::Releases => self.writers[writer].held_until = 0,
            op => return self.perform(writer, op),
        }
        Reply::Done
    }
}

/// Who takes the steps of a call: a writer, whose process may end, or another.
#[derive(Debug)]
struct Caller {
    port: Port,
    writer: Option<usize>,
}

impl Caller {
    fn by(&self, op: Op) -> Op {
        match self.writer {
            Some(writer) => Op::By(writer, Box::new(op)),
            None => op,
        }
    }

    async fn ask(&self, op: Op) -> Reply {
        self.port.ask(self.by(op)).await
    }

    async fn call(&self, ops: Vec<Op>) -> Vec<Reply> {
        self.port.call(ops.into_iter().map(|op| self.by(op)).collect()).await
    }

    async fn time(&self) -> u8 {
        let Reply::Time(time) = self.ask(Op::Time).await else { unreachable!() };
        time
    }
}

#[async_trait]
impl Registers for Caller {
    async fn clock(&self) -> Result<Epoch, Error> {
        Ok(self.ask(Op::Clock).await.epoch())
    }

    async fn advance(&self) -> Result<Epoch, Error> {
        Ok(self.ask(Op::Advance).await.epoch())
    }

    async fn renew(&self) -> Result<Epoch, Error> {
        unreachable!("nobody clears")
    }

    async fn read(&self, tags: &[Tag]) -> Result<Vec<Option<Versioned>>, Error> {
        let replies = self.call(tags.iter().map(|tag| Op::Record(place(tag))).collect()).await;
        Ok(replies.into_iter().map(Reply::record).collect())
    }

    async fn read_with_clock(&self, tags: &[Tag]) -> Result<ClockAndRecords, Error> {
        let ops = [Op::Clock].into_iter().chain(tags.iter().map(|tag| Op::Record(place(tag))));
        let mut replies = self.call(ops.collect()).await.into_iter();
        let clock = replies.next().unwrap().epoch();
        Ok(ClockAndRecords { clock, records: replies.map(Reply::record).collect() })
    }

    async fn write(&self, changes: &[CompareAndSwap<'_>]) -> Result<Vec<Option<Versioned>>, Error> {
        let ops = changes.iter().map(|change| Op::Write {
            tag: place(change.tag),
            seen: change.seen.as_ref().map(|seen| seen.bytes().clone()),
            bytes: change.record.to_bytes(),
        });
        Ok(self.call(ops.collect()).await.into_iter().map(Reply::record).collect())
    }

    async fn publish(&self, _: Epoch, _: &Invalidation) -> Result<(), Error> {
        self.advance().await.map(drop)
    }

    fn nonce(&self) -> u64 {
        self.port.nonce()
    }
}

impl Reply {
    fn epoch(self) -> Epoch {
        let Self::Epoch(epoch) = self else { unreachable!("{self:?}") };
        epoch
    }

    fn record(self) -> Option<Versioned> {
        let Self::Record(bytes) = self else { unreachable!("{self:?}") };
        bytes.map(|bytes| Versioned::new(bytes, 0))
    }
}

fn place(tag: &Tag) -> usize {
    tag.as_str().parse().unwrap()
}

fn tags() -> Vec<Tag> {
    vec![Tag::new("0").unwrap()]
}

fn at(time: u8) -> Timestamp {
    Timestamp::from_millis(time.into())
}

/// The file, or a copy of it with a slip.
trait Algorithm: 'static {
    fn hold(caller: &Caller, writer: u64, until: Timestamp) -> impl Future<Output = Result<(), Error>>;
    fn release(caller: &Caller, writer: u64) -> impl Future<Output = Result<(), Error>>;
    fn admit(caller: &Caller, born: Epoch, now: Timestamp) -> impl Future<Output = Result<Validity, PutOutcome>>;
}

macro_rules! algorithms {
    ($($name:ty: $module:ident),+ $(,)?) => {
        $(
            impl Algorithm for $name {
                async fn hold(caller: &Caller, writer: u64, until: Timestamp) -> Result<(), Error> {
                    $module::hold(caller, &tags(), writer, until).await
                }

                async fn release(caller: &Caller, writer: u64) -> Result<(), Error> {
                    $module::release(caller, &tags(), writer).await
                }

                async fn admit(caller: &Caller, born: Epoch, now: Timestamp) -> Result<Validity, PutOutcome> {
                    $module::check_for_put(caller, born, &tags(), now).await.unwrap()
                }
            }
        )+
    };
}

struct Real;

algorithms!(Real: marking);

/// What a writer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As the guard does, with a hold or without.
    Guard { hold: bool },
    /// Commits, and then invalidates.
    WithoutGuard,
    /// Expires before it marks.
    MarksLast,
    /// Releases before it invalidates.
    ReleasesFirst,
    /// Does not invalidate at the end of the hold.
    EndsQuietly,
}

async fn write<A: Algorithm>(port: Port, writer: usize, way: Way) -> End {
    let caller = Caller { port, writer: Some(writer) };
    let number = writer as u64 + 1;
    let invalidate = async |invalidation: Invalidation| _ = registers::invalidate(&caller, &invalidation).await.unwrap();
    let kill = || Invalidation::Tags(tags());
    let expire = || Invalidation::ExpireTags { tags: tags(), at: at(0) };
    let has_hold = matches!(way, Way::Guard { hold: true } | Way::EndsQuietly);
    if way == Way::WithoutGuard {
        caller.ask(Op::Commit { lags: true }).await;
        invalidate(kill()).await;
        caller.ask(Op::Done(0)).await;
        return End::Done;
    }
    if way == Way::MarksLast {
        invalidate(expire()).await;
    }
    let until = caller.time().await + LEASE;
    A::hold(&caller, number, at(until)).await.unwrap();
    if way != Way::MarksLast {
        invalidate(expire()).await;
    }
    caller.ask(Op::Begun(until)).await;
    caller.ask(Op::Commit { lags: has_hold }).await;
    if way == Way::ReleasesFirst {
        A::release(&caller, number).await.unwrap();
    }
    invalidate(kill()).await;
    if has_hold {
        let until = caller.time().await + HOLD;
        caller.ask(Op::Holds(until)).await;
        A::hold(&caller, number, at(until)).await.unwrap();
        caller.ask(Op::Done(until)).await;
        caller.ask(Op::HoldEnd).await;
        if way != Way::EndsQuietly {
            invalidate(kill()).await;
        }
        caller.ask(Op::Releases).await;
        A::release(&caller, number).await.unwrap();
    } else {
        caller.ask(Op::Releases).await;
        A::release(&caller, number).await.unwrap();
        caller.ask(Op::Done(0)).await;
    }
    End::Done
}

async fn fetch<A: Algorithm>(port: Port, memory: Memory) -> End {
    let caller = Caller { port, writer: None };
    match memory {
        Memory::Nothing => {
            let reading = caller.read_with_clock(&tags()).await.unwrap();
            let born = registers::ensure_records(&caller, &tags(), reading).await.unwrap().clock;
            let Reply::Data(data, started) = caller.ask(Op::Load).await else { unreachable!() };
            End::Next(Memory::Made(Entry { born, data, started }))
        }
        Memory::Made(entry) => {
            let now = at(caller.time().await);
            match A::admit(&caller, entry.born, now).await {
                Ok(_) => End::Next(Memory::Admitted(entry)),
                Err(_) => End::Done,
            }
        }
        Memory::Admitted(entry) => {
            caller.ask(Op::Store(entry)).await;
            End::Done
        }
    }
}

/// Reads the entry and the record in any order. The clock has one incarnation only.
async fn read(port: Port) -> End {
    let ops = [Op::Entry, Op::Record(0)].map(|op| Op::Begin(Box::new(op)));
    let mut replies = port.call(ops.into()).await.into_iter();
    let Some(Reply::Entry(entry, promise)) = replies.next() else { unreachable!() };
    let Some(entry) = entry else { return End::Unnoticed };
    let records = replies.map(Reply::record).collect();
    let validity = ClockAndRecords { clock: entry.born, records }.validity(entry.born);
    let is_held = validity == Some(Validity::Valid) && entry.started < promise.held_until;
    match validity {
        Some(_) if entry.data < promise.done => End::Broken(format!("served {entry:?} as {validity:?} after {promise:?}")),
        Some(_) if is_held => End::Broken(format!("served {entry:?} though {promise:?}")),
        _ => End::Unnoticed,
    }
}

#[derive(Debug, Clone, Copy)]
struct Scene {
    fetches: usize,
    writers: &'static [Way],
    /// How often the clocks go on.
    time: u8,
    crashes: u8,
    evictions: u8,
}

const HOLDS: Way = Way::Guard { hold: true };
const WRITES: Way = Way::Guard { hold: false };

/// A fetch and a writer, whose hold can end.
const PLAIN: Scene = Scene { fetches: 1, writers: &[HOLDS], time: 1, crashes: 0, evictions: 0 };

impl Scene {
    fn search<A: Algorithm>(self) -> Result<usize, String> {
        let mut actors = Vec::new();
        for (writer, &way) in self.writers.iter().enumerate() {
            actors.push(Actor::new(format!("{way:?} {writer}"), move |port, _| write::<A>(port, writer, way)));
        }
        for _ in 0..self.fetches {
            actors.push(Actor::new("Fetch".to_owned(), fetch::<A>));
        }
        actors.push(Actor::new("Read".to_owned(), |port, _| read(port)));
        let world = Store {
            clock: 10,
            cells: [Some(Record::settled(Epoch::of(1, 0)).to_bytes()), None],
            entry: None,
            time: 0,
            last_time: self.time,
            primary: 0,
            replica: 0,
            writers: vec![Writer::default(); self.writers.len()],
            crashes: self.crashes,
            evictions: self.evictions,
            forgets: self.evictions > 0,
            began: None,
            is_over: false,
        };
        search(&world, &actors)
    }

    fn holds(self) {
        match self.search::<Real>() {
            Ok(states) => println!("{states} states in {self:?}"),
            Err(trace) => panic!("{self:?}: {trace}"),
        }
    }

    fn shows<A: Algorithm>(self) {
        let trace = self.search::<A>().expect_err("a slip that makes no difference");
        println!("{trace}");
        assert!(trace.starts_with("served"), "{trace}");
    }

    const fn by(self, writers: &'static [Way]) -> Self {
        Self { writers, ..self }
    }
}

fn soak() -> bool {
    std::env::var_os("LARDER_SOAK").is_some()
}

#[test]
fn nothing_old_is_served_after_a_write() {
    PLAIN.by(&[WRITES]).holds();
    if soak() {
        PLAIN.holds();
        Scene { time: 2, ..PLAIN }.holds();
        Scene { fetches: 2, ..PLAIN }.holds();
    }
}

#[test]
fn nothing_old_is_served_after_a_writer_has_died_at_any_step() {
    Scene { crashes: 1, ..PLAIN.by(&[WRITES]) }.holds();
    if soak() {
        Scene { crashes: 1, ..PLAIN }.holds();
        Scene { crashes: 1, time: 2, ..PLAIN }.holds();
        Scene { crashes: 1, fetches: 2, ..PLAIN }.holds();
    }
}

#[test]
#[ignore = "takes minutes"]
fn nothing_old_is_served_after_one_of_two_writes() {
    Scene { time: 0, ..PLAIN.by(&[WRITES, WRITES]) }.holds();
    if soak() {
        Scene { crashes: 1, ..PLAIN.by(&[HOLDS, WRITES]) }.holds();
    }
}

#[test]
#[ignore = "takes minutes"]
fn evicted_marks_cost_the_promise_for_the_hold_alone() {
    Scene { evictions: 1, ..PLAIN }.holds();
}

#[test]
fn a_writer_without_the_guard_is_noticed() {
    PLAIN.by(&[Way::WithoutGuard]).shows::<Real>();
}

#[test]
fn a_writer_without_a_hold_for_its_replica_is_noticed() {
    // As if it had promised a hold.
    PLAIN.by(&[Way::EndsQuietly]).shows::<Real>();
}

#[test]
fn a_guard_in_another_order_is_noticed() {
    PLAIN.by(&[Way::MarksLast]).shows::<Real>();
    Scene { time: 0, ..PLAIN.by(&[Way::ReleasesFirst]) }.shows::<Real>();
}

/// The copies with a slip, each with a scene that must show it.
mod slips {
    use super::*;

    const TWO_FETCHES: Scene = Scene { fetches: 2, crashes: 1, ..PLAIN.by(&[WRITES]) };
    const TWO_WRITERS: Scene = Scene { time: 0, ..PLAIN.by(&[HOLDS, WRITES]) };

    macro_rules! slips {
        ($($(#[$attribute:meta])? $slip:ident: $scene:expr;)+) => {
            mod copies {
                $(
                    #[allow(dead_code, reason = "the model need not call everything")]
                    pub(super) mod $slip {
                        include!(concat!(env!("OUT_DIR"), "/", stringify!($slip), ".rs"));

                        pub(crate) struct Copy;
                    }
                )+
            }

            use copies::{$($slip),+};

            algorithms!($($slip::Copy: $slip),+);

            $(
                #[test]
                $(#[$attribute])?
                fn $slip() {
                    $scene.shows::<$slip::Copy>();
                }
            )+
        };
    }

    slips! {
        stored_while_held: PLAIN;
        records_read_before_the_marks: PLAIN;
        #[ignore = "takes a minute"]
        lapsed_and_forgotten: TWO_FETCHES;
        #[ignore = "takes a minute"]
        forgotten_before_the_invalidation: TWO_FETCHES;
        #[ignore = "takes minutes"]
        released_for_all: TWO_WRITERS;
        #[ignore = "takes minutes"]
        marked_whatever_is_there: TWO_WRITERS;
    }
}
