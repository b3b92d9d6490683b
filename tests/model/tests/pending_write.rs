//! Every order of the steps of writers that hold their tags, of fetches that read a replica that lags, and of a reader, each on a node of its own, in a
//! store whose records change one by one; a writer's process may end at any step, and the store may evict records. After a writer is done,
//! no read finds what was made of the old row; while it is pending, and after it has died, no read finds as valid what was fetched before its
//! marks have ended.
//!
//! On a node with a store in memory the same steps are taken in fewer orders. The real files run; `build.rs` writes copies with one slip
//! each, and the last tests show that these scenes notice every one of them, and writers that leave out a part of the guard.
//!
//! # Which orders are not searched
//!
//! Each rule leaves out an order only if another one that is searched breaks the promise whenever the first does.
//!
//! - **A writer forgets** between two of its acts everything but the end of its mark: it uses nothing else. A dead one forgets everything.
//!   Fetches are alike.
//! - **What only moves a promise** takes no time: a promise that is made as early as possible, and withdrawn as late, is the hardest to keep. So does the
//!   read of the row, when a fetch has its epoch: earlier, the row is older.
//! - **The second advance of the clock** in an invalidation is left out. It is for near tiers, which this model does not have (`stepwise.rs` has). A record that is valid for
//!   a birth stays so if both epochs are taken for one.
//!
//! Where nothing is evicted (`Scene::is_reduced`), records are always settled and never lowered, which each swap asserts, so that the validity of an entry only
//! gets worse. Then also:
//!
//! - **Records are read as early as possible**, in one step: by a reader when it begins, and by a fetch together with its epoch. Read later, they can
//!   only be less in favor of an entry. The marks are read on their own, and the records again after marks that are empty.
//! - **An entry is stored as soon as its fetch may store it**: it can be read the longer. Nothing else depends on it.
//! - **A record is raised in one step**: a swap that fails changes nothing, and one that succeeds could have read just before. (The swaps of marks
//!   are two steps: they are what is under test here.)
//! - **An entry that is dead** before a reader begins is as good as none, and a reader that can find nothing any more that would break its promise has ended.
//!
//! The smallest scenes are searched without these four rules as well.
//!
//! `LARDER_SOAK=1 cargo test -p larder-model --release --test pending_write` searches larger scenes.

#![allow(clippy::unwrap_used, reason = "an actor that panics has failed its model")]

#[macro_use]
mod steps;

files_of_records!();

mod tag {
    pub(crate) use larder::backend::Tag;

    /// The place of the marks is the one after that of the record.
    pub(crate) fn writes_of(tag: &Tag) -> Tag {
        let place: usize = tag.as_str().parse().unwrap();
        Tag::new((place + 1).to_string()).unwrap()
    }
}

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

const MOST_WRITERS: usize = 2;

/// The store, the database, and what was promised.
#[derive(Debug, Clone, Hash)]
struct Store {
    clock: u64,
    /// Of each tag its record, and then its marks.
    cells: Vec<Option<Bytes>>,
    entry: Option<Entry>,
    /// How many fetches have not begun.
    fetches: u8,
    /// What fetches have made, and may store.
    made: Vec<Entry>,
    time: u8,
    last_time: u8,
    /// How often the row was changed, on the primary and on the replica.
    primary: u8,
    replica: u8,
    writers: Vec<Writer>,
    crashes: u8,
    evictions: u8,
    /// Marks may be evicted: then what is stored during a hold is removed at its end, and nothing is promised about the time before.
    forgets: bool,
    is_reduced: bool,
    /// What held when the reader began.
    began: Option<Promise>,
    /// If the search is reduced, the records that it has read.
    read: Vec<Option<Bytes>>,
    is_over: bool,
}

