//! Every order of the steps of those who fetch, invalidate and read, in a store whose records change one by one and may be lost
//! at any moment: no read is answered with data that was changed before an invalidation that had returned when the read began.
//!
//! It is the real file that runs, on a store in memory of which each call, and each part of a call, is one step; `build.rs` writes
//! copies with one slip each, and the last tests show that these scenes notice every one of them.
//!
//! `LARDER_SOAK=1 cargo test -p larder-model --release --test stepwise` searches larger scenes.

#![allow(clippy::unnecessary_min_or_max, clippy::semicolon_if_nothing_returned, reason = "the slips are edits of text")]
#![allow(clippy::unwrap_used, reason = "an actor that panics has failed its model")]

#[macro_use]
mod steps;

files_of_records!();

mod tag {
    pub(crate) use larder::backend::Tag;
}

use std::{future::Future, panic::Location, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use larder::{
    Error,
    backend::{Epoch, Invalidation, Tag, Timestamp},
};

use steps::{Actor, World, search};
use validity::Validity;

/// The store, the data that handlers read, and who was promised what.
#[derive(Debug, Clone, Hash)]
struct Store {
    clock: Option<Epoch>,
    incarnations: u64,
    cells: Vec<Option<Cell>>,
    entry: Option<Entry>,
    /// How often the data was changed.
    data: u8,
    /// Which change was whose.
    changes: Vec<u8>,
    /// How many of those who fetched found their entry dead.
    given_up: usize,
    returned: Returned,
    /// What had returned when the reader began.
    began: Option<Returned>,
    is_over: bool,
    left: Accidents,
    writings: u64,
    comparison: Comparison,
}

/// The value at the place of a tag: the bytes, and the number of the write if the store counts writes.
#[derive(Debug, Clone, Hash, PartialEq, Eq)]
struct Cell(Bytes, u64);

#[derive(Debug, Clone, Copy, Hash, PartialEq, Eq)]
struct Entry {
    born: Epoch,
    data: u8,
}

/// Of which changes of the data the invalidation had returned, of those that kill and of those that expire.
#[derive(Debug, Clone, Copy, Default, Hash, PartialEq, Eq)]
struct Returned {
    hard: u8,
    soft: u8,
    /// The same of each writer that expires.
    expired: [u8; 2],
}

/// How many accidents may still happen.
#[derive(Debug, Clone, Copy, Default, Hash)]
struct Accidents {
    /// Of any record.
    evictions: u8,
    /// Of a pending record.
    expiries: u8,
    /// Of the clock.
    losses: u8,
}

#[derive(Debug, Clone, Copy)]
enum Accident {
    Eviction(u8),
    Expiry(u8),
    Loss,
}

/// How a store knows that a record is still the one that was seen.
#[derive(Debug, Clone, Copy, Default, Hash, PartialEq, Eq)]
enum Comparison {
    #[default]
    ByValue,
    ByVersion,
    /// Not at all, which is wrong.
    Blind,
}

#[derive(Debug, Clone)]
enum Op {
    Clock,
    Advance,
    Renew,
    Record(usize),
    Write {
        tag: usize,
        seen: Option<Cell>,
        bytes: Bytes,
    },
    Store(Entry),
    /// What was fetched is dead before it is stored.
    GiveUp,
    /// A writer changes the data, then takes this step.
    Change(Box<Op>),
    /// A writer's invalidation has returned.
    Return(What),
    /// A handler reads the data.
    Load,
    /// A reader reads the entry.
    Entry,
    /// A request begins at a near tier, which reads the clock alone.
    CacheableRequest,
    /// A reader reads something; the first is where its request begins.
    Begin(Box<Op>),
}

#[derive(Debug, Clone, Hash)]
enum Reply {
    Epoch(Epoch),
    Record(Option<Cell>),
    Entry(Option<Entry>, Returned),
    Data(u8),
    GivenUp(usize),
    CacheableRequest(Epoch, Returned),
    Done,
}

/// What those who take steps know between two stages.
#[derive(Debug, Clone, Copy, Default, Hash, PartialEq, Eq)]
enum Memory {
    #[default]
    Nothing,
    /// What the handler made.
    Made(Entry),
    Admitted(Entry),
    /// A near tier's copy, and when it was last found alive.
    Copied(Entry, Epoch),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Invalidate,
    Expire,
    Clear,
}

type Port = steps::Port<Store>;
type End = steps::End<Memory>;

impl World for Store {
    type Op = Op;
    type Reply = Reply;
    type Accident = Accident;
    type Memory = Memory;

    fn perform(&mut self, actor: usize, op: &Op) -> Reply {
        match op {
            Op::Clock => Reply::Epoch(self.clock()),
            Op::Advance => Reply::Epoch(self.advance()),
            Op::Renew => {
                self.clock = None;
                Reply::Epoch(self.clock())
            }
            Op::Record(tag) => Reply::Record(self.cells[*tag].clone()),
            Op::Write { tag, seen, bytes } => Reply::Record(self.write(*tag, seen.as_ref(), bytes)),
            Op::Store(entry) => {
                self.entry = Some(*entry);
                Reply::Done
            }
            Op::GiveUp => {
                self.given_up += 1;
                Reply::GivenUp(self.given_up)
            }
            Op::Change(op) => {
                if self.changes[actor] == 0 {
                    self.data += 1;
                    self.changes[actor] = self.data;
                }
                self.perform(actor, op)
            }
            Op::Return(what) => {
                let change = self.changes[actor];
                let Returned { hard, soft, expired } = &mut self.returned;
                let returned = if *what == What::Expire { soft } else { hard };
                *returned = (*returned).max(change);
                if *what == What::Expire {
                    expired[actor] = change;
                }
                Reply::Done
            }
            Op::Load => Reply::Data(self.data),
            Op::Entry => self.read_entry(),
            Op::CacheableRequest => Reply::CacheableRequest(self.clock(), self.returned),
            Op::Begin(op) => {
                self.began.get_or_insert(self.returned);
                self.perform(actor, op)
            }
        }
    }

    /// A handler reads as early as it can, what it makes is as old as can be; an invalidation has returned as early as it can.
    fn is_at_once(&self, op: &Op) -> bool {
        matches!(op, Op::Load | Op::Return(_) | Op::GiveUp)
    }

    /// Before anything has returned, nothing was promised.
    fn lets(&self, op: &Op) -> bool {
        self.returned != Returned::default() || !matches!(op, Op::Begin(_) | Op::CacheableRequest)
    }

    fn is_over(&self) -> bool {
        self.is_over
    }

    fn accidents(&self) -> Vec<Accident> {
        let mut accidents = Vec::new();
        for (tag, cell) in (0..).zip(&self.cells) {
            let Some(Cell(bytes, _)) = cell else { continue };
            if self.left.evictions > 0 {
                accidents.push(Accident::Eviction(tag));
            }
            let is_pending = matches!(registers::Record::parse(bytes), Some(registers::Record::Pending { .. }));
            if self.left.expiries > 0 && is_pending {
                accidents.push(Accident::Expiry(tag));
            }
        }
        if self.left.losses > 0 && self.clock.is_some() {
            accidents.push(Accident::Loss);
        }
        accidents
    }

    fn happen(&mut self, accident: Accident) {
        match accident {
            Accident::Eviction(tag) => {
                self.left.evictions -= 1;
                self.cells[usize::from(tag)] = None;
            }
            Accident::Expiry(tag) => {
                self.left.expiries -= 1;
                self.cells[usize::from(tag)] = None;
            }
            Accident::Loss => {
                self.left.losses -= 1;
                self.clock = None;
            }
        }
    }
}

impl Store {
    fn clock(&mut self) -> Epoch {
        *self.clock.get_or_insert_with(|| {
            self.incarnations += 1;
            Epoch::of(self.incarnations, 1)
        })
    }

    fn advance(&mut self) -> Epoch {
        let clock = self.clock();
        let next = Epoch::of(clock.incarnation(), clock.get() + 1);
        self.clock = Some(next);
        next
    }

    /// What has come too late to be wrong is not looked at further.
    fn read_entry(&mut self) -> Reply {
        let began = self.began.unwrap_or(Returned { hard: u8::try_from(self.changes.len()).unwrap(), ..Returned::default() });
        self.is_over |= self.entry.is_none_or(|entry| entry.data >= began.hard.max(began.soft));
        Reply::Entry(self.entry, began)
    }

    fn write(&mut self, tag: usize, seen: Option<&Cell>, bytes: &Bytes) -> Option<Cell> {
        let present = self.cells[tag].as_ref();
        if self.comparison != Comparison::Blind && present != seen {
            return None;
        }
        self.writings += u64::from(self.comparison == Comparison::ByVersion);
        let cell = Cell(bytes.clone(), self.writings);
        self.cells[tag] = Some(cell.clone());
        Some(cell)
    }
}

/// The file, or a copy of it with a slip.
trait Algorithm: 'static {
    /// Reads, as a request that found no entry; returns what it is born at.
    fn miss(port: &Port, known: &[Tag]) -> impl Future<Output = Epoch>;
    fn admit(port: &Port, born: Epoch, tags: &[Tag]) -> impl Future<Output = Option<Validity>>;
    fn invalidate(port: &Port, invalidation: &Invalidation) -> impl Future<Output = Result<Epoch, Error>>;
    fn judge(born: Epoch, clock: Epoch, records: &[Option<Cell>]) -> Option<Validity>;
    fn settled(at: Epoch) -> Bytes;
}

