//! Every order of the steps of a near tier that follows a stream of invalidations, at every speed of the network: no request is
//! answered from a copy that was invalidated, for all to know, longer than the span before it began.
//!
//! It is the real rule that runs; what follows the stream and what reads are models of what a tier does with it. `build.rs`
//! writes copies with one slip each, and the last tests show that these scenes notice every one of them.

#![allow(clippy::unwrap_used, reason = "an actor that panics has failed its model")]

mod steps;

/// What the file under the model uses of larder, under the name by which it does.
mod clock {
    pub(crate) use larder::backend::Timestamp;
}

#[path = "../../../src/backend/tiered/lease.rs"]
#[allow(dead_code, reason = "the model need not call everything")]
mod lease;

use std::{fmt::Debug, hash::Hash, panic::Location, time::Duration};

use larder::backend::Timestamp;

use steps::{Actor, World, search};

/// How far behind a near tier may be. One tick of the model's time is a millisecond.
const SPAN: u8 = 2;

/// How far behind it may be while the far tier does not answer.
const GRACE: u8 = 3;

/// The stream, and a node that follows it.
#[derive(Debug, Clone, Hash)]
struct Node<L> {
    time: u8,
    end_of_time: u8,
    /// Every invalidation there was.
    stream: Vec<Item>,
    /// How many of them the stream no longer has.
    trimmed: u8,
    /// A stream that is lost starts again with another incarnation.
    incarnation: u8,
    /// When the poll that waits at the stream came there.
    arrived_at: u8,
    lease: L,
    /// How far behind it may be.
    behind: u8,
    /// The latest invalidation of the copy's tag that is applied: the copy is dead if it was made before.
    applied: u8,
    /// How often all copies were dropped.
    drops: u8,
    /// How many invalidations there had been when it was made.
    copy: Option<u8>,
    left: Accidents,
}

/// An invalidation in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Item {
    returned_at: u8,
    tag: Tag,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Tag {
    OfTheCopy,
    Another,
}

#[derive(Debug, Clone, Copy, Default, Hash)]
struct Accidents {
    /// The stream forgets its oldest item, never its newest.
    trims: u8,
    /// The stream is lost.
    losses: u8,
    /// A poll that waits is sent back.
    interruptions: u8,
}

#[derive(Debug, Clone, Copy)]
enum Accident {
    Tick,
    Trim,
    Loss,
}

#[derive(Debug, Clone)]
enum Op {
    Now,
    /// Data is changed, and the invalidation returns.
    Write(Tag),
    /// A poll comes to the stream.
    Arrive,
    /// It is answered with what has come after so many, so much at most; with nothing if more has come than is worth reading.
    Answer {
        after: u8,
        block: u8,
        most: u8,
        worth: u8,
    },
    Apply {
        from: u8,
        until: u8,
    },
    Record {
        sent_at: u8,
        result: PollResult,
    },
    Drop,
    /// A request takes a copy from the far tier, as of so many drops.
    Fetch,
    Keep {
        data: u8,
        drops: Option<u8>,
    },
    /// A request begins.
    Begin,
    IsValid {
        now: u8,
    },
    /// The same for a request to which the far tier has not answered.
    IsInGrace {
        now: u8,
    },
    Copy,
}

#[derive(Debug, Clone, Hash)]
enum Reply {
    Now(u8),
    Items { from: u8, until: u8, incarnation: u8 },
    Fetched { data: u8, drops: u8 },
    IsValid(bool),
    Copy(Option<Lacks>),
    Done,
}

/// When the first invalidation returned that a copy should have been killed by.
type Lacks = Option<u8>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum PollResult {
    All,
    Part,
    Gap,
}

/// What those who take steps know between two stages.
#[derive(Debug, Clone, Copy, Default, Hash, PartialEq, Eq)]
enum Memory {
    #[default]
    Nothing,
    /// After so many polls, it has seen so many items of this incarnation.
    InvalidationFeed { polls: u8, seen: u8, incarnation: u8 },
}

type Port<L> = steps::Port<Node<L>>;
type End = steps::End<Memory>;