#[derive(Debug, Clone, Copy, Default, Hash)]
struct Writer {
    /// Its process has ended, or it has.
    has_left: bool,
    /// Which change of the row was its.
    change: u8,
    /// Until when its tags are held, since `begin_write` has returned.
    held_until: u8,
    /// The end of its hold: until then the replica may lack its change.
    hold_until: Option<u8>,
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
    /// Until when each writer holds its tags: no handler that started before then has made what is found valid.
    held_until: [u8; MOST_WRITERS],
}

#[derive(Debug, Clone, Copy)]
enum Accident {
    /// The clocks go on.
    Tick,
    Replicate,
    Crash(u8),
    /// Of marks, or of a record.
    Evict(u8),
}

#[derive(Debug, Clone)]
enum Op {
    Clock,
    Advance,
    Record(usize),
    /// Reads that are one step.
    Together(Vec<Op>),
    Write {
        tag: usize,
        seen: Option<Bytes>,
        bytes: Bytes,
    },
    Time,
    /// A handler starts, for a fetch that is born then, and reads the row.
    Load(Epoch),
    Store(Entry),
    /// A fetch ends without storing what it has made.
    GiveUp(Entry),
    /// A reader reads all records.
    Records(Vec<Op>),
    Entry,
    /// A reader reads something; the first is where its request begins.
    Begin(Box<Op>),
    /// A step of a writer.
    By(usize, Box<Op>),
    /// `begin_write` has returned, with tags that are held until then.
    Begun(u8),
    /// The marks have been replaced by marks that last until then.
    Renewed(u8),
    /// With a hold, the replica shows it later.
    Commit {
        lags: bool,
    },
    /// There is a hold until then.
    Holds(u8),
    /// `done` has returned, with tags that are held until then.
    Done(u8),
    /// The hold has ended.
    HoldEnd,
    /// The tags are about to be released, after the last invalidation.
    Releases,
    /// The writer has nothing left to do.
    Leave,
}

#[derive(Debug, Clone, Hash)]
enum Reply {
    Epoch(Epoch),
    Record(Option<Bytes>),
    Together(Vec<Reply>),
    Entry(Option<Entry>, Promise),
    Made(Entry),
    Time(u8),
    Done,
}