macro_rules! algorithms {
    ($($name:ty: $module:ident),+ $(,)?) => {
        $(
            impl Algorithm for $name {
                async fn miss(port: &Port, known: &[Tag]) -> Epoch {
                    let reading = $module::Registers::read_with_clock(port, known).await.unwrap();
                    $module::ensure_records(port, known, reading).await.unwrap().clock
                }

                async fn admit(port: &Port, born: Epoch, tags: &[Tag]) -> Option<Validity> {
                    let reading = $module::Registers::read_with_clock(port, tags).await.unwrap();
                    $module::check_for_put(port, born, tags, reading).await.unwrap()
                }

                async fn invalidate(port: &Port, invalidation: &Invalidation) -> Result<Epoch, Error> {
                    $module::invalidate(port, invalidation).await
                }

                fn judge(born: Epoch, clock: Epoch, records: &[Option<Cell>]) -> Option<Validity> {
                    let records = records.iter().map(|cell| cell.clone().map(|Cell(bytes, version)| $module::Versioned::new(bytes, version)));
                    $module::ClockAndRecords { clock, records: records.collect() }.validity(born)
                }

                fn settled(at: Epoch) -> Bytes {
                    $module::Record::settled(at).to_bytes()
                }
            }

            #[async_trait]
            impl $module::Registers for Port {
                async fn clock(&self) -> Result<Epoch, Error> {
                    Ok(self.ask(Op::Clock).await.epoch())
                }

                async fn advance(&self) -> Result<Epoch, Error> {
                    Ok(self.ask(Op::Change(Box::new(Op::Advance))).await.epoch())
                }

                async fn renew(&self) -> Result<Epoch, Error> {
                    Ok(self.ask(Op::Change(Box::new(Op::Renew))).await.epoch())
                }

                async fn read(&self, tags: &[Tag]) -> Result<Vec<Option<$module::Versioned>>, Error> {
                    let replies = self.call(records(tags)).await;
                    Ok(replies.into_iter().map(|reply| reply.seen($module::Versioned::new)).collect())
                }

                async fn read_with_clock(&self, tags: &[Tag]) -> Result<$module::ClockAndRecords, Error> {
                    let mut replies = self.call([vec![Op::Clock], records(tags)].concat()).await;
                    let clock = replies.remove(0).epoch();
                    let records = replies.into_iter().map(|reply| reply.seen($module::Versioned::new)).collect();
                    Ok($module::ClockAndRecords { clock, records })
                }

                async fn write(&self, changes: &[$module::CompareAndSwap<'_>]) -> Result<Vec<Option<$module::Versioned>>, Error> {
                    let ops = changes.iter().map(|change| Op::Write {
                        tag: place(change.tag),
                        seen: change.seen.as_ref().map(|seen| Cell(seen.bytes().clone(), seen.version())),
                        bytes: change.record.to_bytes(),
                    });
                    Ok(self.call(ops.collect()).await.into_iter().map(|reply| reply.seen($module::Versioned::new)).collect())
                }

                async fn publish(&self, _: Epoch, _: &Invalidation) -> Result<(), Error> {
                    self.ask(Op::Advance).await;
                    Ok(())
                }

                fn nonce(&self) -> u64 {
                    self.nonce()
                }
            }
        )+
    };
}

struct Real;

algorithms!(Real: registers);

impl Reply {
    fn epoch(self) -> Epoch {
        let Self::Epoch(epoch) = self else { unreachable!("{self:?}") };
        epoch
    }

    fn seen<S>(self, seen: impl Fn(Bytes, u64) -> S) -> Option<S> {
        self.cell().map(|Cell(bytes, version)| seen(bytes, version))
    }

    fn cell(self) -> Option<Cell> {
        let Self::Record(cell) = self else { unreachable!("{self:?}") };
        cell
    }

    fn data(self) -> u8 {
        let Self::Data(data) = self else { unreachable!("{self:?}") };
        data
    }
}

fn tags(places: &[usize]) -> Vec<Tag> {
    places.iter().map(|place| Tag::new(place.to_string()).unwrap()).collect()
}

fn records(tags: &[Tag]) -> Vec<Op> {
    tags.iter().map(|tag| Op::Record(place(tag))).collect()
}

fn place(tag: &Tag) -> usize {
    tag.as_str().parse().unwrap()
}

/// The actors, the values at the beginning, and the accidents.
#[derive(Debug, Clone, Copy)]
struct Scene {
    /// Which tags the entry has.
    tags: &'static [usize],
    /// Whether their records are there at the beginning.
    present: bool,
    fetches: &'static [Fetch],
    writes: &'static [Write],
    reader: Reader,
    accidents: Accidents,
    comparison: Comparison,
}

/// Who reads.
#[derive(Debug, Clone, Copy)]
enum Reader {
    /// Entry and records, each time.
    SharedStore,
    /// A copy of the entry, as long as the clock does not advance.
    Near,
}

/// A request that found nothing.
#[derive(Debug, Clone, Copy)]
struct Fetch {
    /// Which tags it knows before its handler runs.
    knows: &'static [usize],
    /// Where it reads the epoch; after the handler is wrong.
    captures: Capture,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Capture {
    BeforeHandler,
    AfterHandler,
}

/// A change of the data, and what is invalidated for it.
#[derive(Debug, Clone, Copy)]
struct Write(What, &'static [usize]);

async fn fetch<A: Algorithm>(port: Port, memory: Memory, Fetch { knows, captures }: Fetch, scene: Scene) -> End {
    match memory {
        Memory::Made(entry) if A::admit(&port, entry.born, &tags(scene.tags)).await.is_none() => {
            match port.ask(Op::GiveUp).await {
                Reply::GivenUp(fetches) if fetches > scene.may_give_up() => End::Broken("no entry is stored".to_owned()),
                _ => End::Done,
            }
        }
        Memory::Made(entry) => End::Next(Memory::Admitted(entry)),
        Memory::Admitted(entry) => {
            port.ask(Op::Store(entry)).await;
            End::Done
        }
        _ => {
            let early = A::miss(&port, &tags(knows)).await;
            let data = port.ask(Op::Load).await.data();
            let born = match captures {
                Capture::BeforeHandler => early,
                Capture::AfterHandler => A::miss(&port, &tags(knows)).await,
            };
            End::Next(Memory::Made(Entry { born, data }))
        }
    }
}

/// A writer changes the data as late as it can: with the first step of its invalidation.
async fn write<A: Algorithm>(port: Port, Write(what, of): Write, writer: usize) -> End {
    let invalidation = match what {
        What::Invalidate => Invalidation::Tags(tags(of)),
        What::Expire => Invalidation::ExpireTags { tags: tags(of), at: time_of(writer) },
        What::Clear => Invalidation::Everything,
    };
    A::invalidate(&port, &invalidation).await.unwrap();
    port.ask(Op::Return(what)).await;
    End::Done
}

/// When a writer expires: the first before the second, whichever takes its epoch first.
fn time_of(writer: usize) -> Timestamp {
    Timestamp::from_millis(43_200_000) + [Duration::ZERO, Duration::from_secs(10)][writer]
}

/// Reads the clock, the entry and the records in any order.
async fn read<A: Algorithm>(port: Port, all: &[usize]) -> End {
    let ops = [vec![Op::Entry, Op::Clock], records(&tags(all))].concat();
    let ops = ops.into_iter().map(|op| Op::Begin(Box::new(op)));
    let mut replies = port.call(ops.collect()).await.into_iter();
    let (Some(Reply::Entry(entry, began)), Some(Reply::Epoch(clock))) = (replies.next(), replies.next()) else { unreachable!() };
    let Some(entry) = entry else { return End::Unnoticed };
    let records: Vec<_> = replies.map(Reply::cell).collect();
    served(entry, A::judge(entry.born, clock, &records), began)
}

/// Takes a copy, and serves it as long as the epoch is the one at which it was last found alive.
async fn near<A: Algorithm>(port: Port, memory: Memory, all: &[usize]) -> End {
    let Memory::Copied(entry, alive_at) = memory else {
        // Before the records: an invalidation that raises them later advances the clock afterwards.
        let clock = port.ask(Op::Clock).await.epoch();
        let Reply::Entry(Some(entry), _) = port.ask(Op::Entry).await else { return End::Unnoticed };
        return keep(entry, clock, judged::<A>(&port, entry, clock, all).await);
    };
    let Reply::CacheableRequest(clock, returned) = port.ask(Op::CacheableRequest).await else { unreachable!() };
    let validity = if clock == alive_at { Some(Validity::Valid) } else { judged::<A>(&port, entry, clock, all).await };
    match served(entry, validity, returned) {
        End::Unnoticed if clock != alive_at => keep(entry, clock, validity),
        end => end,
    }
}

fn keep(entry: Entry, clock: Epoch, validity: Option<Validity>) -> End {
    if validity == Some(Validity::Valid) { End::Next(Memory::Copied(entry, clock)) } else { End::Unnoticed }
}

async fn judged<A: Algorithm>(port: &Port, entry: Entry, clock: Epoch, all: &[usize]) -> Option<Validity> {
    let records: Vec<_> = port.call(records(&tags(all))).await.into_iter().map(Reply::cell).collect();
    A::judge(entry.born, clock, &records)
}

fn served(entry: Entry, validity: Option<Validity>, began: Returned) -> End {
    let is_broken = match validity {
        None => false,
        Some(Validity::Stale { since }) => {
            let is_late = |writer: usize| entry.data < began.expired[writer] && time_of(writer) < since;
            entry.data < began.hard || is_late(0) || is_late(1)
        }
        Some(Validity::Valid) => entry.data < began.hard.max(began.soft),
    };
    if is_broken { End::Broken(format!("served {entry:?} as {validity:?}")) } else { End::Unnoticed }
}

impl Scene {
    const fn fetches(self, fetches: &'static [Fetch]) -> Self {
        Self { fetches, ..self }
    }

    const fn writes(self, writes: &'static [Write]) -> Self {
        Self { writes, ..self }
    }

    /// Nothing is recorded of any tag yet.
    const fn missing(self) -> Self {
        Self { present: false, ..self }
    }

    const fn evictions(self, evictions: u8) -> Self {
        Self { accidents: Accidents { evictions, ..self.accidents }, ..self }
    }

    const fn expiries(self, expiries: u8) -> Self {
        Self { accidents: Accidents { expiries, ..self.accidents }, ..self }
    }

    const fn losses(self, losses: u8) -> Self {
        Self { accidents: Accidents { losses, ..self.accidents }, ..self }
    }

    const fn near(self) -> Self {
        Self { reader: Reader::Near, ..self }
    }

    const fn tags(self, tags: &'static [usize]) -> Self {
        Self { tags, ..self }
    }

    const fn comparing(self, comparison: Comparison) -> Self {
        Self { comparison, ..self }
    }

    fn places(self) -> usize {
        let written = self.writes.iter().flat_map(|Write(_, tags)| *tags);
        self.tags.iter().chain(written).max().map_or(0, |last| last + 1)
    }

    /// How many may find their entry dead on arrival: one at least is stored where nothing has happened to any.
    fn may_give_up(self) -> usize {
        self.fetches.len() - usize::from(self.writes.is_empty())
    }

    fn search<A: Algorithm>(self) -> Result<usize, String> {
        let mut actors = Vec::new();
        for (writer, &by) in self.writes.iter().enumerate() {
            actors.push(Actor::new(format!("{by:?}"), move |port, _| write::<A>(port, by, writer)));
        }
        for &by in self.fetches {
            actors.push(Actor::new(format!("{by:?}"), move |port, memory| fetch::<A>(port, memory, by, self)));
        }
        actors.push(match self.reader {
            Reader::SharedStore => Actor::new("ReadOutcome".to_owned(), move |port, _| read::<A>(port, self.tags)),
            Reader::Near => Actor::new("Near".to_owned(), move |port, memory| near::<A>(port, memory, self.tags)),
        });
        search(&self.store::<A>(), &actors)
    }

    fn store<A: Algorithm>(self) -> Store {
        // Earlier than any epoch of any incarnation.
        let record = self.present.then(|| Cell(A::settled(Epoch::of(1, 0)), 0));
        Store {
            clock: Some(Epoch::of(1, 10)),
            incarnations: 1,
            cells: vec![record; self.places()],
            entry: None,
            data: 0,
            changes: vec![0; self.writes.len()],
            given_up: 0,
            returned: Returned::default(),
            began: None,
            is_over: false,
            left: self.accidents,
            writings: 0,
            comparison: self.comparison,
        }
    }

    #[track_caller]
    fn holds(self) {
        match self.search::<Real>() {
            Ok(states) => println!("{states} states in the scene of line {}", Location::caller().line()),
            Err(trace) => panic!("{self:?}: {trace}"),
        }
    }

    #[track_caller]
    fn shows<A: Algorithm>(self, what: &str) {
        let trace = self.search::<A>().expect_err("a slip that makes no difference");
        println!("{trace}");
        assert!(trace.starts_with(what), "{trace}");
    }
}

const ONE: &[usize] = &[0];
const TWO: &[usize] = &[0, 1];

const LEARNS: Fetch = Fetch { knows: &[], captures: Capture::BeforeHandler };
const KNOWS: Fetch = Fetch { knows: ONE, ..LEARNS };
const KNOWS_BOTH: Fetch = Fetch { knows: TWO, ..LEARNS };
const TOO_LATE: Fetch = Fetch { captures: Capture::AfterHandler, ..LEARNS };

const INVALIDATE: Write = Write(What::Invalidate, ONE);
const EXPIRE: Write = Write(What::Expire, ONE);
const CLEAR: Write = Write(What::Clear, ONE);
const INVALIDATE_SECOND: Write = Write(What::Invalidate, &[1]);
const INVALIDATE_BOTH: Write = Write(What::Invalidate, TWO);
/// Only the second of them is the entry's.
const INVALIDATE_ANOTHER_TOO: Write = Write(What::Invalidate, &[1, 0]);

/// One who fetches, one who writes, one who reads, and no accidents.
const PLAIN: Scene = Scene {
    tags: ONE,
    present: true,
    fetches: &[LEARNS],
    writes: &[INVALIDATE],
    reader: Reader::SharedStore,
    accidents: Accidents { evictions: 0, expiries: 0, losses: 0 },
    comparison: Comparison::ByValue,
};
const EVICTED: Scene = PLAIN.evictions(1);
const EXPIRED: Scene = EVICTED.writes(&[EXPIRE]);
const TWO_FETCHES: Scene = EVICTED.fetches(&[LEARNS, LEARNS]);
const TWO_WRITES: Scene = EVICTED.writes(&[INVALIDATE, INVALIDATE]);
const TWO_EXPIRIES: Scene = EVICTED.writes(&[EXPIRE, EXPIRE]);
const CLEARED: Scene = EVICTED.writes(&[CLEAR]);
const LOST: Scene = EVICTED.losses(1);
const NEAR: Scene = EVICTED.near();
const TWO_TAGS: Scene = EVICTED.tags(TWO).fetches(&[KNOWS]);
const UNWRITTEN: Scene = PLAIN.writes(&[]).missing();

/// More of what makes scenes large.
fn soak() -> bool {
    std::env::var_os("LARDER_SOAK").is_some()
}

#[test]
fn one_fetch_and_one_invalidation() {
    let most = if soak() { 4 } else { 2 };
    for scene in [PLAIN.evictions(most), PLAIN.evictions(1).expiries(most)] {
        scene.holds();
        scene.fetches(&[KNOWS]).holds();
        scene.fetches(&[KNOWS]).missing().holds();
    }
}

#[test]
fn two_fetches() {
    TWO_FETCHES.holds();
    TWO_FETCHES.fetches(&[KNOWS, LEARNS]).missing().evictions(0).holds();
    if soak() {
        TWO_FETCHES.evictions(2).holds();
        TWO_FETCHES.fetches(&[KNOWS, LEARNS]).missing().holds();
        TWO_FETCHES.fetches(&[KNOWS, KNOWS]).missing().holds();
    }
}

#[test]
fn two_invalidations() {
    TWO_WRITES.holds();
    TWO_WRITES.fetches(&[KNOWS]).missing().evictions(0).holds();
    if soak() {
        TWO_WRITES.evictions(2).holds();
        TWO_WRITES.fetches(&[LEARNS, LEARNS]).evictions(0).holds();
        TWO_WRITES.fetches(&[LEARNS, LEARNS]).holds();
    }
}

#[test]
fn what_was_expired_is_stale() {
    EXPIRED.holds();
    TWO_EXPIRIES.holds();
    TWO_WRITES.writes(&[EXPIRE, INVALIDATE]).holds();
}

#[test]
fn everything_is_invalidated() {
    CLEARED.holds();
    CLEARED.writes(&[CLEAR, CLEAR]).holds();
    CLEARED.writes(&[CLEAR, INVALIDATE]).evictions(u8::from(soak())).holds();
}

#[test]
fn the_clock_is_lost() {
    LOST.holds();
    LOST.fetches(&[KNOWS]).missing().holds();
    LOST.writes(&[CLEAR]).holds();
    LOST.losses(2).evictions(0).holds();
    LOST.writes(&[INVALIDATE, INVALIDATE]).evictions(u8::from(soak())).holds();
}

#[test]
fn a_near_tier_that_looks_at_the_clock_alone() {
    NEAR.holds();
    NEAR.fetches(&[KNOWS]).missing().holds();
    NEAR.losses(1).holds();
    NEAR.writes(&[CLEAR]).holds();
    NEAR.writes(&[INVALIDATE, INVALIDATE]).evictions(u8::from(soak())).holds();
}

#[test]
fn an_entry_of_two_tags() {
    EVICTED.writes(&[INVALIDATE_ANOTHER_TOO]).holds();
    for write in [&[INVALIDATE][..], &[INVALIDATE_SECOND], &[INVALIDATE_BOTH]] {
        TWO_TAGS.writes(write).holds();
    }
    TWO_TAGS.fetches(&[KNOWS_BOTH]).missing().evictions(u8::from(soak())).writes(&[INVALIDATE_BOTH]).holds();
}

#[test]
fn a_store_that_counts_writings() {
    for scene in [EVICTED, TWO_FETCHES, TWO_WRITES, LOST, NEAR, TWO_TAGS] {
        scene.comparing(Comparison::ByVersion).holds();
    }
}

#[test]
fn without_writes_an_entry_is_stored() {
    UNWRITTEN.holds();
    UNWRITTEN.fetches(&[KNOWS]).holds();
    UNWRITTEN.fetches(&[LEARNS, LEARNS]).holds();
    UNWRITTEN.fetches(&[KNOWS, LEARNS]).holds();
    UNWRITTEN.fetches(&[KNOWS, KNOWS]).holds();
}

#[test]
fn an_epoch_that_is_read_after_the_handler_is_noticed() {
    PLAIN.fetches(&[TOO_LATE]).shows::<Real>("served");
}

#[test]
fn a_store_that_does_not_compare_is_noticed() {
    EVICTED.comparing(Comparison::Blind).shows::<Real>("served");
}

/// The copies with a slip, each with a scene that must show it.
mod slips {
    use super::*;

    macro_rules! slips {
        ($($slip:ident: $scene:expr, $what:literal;)+) => {
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
                fn $slip() {
                    $scene.shows::<$slip::Copy>($what);
                }
            )+
        };
    }

    slips! {
        created_with_born: EVICTED, "served";
        created_with_an_epoch_read_before: EVICTED, "served";
        created_too_late_for_its_fetch: UNWRITTEN, "no entry";
        missing_is_alive: EVICTED, "served";
        pending_is_alive: EVICTED, "served";
        expired_is_alive: EXPIRED, "served";
        created_by_an_invalidation: TWO_WRITES, "served";
        lowered: TWO_WRITES, "served";
        expired_once_only: TWO_EXPIRIES, "served";
        counted_from_the_latest_expiry: TWO_EXPIRIES, "served";
        later_expiries_forgotten: TWO_WRITES.writes(&[EXPIRE, INVALIDATE]), "served";
        lost_and_not_raised: EVICTED, "served";
        pending_left_as_it_is: EVICTED, "served";
        pending_left_at_first_sight: EVICTED, "served";
        pending_settled_by_an_invalidation: TWO_WRITES, "served";
        advanced_once: NEAR, "served";
        advanced_before_the_records: NEAR, "served";
        born_of_another_incarnation: LOST, "served";
        recorded_in_another_incarnation: LOST, "served";
        cleared_without_a_new_incarnation: CLEARED, "served";
        settled_whatever_is_there: EVICTED, "served";
        raised_whatever_is_there: TWO_WRITES, "served";
        first_tag_raised_only: EVICTED.writes(&[INVALIDATE_ANOTHER_TOO]), "served";
        first_record_judged_only: TWO_TAGS.writes(&[INVALIDATE_SECOND]), "served";
    }
}