/// The rule, or a copy of it with a slip.
trait Rule: Clone + Hash + Debug + 'static {
    fn new(span: Duration) -> Self;
    fn is_valid(&self, now: Timestamp) -> bool;
    fn is_in_grace(&self, grace: Duration, now: Timestamp) -> bool;
    fn record(&mut self, sent_at: Timestamp, result: PollResult);
}

macro_rules! rules {
    ($($lease:ident),+) => {
        $(impl Rule for $lease::Lease {
            fn new(span: Duration) -> Self {
                Self::new(span)
            }

            fn is_valid(&self, now: Timestamp) -> bool {
                self.is_valid(now)
            }

            fn is_in_grace(&self, grace: Duration, now: Timestamp) -> bool {
                self.is_in_grace(grace, now)
            }

            fn record(&mut self, sent_at: Timestamp, result: PollResult) {
                let result = match result {
                    PollResult::All => $lease::PollResult::All,
                    PollResult::Part => $lease::PollResult::Part,
                    PollResult::Gap => $lease::PollResult::Gap,
                };
                self.record(sent_at, result);
            }
        })+
    };
}

rules!(lease);

fn ticks(ticks: u8) -> Duration {
    Duration::from_millis(ticks.into())
}

fn at(time: u8) -> Timestamp {
    // The clock of the node has nothing to do with others'.
    Timestamp::from_millis(1000) + ticks(time)
}

impl<L: Rule> World for Node<L> {
    type Op = Op;
    type Reply = Reply;
    type Accident = Accident;
    type Memory = Memory;

    fn perform(&mut self, _: usize, op: &Op) -> Reply {
        match *op {
            Op::Now | Op::Begin => return Reply::Now(self.time),
            Op::Write(tag) => self.stream.push(Item { returned_at: self.time, tag }),
            Op::Arrive => self.arrived_at = self.time,
            Op::Answer { after, block, most, worth } => return self.answer(after, block, most, worth),
            Op::Apply { from, until } => {
                let items = (from..until).filter(|&at| self.stream[usize::from(at)].tag == Tag::OfTheCopy);
                self.applied = self.applied.max(items.max().map_or(0, |last| last + 1));
                self.copy = self.copy.filter(|&data| data >= self.applied);
            }
            Op::Record { sent_at, result } => self.lease.record(at(sent_at), result),
            Op::Drop => {
                self.drops += 1;
                self.copy = None;
            }
            Op::Fetch => return Reply::Fetched { data: self.written(), drops: self.drops },
            Op::Keep { data, drops } => {
                let is_in_time = drops.is_none_or(|drops| drops == self.drops);
                self.copy = self.copy.max(Some(data).filter(|&data| is_in_time && data >= self.applied));
            }
            Op::IsValid { now } => return Reply::IsValid(self.lease.is_valid(at(now))),
            Op::IsInGrace { now } => return Reply::IsValid(self.lease.is_in_grace(ticks(GRACE), at(now))),
            Op::Copy => return Reply::Copy(self.copy.map(|data| self.lacks(data))),
        }
        Reply::Done
    }

    fn is_at_once(&self, _: &Op) -> bool {
        false
    }

    /// An answer waits for its time. No request need begin before one could be answered wrongly.
    fn lets(&self, op: &Op) -> bool {
        match *op {
            Op::Answer { after, block, .. } => self.left.interruptions > 0 || self.is_due(block) || self.written() > after,
            Op::Begin => self.lacks(0).is_some_and(|returned_at| is_overdue(returned_at, self.behind, self.time)),
            _ => true,
        }
    }

    fn is_over(&self) -> bool {
        false
    }

    fn accidents(&self) -> Vec<Accident> {
        let Accidents { trims, losses, .. } = self.left;
        let mut accidents = Vec::new();
        accidents.extend((self.time < self.end_of_time).then_some(Accident::Tick));
        accidents.extend((trims > 0 && self.trimmed + 1 < self.written()).then_some(Accident::Trim));
        accidents.extend((losses > 0 && self.trimmed < self.written()).then_some(Accident::Loss));
        accidents
    }

    fn happen(&mut self, accident: Accident) {
        match accident {
            Accident::Tick => self.time += 1,
            Accident::Trim => {
                self.left.trims -= 1;
                self.trimmed += 1;
            }
            Accident::Loss => {
                self.left.losses -= 1;
                self.trimmed = self.written();
                self.incarnation += 1;
            }
        }
    }
}