/// What an actor knows between two stages.
#[derive(Debug, Clone, Copy, Default, Hash, PartialEq, Eq)]
enum Memory {
    #[default]
    Nothing,
    /// A writer: how many of its acts are over, and until when it holds its tags.
    Wrote {
        acts: u8,
        until: u8,
    },
    /// A fetch.
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
            Op::Together(ops) => Reply::Together(ops.iter().map(|op| self.perform(actor, op)).collect()),
            Op::Write { tag, seen, bytes } => Reply::Record(self.swap(*tag, seen.as_ref(), bytes)),
            Op::Time => Reply::Time(self.time),
            Op::Load(born) => {
                let made = Entry { born: *born, data: self.replica, started: self.time };
                self.fetches -= 1;
                self.made.push(made);
                self.made.sort_unstable_by_key(|made| (made.born.get(), made.data, made.started));
                Reply::Made(made)
            }
            Op::Store(entry) => {
                self.entry = Some(*entry);
                self.forget_the_dead();
                self.end_fetch(entry)
            }
            Op::GiveUp(entry) => self.end_fetch(entry),
            Op::Records(ops) => {
                self.read = self.records().collect();
                self.perform(actor, &Op::Together(ops.clone()))
            }
            Op::Entry => self.read_entry(),
            Op::Begin(op) => {
                let promise = self.promise();
                self.began.get_or_insert(promise);
                self.perform(actor, op)
            }
            Op::By(writer, op) => self.write(*writer, op),
            Op::Begun(_)
            | Op::Renewed(_)
            | Op::Commit { .. }
            | Op::Holds(_)
            | Op::Done(_)
            | Op::HoldEnd
            | Op::Releases
            | Op::Leave => {
                unreachable!("a step of a writer")
            }
        }
    }

    /// See the rules in the description of this file.
    fn is_at_once(&self, op: &Op) -> bool {
        match op {
            Op::By(_, op) => self.is_at_once(op),
            Op::Begun(_)
            | Op::Renewed(_)
            | Op::Holds(_)
            | Op::Done(_)
            | Op::Releases
            | Op::Leave
            | Op::Load(_)
            | Op::Time
            | Op::GiveUp(_) => true,
            Op::Write { tag, .. } => self.is_reduced && is_record(*tag),
            Op::Together(_) | Op::Store(_) => self.is_reduced,
            _ => false,
        }
    }

    fn lets(&self, op: &Op) -> bool {
        match op {
            Op::By(writer, op) => {
                !matches!(**op, Op::HoldEnd) || self.writers[*writer].hold_until.is_some_and(|end| end <= self.time)
            }
            // Before, nothing was promised.
            Op::Begin(_) => self.promise() != Promise::default(),
            _ => true,
        }
    }

    fn is_over(&self) -> bool {
        let knows = self.is_reduced && self.began.is_some();
        self.is_over || (self.entry.is_none() && self.fetches == 0 && self.made.is_empty()) || (knows && !self.may_be_wrong())
    }

    fn has_left(&self, actor: usize) -> bool {
        self.writers.get(actor).is_some_and(|writer| writer.has_left)
    }

    /// Writers are told apart, fetches are not.
    fn is_anonymous(&self, actor: usize) -> bool {
        actor >= self.writers.len()
    }

    fn accidents(&self) -> Vec<Accident> {
        let mut accidents = Vec::new();
        // A replica has caught up at the end of a hold.
        let waits =
            |writer: &Writer| writer.hold_until.is_some_and(|until| until <= self.time + 1 && self.replica < writer.change);
        if self.time < self.last_time && !self.writers.iter().any(waits) {
            accidents.push(Accident::Tick);
        }
        if self.replica < self.primary {
            accidents.push(Accident::Replicate);
        }
        for (writer, at) in self.writers.iter().zip(0..) {
            if self.crashes > 0 && !writer.has_left {
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
                self.writers[usize::from(writer)].has_left = true;
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

    fn swap(&mut self, place: usize, seen: Option<&Bytes>, bytes: &Bytes) -> Option<Bytes> {
        if self.cells[place].as_ref() != seen {
            return None;
        }
        let lives = |born: u64, bytes: &Bytes| self.validity(Epoch::of(1, born), [Some(bytes.clone())]).is_some();
        if self.is_reduced && is_record(place) {
            let was_dead = |born: &u64| !lives(*born, seen.unwrap());
            assert!((0..=self.clock).filter(was_dead).all(|born| !lives(born, bytes)), "a record was lowered");
            assert!(lives(self.clock, bytes), "a record was not settled");
        }
        self.cells[place] = Some(bytes.clone());
        self.forget_the_dead();
        Some(bytes.clone())
    }

    /// An entry that is dead stays so: to readers that read the records later, it is as if it were not there.
    fn forget_the_dead(&mut self) {
        let Some(entry) = self.entry else { return };
        if self.is_reduced && self.began.is_none() && self.validity(entry.born, self.records()).is_none() {
            self.entry = None;
        }
    }

    fn records(&self) -> impl Iterator<Item = Option<Bytes>> {
        self.cells.iter().step_by(2).cloned()
    }

    fn end_fetch(&mut self, entry: &Entry) -> Reply {
        self.made.remove(self.made.iter().position(|made| made == entry).unwrap());
        Reply::Done
    }

    /// Whether the reader that has read the records may yet find an entry that breaks the promise.
    fn may_be_wrong(&self) -> bool {
        let promise = self.kept_promise();
        let is_wrong = |entry: &Entry| {
            let validity = self.validity(entry.born, self.read.iter().cloned());
            promise.breach(entry, validity).is_some()
        };
        let next = Entry { born: self.epoch(), data: self.replica, started: self.time };
        self.entry.iter().chain(&self.made).any(is_wrong) || (self.fetches > 0 && is_wrong(&next))
    }

    fn validity(&self, born: Epoch, records: impl IntoIterator<Item = Option<Bytes>>) -> Option<Validity> {
        let records = records.into_iter().map(|bytes| Some(Versioned::new(bytes?, 0))).collect();
        ClockAndRecords { clock: self.epoch(), records }.validity(born)
    }

    fn promise(&self) -> Promise {
        let is_done = |writer: &&Writer| writer.is_done && (!self.forgets || writer.held_until == 0);
        let mut held_until = [0; MOST_WRITERS];
        for (until, writer) in held_until.iter_mut().zip(&self.writers).filter(|_| !self.forgets) {
            *until = writer.held_until;
        }
        Promise { done: self.writers.iter().filter(is_done).map(|writer| writer.change).max().unwrap_or(0), held_until }
    }

    /// What was promised to the reader when it began, and still is: what was stored since a writer released the tags may have been fetched
    /// meanwhile, from the new row.
    fn kept_promise(&self) -> Promise {
        let mut began = self.began.unwrap_or_default();
        for (until, now) in began.held_until.iter_mut().zip(self.promise().held_until) {
            *until = now.min(*until);
        }
        began
    }

    /// What has come too late to be wrong is not looked at further.
    fn read_entry(&mut self) -> Reply {
        let promise = self.kept_promise();
        self.is_over |= self.entry.is_none_or(|entry| promise.breach(&entry, Some(Validity::Valid)).is_none());
        Reply::Entry(self.entry, promise)
    }

    fn write(&mut self, writer: usize, op: &Op) -> Reply {
        match op {
            Op::Begun(until) => self.writers[writer].held_until = *until,
            Op::Renewed(until) => {
                let held_until = &mut self.writers[writer].held_until;
                *held_until = if self.time < *held_until { *until } else { *held_until };
            }
            Op::Commit { lags } => {
                self.primary += 1;
                self.writers[writer].change = self.primary;
                if !lags {
                    self.replica = self.primary;
                }
            }
            Op::Holds(until) => self.writers[writer].hold_until = Some(*until),
            Op::Done(until) => {
                self.writers[writer].held_until = *until;
                self.writers[writer].is_done = true;
            }
            Op::HoldEnd => {}
            Op::Releases => self.writers[writer].held_until = 0,
            Op::Leave => self.writers[writer].has_left = true,
            op => return self.perform(writer, op),
        }
        Reply::Done
    }
}

impl Promise {
    /// Says what is wrong if an entry of that validity is served.
    fn breach(&self, entry: &Entry, validity: Option<Validity>) -> Option<String> {
        let is_held = || self.held_until.iter().any(|until| entry.started < *until);
        match validity {
            Some(_) if entry.data < self.done => Some(format!("served {entry:?} as {validity:?} after {self:?}")),
            Some(Validity::Valid) if is_held() => Some(format!("served {entry:?} though {self:?}")),
            _ => None,
        }
    }
}

/// Who takes the steps of a call: a writer, whose process may end, or another.
#[derive(Debug)]
struct Caller {
    port: Port,
    writer: Option<usize>,
    is_reduced: bool,
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

    /// Reads the clock and the records together if the search is reduced, and the marks later; else all of them in any order.
    async fn read_with_clock(&self, tags: &[Tag]) -> Result<ClockAndRecords, Error> {
        let (early, late): (Vec<_>, Vec<_>) = tags.iter().map(place).partition(|place| self.is_reduced && is_record(*place));
        let early = [Op::Clock].into_iter().chain(early.into_iter().map(Op::Record)).collect();
        let late = late.into_iter().map(Op::Record);
        let replies = if self.is_reduced {
            let early = self.ask(Op::Together(early)).await.together();
            [early, self.call(late.collect()).await].concat()
        } else {
            self.call(early.into_iter().chain(late).collect()).await
        };
        let mut replies = replies.into_iter();
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
        Ok(())
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
        self.bytes().map(|bytes| Versioned::new(bytes, 0))
    }

    fn bytes(self) -> Option<Bytes> {
        let Self::Record(bytes) = self else { unreachable!("{self:?}") };
        bytes
    }

    fn together(self) -> Vec<Self> {
        let Self::Together(replies) = self else { unreachable!("{self:?}") };
        replies
    }
}

fn place(tag: &Tag) -> usize {
    tag.as_str().parse().unwrap()
}

fn is_record(place: usize) -> bool {
    place.is_multiple_of(2)
}

fn tags(numbers: &[usize]) -> Vec<Tag> {
    numbers.iter().map(|number| Tag::new((2 * number).to_string()).unwrap()).collect()
}

fn at(time: u8) -> Timestamp {
    Timestamp::from_millis(time.into())
}

/// The file, or a copy of it with a slip.
trait Algorithm: 'static {
    fn hold(caller: &Caller, tags: &[Tag], writer: u64, until: Timestamp) -> impl Future<Output = Result<(), Error>>;
    fn release(caller: &Caller, tags: &[Tag], writer: u64) -> impl Future<Output = Result<(), Error>>;
    fn admit(caller: &Caller, born: Epoch, tags: &[Tag], now: Timestamp) -> impl Future<Output = Result<Validity, PutOutcome>>;
}

macro_rules! algorithms {
    ($($name:ty: $module:ident),+ $(,)?) => {
        $(
            impl Algorithm for $name {
                async fn hold(caller: &Caller, tags: &[Tag], writer: u64, until: Timestamp) -> Result<(), Error> {
                    $module::hold(caller, tags, writer, until).await
                }

                async fn release(caller: &Caller, tags: &[Tag], writer: u64) -> Result<(), Error> {
                    $module::release(caller, tags, writer).await
                }

                async fn admit(caller: &Caller, born: Epoch, tags: &[Tag], now: Timestamp) -> Result<Validity, PutOutcome> {
                    $module::check_for_put(caller, born, tags, now).await.unwrap()
                }
            }
        )+
    };
}

struct Real;

algorithms!(Real: marking);

/// What a writer does one after another. Durations are in steps of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// Marks its tags for so long.
    Mark(u8),
    /// Marks them again; what was promised lasts longer, if the mark has not lapsed.
    Renew(u8),
    Expire,
    /// `begin_write` returns.
    Begin,
    Commit,
    /// Commits, and the replica shows it later.
    CommitWithLag,
    Invalidate,
    /// Marks them for so long; the hold ends a step earlier.
    Hold(u8),
    /// `done` returns.
    Done,
    AwaitHoldEnd,
    /// Promises nothing more about what is stored.
    Free,
    Release,
}