impl<L: Rule> Node<L> {
    fn written(&self) -> u8 {
        u8::try_from(self.stream.len()).unwrap()
    }

    fn lacks(&self, data: u8) -> Lacks {
        let later = &self.stream[usize::from(data)..];
        later.iter().find(|item| item.tag == Tag::OfTheCopy).map(|item| item.returned_at)
    }

    fn is_due(&self, block: u8) -> bool {
        self.time >= self.arrived_at + block
    }

    fn answer(&mut self, after: u8, block: u8, most: u8, worth: u8) -> Reply {
        let is_far_behind = self.written() > after + worth;
        let from = if is_far_behind { self.written() } else { after.max(self.trimmed) };
        let until = self.written().min(from + most);
        if from == until && !self.is_due(block) {
            self.left.interruptions -= 1;
        }
        Reply::Items { from, until, incarnation: self.incarnation }
    }
}

/// Whether an invalidation that returned then has to be known to who asks now.
fn is_overdue(returned_at: u8, behind: u8, now: u8) -> bool {
    returned_at + behind < now
}

/// What may happen, and how the node behaves.
#[derive(Debug, Clone, Copy)]
struct Scene {
    writes: &'static [Tag],
    polls: u8,
    /// For how long a poll waits at the stream.
    block: u8,
    /// How many items one brings at most.
    most: u8,
    /// A poll that is further behind brings only where the stream ends.
    worth: u8,
    /// Whether a request fetches a copy meanwhile; there is one at the beginning anyway.
    fetch: bool,
    /// Whether the far tier does not answer the request.
    outage: bool,
    end_of_time: u8,
    accidents: Accidents,
    slip: Slip,
}

/// What the node does wrong by itself, whatever the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slip {
    None,
    CountedFromTheAnswer,
    /// The time that a poll waited for nothing is added.
    WaitCounted,
    RenewedBeforeApplied,
    CopyJudgedBeforeTheLease,
    CopiesKeptBeyondAGap,
    CopyOnItsWayKeptBeyondAGap,
}

async fn write<L: Rule>(port: Port<L>, tag: Tag) -> End {
    port.ask(Op::Write(tag)).await;
    End::Done
}

async fn follow<L: Rule>(port: Port<L>, memory: Memory, scene: Scene) -> End {
    let (polls, seen, known) = match memory {
        Memory::Nothing => (0, 0, 0),
        Memory::InvalidationFeed { polls, seen, incarnation } => (polls, seen, incarnation),
    };
    let mut sent_at = now(&port).await;
    if scene.block > 0 {
        port.ask(Op::Arrive).await;
    }
    let items = port.ask(Op::Answer { after: seen, block: scene.block, most: scene.most, worth: scene.worth }).await;
    let Reply::Items { from, until, incarnation } = items else { unreachable!() };
    let result = match until - from {
        _ if from > seen || incarnation != known => PollResult::Gap,
        items if items < scene.most => PollResult::All,
        _ => PollResult::Part,
    };
    match scene.slip {
        Slip::CountedFromTheAnswer => sent_at = now(&port).await,
        Slip::WaitCounted if from == until && now(&port).await >= sent_at + scene.block => sent_at += scene.block,
        _ => {}
    }
    let mut ops = vec![Op::Apply { from, until }, Op::Record { sent_at, result }];
    if scene.slip == Slip::RenewedBeforeApplied {
        ops.reverse();
    }
    ops.extend((result == PollResult::Gap && scene.slip != Slip::CopiesKeptBeyondAGap).then_some(Op::Drop));
    for op in ops {
        port.ask(op).await;
    }
    let polls = polls + 1;
    if polls == scene.polls { End::Done } else { End::Next(Memory::InvalidationFeed { polls, seen: until, incarnation }) }
}

async fn now<L: Rule>(port: &Port<L>) -> u8 {
    let Reply::Now(now) = port.ask(Op::Now).await else { unreachable!() };
    now
}

async fn fetch<L: Rule>(port: Port<L>, scene: Scene) -> End {
    let Reply::Fetched { data, drops } = port.ask(Op::Fetch).await else { unreachable!() };
    let drops = (scene.slip != Slip::CopyOnItsWayKeptBeyondAGap).then_some(drops);
    port.ask(Op::Keep { data, drops }).await;
    End::Done
}