use Act::{AwaitHoldEnd, Begin, Commit, CommitWithLag, Done, Expire, Free, Hold, Invalidate, Mark, Release, Renew};

/// As the guard does, without a hold and with one.
const GUARD: &[Act] = &[Mark(1), Expire, Begin, Commit, Invalidate, Free, Release, Done];
const GUARD_WITH_HOLD: &[Act] =
    &[Mark(1), Expire, Begin, CommitWithLag, Hold(2), Invalidate, Done, AwaitHoldEnd, Invalidate, Free, Release];
const GUARD_RENEWED: &[Act] = &[Mark(2), Expire, Begin, Renew(2), Commit, Invalidate, Free, Release, Done];

const WITHOUT_GUARD: &[Act] = &[CommitWithLag, Invalidate, Done];
const MARKED_LAST: &[Act] = &[Expire, Mark(1), Begin, Commit, Invalidate, Free, Release, Done];
const NOT_EXPIRED: &[Act] = &[Mark(1), Begin, Commit, Invalidate, Free, Release, Done];
const RELEASED_FIRST: &[Act] = &[Mark(1), Expire, Begin, Commit, Release, Invalidate, Free, Done];
const WITHOUT_HOLD: &[Act] = &[Mark(1), Expire, Begin, CommitWithLag, Invalidate, Free, Release, Done];
/// The mark may have lapsed between the two.
const HELD_AFTER_THE_INVALIDATION: &[Act] =
    &[Mark(1), Expire, Begin, CommitWithLag, Invalidate, Hold(2), Done, AwaitHoldEnd, Invalidate, Free, Release];
const HOLD_ENDED_QUIETLY: &[Act] =
    &[Mark(1), Expire, Begin, CommitWithLag, Hold(2), Invalidate, Done, AwaitHoldEnd, Free, Release];

#[derive(Debug, Clone, Copy)]
struct Write {
    acts: &'static [Act],
    /// The numbers of its tags.
    tags: &'static [usize],
}

/// A stage is an act: a writer knows no more than how long it holds its tags from one to the next.
async fn write<A: Algorithm>(caller: Caller, memory: Memory, write: Write) -> End {
    let (acts, mut until) = if let Memory::Wrote { acts, until } = memory { (acts, until) } else { (0, 0) };
    let writer = caller.writer.unwrap() as u64 + 1;
    let tags = tags(write.tags);
    let Some(&act) = write.acts.get(usize::from(acts)) else {
        caller.ask(Op::Leave).await;
        return End::Done;
    };
    match act {
        Mark(life) | Renew(life) | Hold(life) => {
            until = caller.time().await + life;
            if let Hold(_) = act {
                caller.ask(Op::Holds(until - 1)).await;
            }
            A::hold(&caller, &tags, writer, at(until)).await.unwrap();
            if let Renew(_) = act {
                caller.ask(Op::Renewed(until)).await;
            }
        }
        Release => A::release(&caller, &tags, writer).await.unwrap(),
        Expire => _ = registers::invalidate(&caller, &Invalidation::ExpireTags { tags, at: at(0) }).await.unwrap(),
        Invalidate => _ = registers::invalidate(&caller, &Invalidation::Tags(tags)).await.unwrap(),
        Begin => _ = caller.ask(Op::Begun(until)).await,
        Commit => _ = caller.ask(Op::Commit { lags: false }).await,
        CommitWithLag => _ = caller.ask(Op::Commit { lags: true }).await,
        Done => _ = caller.ask(Op::Done(until)).await,
        AwaitHoldEnd => _ = caller.ask(Op::HoldEnd).await,
        Free => {
            until = 0;
            caller.ask(Op::Releases).await;
        }
    }
    End::Next(Memory::Wrote { acts: acts + 1, until })
}