async fn read<L: Rule>(port: Port<L>, scene: Scene) -> End {
    let Reply::Now(now) = port.ask(Op::Begin).await else { unreachable!() };
    let mut ops = vec![if scene.outage { Op::IsInGrace { now } } else { Op::IsValid { now } }, Op::Copy];
    if scene.slip == Slip::CopyJudgedBeforeTheLease {
        ops.reverse();
    }
    let mut lacks = None;
    for op in ops {
        match port.ask(op).await {
            Reply::IsValid(true) => {}
            Reply::Copy(Some(Some(returned_at))) => lacks = Some(returned_at),
            // Asks the far tier, or serves what lacks nothing.
            _ => return End::Unnoticed,
        }
    }
    match lacks {
        Some(returned_at) if is_overdue(returned_at, scene.behind(), now) => {
            End::Broken(format!("served at {now} without what returned at {returned_at}"))
        }
        _ => End::Unnoticed,
    }
}

impl Scene {
    const fn slip(self, slip: Slip) -> Self {
        Self { slip, ..self }
    }

    /// How far behind the request may be.
    const fn behind(self) -> u8 {
        if self.outage { GRACE } else { SPAN }
    }

    fn search<L: Rule>(self) -> Result<usize, String> {
        let mut actors = Vec::new();
        actors.extend(self.writes.iter().map(|&tag| Actor::new(format!("Write {tag:?}"), move |port, _| write::<L>(port, tag))));
        actors.push(Actor::new("Follow".to_owned(), move |port, memory| follow::<L>(port, memory, self)));
        actors.extend(self.fetch.then(|| Actor::new("Fetch".to_owned(), move |port, _| fetch::<L>(port, self))));
        actors.push(Actor::new("ReadOutcome".to_owned(), move |port, _| read::<L>(port, self)));
        let node = Node {
            time: 0,
            end_of_time: self.end_of_time,
            stream: Vec::new(),
            trimmed: 0,
            incarnation: 0,
            arrived_at: 0,
            lease: L::new(ticks(SPAN)),
            behind: self.behind(),
            applied: 0,
            drops: 0,
            copy: Some(0),
            left: self.accidents,
        };
        search(&node, &actors)
    }

    #[track_caller]
    fn holds(self) {
        match self.search::<lease::Lease>() {
            Ok(states) => println!("{states} states in the scene of line {}", Location::caller().line()),
            Err(trace) => panic!("{self:?}: {trace}"),
        }
    }

    #[track_caller]
    fn shows<L: Rule>(self) {
        let trace = self.search::<L>().expect_err("a slip that makes no difference");
        println!("{trace}");
        assert!(trace.starts_with("served"), "{trace}");
    }
}

const ONE: &[Tag] = &[Tag::OfTheCopy];
const TWICE: &[Tag] = &[Tag::OfTheCopy, Tag::OfTheCopy];
const BOTH: &[Tag] = &[Tag::OfTheCopy, Tag::Another];

const NONE: Accidents = Accidents { trims: 0, losses: 0, interruptions: 0 };

const ASKS: Scene = Scene {
    writes: ONE,
    polls: 2,
    block: 0,
    most: 9,
    worth: 9,
    fetch: false,
    outage: false,
    end_of_time: 5,
    accidents: NONE,
    slip: Slip::None,
};
const WAITS: Scene = Scene { block: 2, end_of_time: 7, ..ASKS };
const INTERRUPTED: Scene = Scene { accidents: Accidents { interruptions: 1, ..NONE }, ..WAITS };
const DURING_AN_OUTAGE: Scene = Scene { outage: true, end_of_time: 6, ..ASKS };
const ONE_AT_A_TIME: Scene = Scene { writes: TWICE, most: 1, fetch: true, ..ASKS };
const TRIMMED: Scene = Scene { writes: BOTH, accidents: Accidents { trims: 1, ..NONE }, ..ASKS };
const FAR_BEHIND: Scene = Scene { writes: BOTH, worth: 1, ..ASKS };
/// After a failure, a poll reads nothing but where the stream ends.
const POSITION_ONLY: Scene = Scene { worth: 0, ..ASKS };
const LOST: Scene = Scene { accidents: Accidents { losses: 1, ..NONE }, ..ASKS };