async fn fetch<A: Algorithm>(caller: Caller, memory: Memory, tags: Vec<Tag>) -> End {
    match memory {
        Memory::Made(entry) => {
            let now = at(caller.time().await);
            if A::admit(&caller, entry.born, &tags, now).await.is_ok() {
                return End::Next(Memory::Admitted(entry));
            }
            caller.ask(Op::GiveUp(entry)).await;
            End::Done
        }
        Memory::Admitted(entry) => {
            caller.ask(Op::Store(entry)).await;
            End::Done
        }
        _ => {
            let reading = caller.read_with_clock(&tags).await.unwrap();
            let born = registers::ensure_records(&caller, &tags, reading).await.unwrap().clock;
            let Reply::Made(entry) = caller.ask(Op::Load(born)).await else { unreachable!() };
            End::Next(Memory::Made(entry))
        }
    }
}

/// Reads the records first and together if the search is reduced; else the entry and the records in any order. The clock has one incarnation only.
async fn read(caller: Caller, tags: Vec<Tag>) -> End {
    let begin = |op| Op::Begin(Box::new(op));
    let records: Vec<_> = tags.iter().map(|tag| Op::Record(place(tag))).collect();
    let mut replies = if caller.is_reduced {
        let records = caller.ask(begin(Op::Records(records))).await.together();
        [records, vec![caller.ask(begin(Op::Entry)).await]].concat()
    } else {
        caller.call(records.into_iter().chain([Op::Entry]).map(begin).collect()).await
    };
    let Some(Reply::Entry(entry, promise)) = replies.pop() else { unreachable!() };
    let Some(entry) = entry else { return End::Unnoticed };
    let records = replies.into_iter().map(Reply::record).collect();
    let validity = ClockAndRecords { clock: entry.born, records }.validity(entry.born);
    promise.breach(&entry, validity).map_or(End::Unnoticed, End::Broken)
}

#[derive(Debug, Clone, Copy)]
struct Scene {
    /// Fetches of entries that have all tags.
    fetches: u8,
    writes: &'static [Write],
    /// How often the clocks go on.
    time: u8,
    crashes: u8,
    evictions: u8,
    is_reduced: bool,
}

const WRITES: Write = Write { acts: GUARD, tags: &[0] };
const HOLDS: Write = Write { acts: GUARD_WITH_HOLD, tags: &[0] };
const RENEWS: Write = Write { acts: GUARD_RENEWED, tags: &[0] };
/// Then entries have both tags.
const WRITES_BOTH: Write = Write { acts: GUARD, tags: &[0, 1] };

/// A fetch and a writer, whose lease or hold can end.
const PLAIN: Scene = Scene { fetches: 1, writes: &[WRITES], time: 1, crashes: 0, evictions: 0, is_reduced: true };
const TWO_FETCHES: Scene = Scene { fetches: 2, ..PLAIN };

impl Scene {
    fn search<A: Algorithm>(self) -> Result<usize, String> {
        let is_reduced = self.is_reduced && self.evictions == 0;
        let last = self.writes.iter().flat_map(|write| write.tags).max().unwrap();
        let all: Vec<_> = (0..=*last).collect();
        let mut actors = Vec::new();
        for (number, &by) in self.writes.iter().enumerate() {
            actors.push(Actor::new(format!("Write {number}"), move |port, memory| {
                write::<A>(Caller { port, writer: Some(number), is_reduced }, memory, by)
            }));
        }
        for _ in 0..self.fetches {
            let tags = tags(&all);
            actors.push(Actor::new("Fetch".to_owned(), move |port, memory| {
                fetch::<A>(Caller { port, writer: None, is_reduced }, memory, tags.clone())
            }));
        }
        let read_tags = tags(&all);
        actors.push(Actor::new("Read".to_owned(), move |port, _| {
            read(Caller { port, writer: None, is_reduced }, read_tags.clone())
        }));
        let record = Record::settled(Epoch::of(1, 0)).to_bytes();
        let world = Store {
            clock: 10,
            cells: all.iter().flat_map(|_| [Some(record.clone()), None]).collect(),
            entry: None,
            fetches: self.fetches,
            time: 0,
            last_time: self.time,
            primary: 0,
            replica: 0,
            writers: vec![Writer::default(); self.writes.len()],
            crashes: self.crashes,
            evictions: self.evictions,
            forgets: self.evictions > 0,
            is_reduced,
            made: Vec::new(),
            began: None,
            read: Vec::new(),
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

    const fn unreduced(self) -> Self {
        Self { is_reduced: false, ..self }
    }

    const fn of(self, writes: &'static [Write]) -> Self {
        Self { writes, ..self }
    }
}

fn soak() -> bool {
    std::env::var_os("LARDER_SOAK").is_some()
}

#[test]
fn nothing_old_is_served_after_a_write() {
    for writes in [&[WRITES], &[HOLDS], &[RENEWS]] {
        Scene { time: 2, ..PLAIN.of(writes) }.holds();
        TWO_FETCHES.of(writes).holds();
    }
    if soak() {
        Scene { time: 3, ..TWO_FETCHES.of(&[HOLDS]) }.holds();
        Scene { fetches: 3, ..PLAIN }.holds();
    }
}

#[test]
fn nothing_old_is_served_after_a_writer_has_died_at_any_step() {
    for writes in [&[WRITES], &[HOLDS], &[RENEWS]] {
        Scene { crashes: 1, time: 2, ..PLAIN.of(writes) }.holds();
    }
    Scene { crashes: 1, ..TWO_FETCHES.of(&[HOLDS]) }.holds();
    Scene { crashes: 1, time: 2, ..TWO_FETCHES.of(&[RENEWS]) }.holds();
    if soak() {
        Scene { crashes: 1, time: 3, ..TWO_FETCHES.of(&[HOLDS]) }.holds();
        Scene { crashes: 1, time: 3, ..TWO_FETCHES.of(&[RENEWS]) }.holds();
    }
}

#[test]
fn nothing_old_is_served_after_one_of_two_writes() {
    Scene { time: 0, ..PLAIN.of(&[WRITES, WRITES]) }.holds();
    Scene { time: 0, ..PLAIN.of(&[HOLDS, WRITES]) }.holds();
    Scene { time: 0, crashes: 1, ..PLAIN.of(&[HOLDS, WRITES]) }.holds();
    if soak() {
        Scene { crashes: 1, ..PLAIN.of(&[HOLDS, WRITES]) }.holds();
        Scene { time: 0, ..TWO_FETCHES.of(&[WRITES, WRITES]) }.holds();
    }
}

#[test]
fn nothing_old_is_served_after_one_of_two_writes_that_share_a_tag() {
    Scene { time: 0, ..PLAIN.of(&[WRITES, WRITES_BOTH]) }.holds();
    if soak() {
        Scene { time: 0, crashes: 1, ..PLAIN.of(&[HOLDS, WRITES_BOTH]) }.holds();
    }
}

#[test]
fn evicted_marks_cost_the_promise_for_the_hold_alone() {
    Scene { evictions: 1, ..PLAIN.of(&[HOLDS]) }.holds();
    if soak() {
        Scene { evictions: 2, ..PLAIN.of(&[HOLDS]) }.holds();
    }
}

#[test]
fn the_smallest_scenes_hold_without_the_reduction() {
    PLAIN.unreduced().holds();
    Scene { crashes: 1, ..PLAIN.of(&[HOLDS]).unreduced() }.holds();
    if soak() {
        Scene { time: 0, ..PLAIN.of(&[WRITES, WRITES]).unreduced() }.holds();
        TWO_FETCHES.unreduced().holds();
    }
}

#[test]
fn a_writer_without_the_guard_is_noticed() {
    PLAIN.of(&[Write { acts: WITHOUT_GUARD, ..WRITES }]).shows::<Real>();
}

#[test]
fn a_writer_without_a_hold_for_its_replica_is_noticed() {
    PLAIN.of(&[Write { acts: WITHOUT_HOLD, ..WRITES }]).shows::<Real>();
    PLAIN.of(&[Write { acts: HOLD_ENDED_QUIETLY, ..WRITES }]).shows::<Real>();
}

#[test]
fn a_guard_without_one_of_its_steps_or_in_another_order_is_noticed() {
    PLAIN.of(&[Write { acts: NOT_EXPIRED, ..WRITES }]).shows::<Real>();
    PLAIN.of(&[Write { acts: MARKED_LAST, ..WRITES }]).shows::<Real>();
    PLAIN.of(&[Write { acts: RELEASED_FIRST, ..WRITES }]).shows::<Real>();
    TWO_FETCHES.of(&[Write { acts: HELD_AFTER_THE_INVALIDATION, ..WRITES }]).shows::<Real>();
}

/// The copies with a slip, each with a scene that must show it.
mod slips {
    use super::*;

    const DIES: Scene = Scene { crashes: 1, ..TWO_FETCHES };
    const TWO_WRITERS: Scene = Scene { time: 0, ..PLAIN.of(&[HOLDS, WRITES]) };

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
        records_read_before_the_marks: PLAIN.of(&[HOLDS]);
        lapsed_and_forgotten: DIES;
        forgotten_before_the_invalidation: DIES;
        released_for_all: TWO_WRITERS;
        marked_whatever_is_there: TWO_WRITERS;
    }
}