#[test]
fn a_stream_that_answers_at_once() {
    ASKS.holds();
    Scene { polls: 3, writes: BOTH, ..ASKS }.holds();
    Scene { polls: 3, fetch: true, ..ASKS }.holds();
}

#[test]
fn a_stream_that_waits() {
    WAITS.holds();
    WAITS.slip(Slip::WaitCounted).holds();
    INTERRUPTED.holds();
    Scene { fetch: true, ..INTERRUPTED }.holds();
}

#[test]
fn a_stream_that_brings_one_item_at_a_time() {
    ONE_AT_A_TIME.holds();
}

#[test]
fn a_stream_that_forgets() {
    TRIMMED.holds();
    Scene { fetch: true, ..TRIMMED }.holds();
}

#[test]
fn a_stream_of_which_more_has_come_than_is_worth_reading() {
    for scene in [FAR_BEHIND, POSITION_ONLY] {
        scene.holds();
        Scene { fetch: true, ..scene }.holds();
    }
    Scene { writes: TWICE, polls: 3, most: 1, ..FAR_BEHIND }.holds();
}

#[test]
fn a_stream_that_is_lost() {
    LOST.holds();
    Scene { fetch: true, ..LOST }.holds();
    Scene { writes: BOTH, ..LOST }.holds();
}

#[test]
fn an_outage() {
    for scene in [
        DURING_AN_OUTAGE,
        Scene { outage: true, ..LOST },
        Scene { outage: true, ..TRIMMED },
        Scene { outage: true, ..FAR_BEHIND },
    ] {
        scene.holds();
        Scene { fetch: true, ..scene }.holds();
    }
}

#[test]
fn who_judges_a_copy_before_he_looks_at_the_grace_is_noticed() {
    DURING_AN_OUTAGE.slip(Slip::CopyJudgedBeforeTheLease).shows::<lease::Lease>();
}

#[test]
fn who_counts_from_the_answer_is_noticed() {
    ASKS.slip(Slip::CountedFromTheAnswer).shows::<lease::Lease>();
}

#[test]
fn who_counts_a_wait_that_was_cut_short_is_noticed() {
    INTERRUPTED.slip(Slip::WaitCounted).shows::<lease::Lease>();
}

#[test]
fn who_renews_before_he_has_applied_is_noticed() {
    ASKS.slip(Slip::RenewedBeforeApplied).shows::<lease::Lease>();
}

#[test]
fn who_judges_a_copy_before_he_looks_at_the_lease_is_noticed() {
    ASKS.slip(Slip::CopyJudgedBeforeTheLease).shows::<lease::Lease>();
}

#[test]
fn who_keeps_copies_beyond_a_gap_is_noticed() {
    for scene in [LOST, TRIMMED, FAR_BEHIND, POSITION_ONLY] {
        scene.slip(Slip::CopiesKeptBeyondAGap).shows::<lease::Lease>();
    }
}

#[test]
fn who_keeps_a_copy_that_was_on_its_way_beyond_a_gap_is_noticed() {
    for scene in [LOST, TRIMMED, FAR_BEHIND, POSITION_ONLY] {
        Scene { fetch: true, ..scene }.slip(Slip::CopyOnItsWayKeptBeyondAGap).shows::<lease::Lease>();
    }
}

/// The copies with a slip, each with a scene that must show it.
mod slips {
    use super::*;

    macro_rules! slips {
        ($($slip:ident: $scene:expr;)+) => {
            mod copies {
                $(
                    #[allow(dead_code, reason = "the model need not call everything")]
                    pub(super) mod $slip {
                        include!(concat!(env!("OUT_DIR"), "/", stringify!($slip), ".rs"));
                    }
                )+
            }

            use copies::{$($slip),+};

            rules!($($slip),+);

            $(
                #[test]
                fn $slip() {
                    $scene.shows::<$slip::Lease>();
                }
            )+
        };
    }

    slips! {
        renewed_by_part: ONE_AT_A_TIME;
        renewed_by_what_came_after_a_gap: LOST;
        holder_does_not_look_at_his_clock: ASKS;
        grace_counted_from_the_end_of_the_lease: DURING_AN_OUTAGE;
        grace_without_a_clock: DURING_AN_OUTAGE;
    }
}
