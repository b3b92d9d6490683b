//! Every order of the steps of nodes and of one primary whose clock goes back: a read is never answered from data that was changed
//! before an invalidation that had returned when the read began.
//!
//! Two ways back are searched. The data of a running server are replaced by an earlier snapshot; or a second server is promoted, the first
//! one remains a primary on its own, misses invalidations, and is named again without having been demoted. The network is not modeled:
//! all nodes leave a server as soon as another one is named.
//!
//! The nodes' memory of the latest clock is the real file, as are the rule about entries and the bytes that scripts are passed. The
//! scripts are modeled after `lua/clock.lua`, each as one step. `build.rs` writes copies of the file with one slip each, and the last
//! tests show that these scenes notice every one of them.

#![allow(clippy::unnecessary_min_or_max, clippy::semicolon_if_nothing_returned, reason = "the slips are edits of text")]
#![allow(clippy::unwrap_used, reason = "an actor that panics has failed its model")]

mod steps;

mod entry {
    pub(crate) mod epoch {
        pub(crate) use larder::backend::Epoch;
    }
}

mod backend {
    pub(crate) use crate::{expiries, validity};
}

/// The types of `redis/clock.rs`, whose decoder needs the client library, and larder's own clock.
mod clock {
    pub(crate) use larder::backend::{Epoch, Timestamp};

    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub(crate) struct Term(pub(crate) [u8; 8]);

    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub(crate) struct ClockReading {
        pub(crate) term: Term,
        pub(crate) epoch: Epoch,
        pub(crate) sequence: u64,
    }
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

#[path = "../../../src/backend/redis/seen.rs"]
#[allow(dead_code, reason = "the model need not call everything")]
mod seen;

use std::{fmt::Debug, hash::Hash, panic::Location};

use clock::{ClockReading, Term};
use larder::backend::Epoch;
use steps::{Actor, World, search};
use tag_record::{TagRecord, validity};

/// A node's memory of the latest clock: the real file, or a copy of it with a slip.
trait Memory: Copy + Clone + Debug + Hash + Eq + Send + Sync + 'static {
    fn nothing() -> Self;
    fn new(term: Term, number: u64) -> Self;
    fn to_bytes(self, rule: u64) -> [u8; 24];
    fn is_before(self, reading: &ClockReading) -> bool;
}

macro_rules! memories {
    ($($seen:ident),+ $(,)?) => {
        $(
            impl Memory for $seen::Seen {
                fn nothing() -> Self {
                    Self::NOTHING
                }

                fn new(term: Term, number: u64) -> Self {
                    Self { term, number }
                }

                fn to_bytes(self, rule: u64) -> [u8; 24] {
                    self.to_bytes(rule)
                }

                fn is_before(self, reading: &ClockReading) -> bool {
                    self.is_before(reading)
                }
            }

            impl Hash for $seen::Seen {
                fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
                    (self.term, self.number).hash(hasher);
                }
            }
        )+
    };
}

memories!(seen);

/// Two servers, two nodes, the data that handlers read, and what was promised.
#[derive(Debug, Clone, Hash)]
struct Redis {
    servers: [Server; 2],
    /// The server that is named the primary, and how often another one was named before.
    primary: usize,
    config_epoch: u64,
    /// Whether sentinels name the primary, so that nodes know the config epoch and can ask again.
    sentinels: bool,
    /// A slip: what a script has written counts even if the node has left the server since.
    counts_left_servers: bool,
    nodes: [Node; 2],
    /// The source of terms, incarnations and reigns, none of which is drawn twice.
    drawn: u64,
    /// How often the data were changed, and which change was whose.
    data: u8,
    changes: [u8; 2],
    /// The latest change whose invalidation has returned.
    returned: u8,
    left: Accidents,
}

#[derive(Debug, Clone, Hash)]
struct Server {
    /// Identifies the server as a primary: it ends with a promotion.
    reign: u64,
    store: Store,
    /// The data that an accident can bring back.
    snapshot: Store,
}

#[derive(Debug, Clone, Hash)]
struct Store {
    clock: Option<Clock>,
    record: Option<Record>,
    entry: Option<Entry>,
}

/// The clock as `lua/clock.lua` stores it, without the length of the announcements.
#[derive(Debug, Clone, Hash)]
struct Clock {
    term: u64,
    incarnation: u64,
    epoch: u64,
    reign: u64,
    rule: u64,
    past: Vec<(u64, u64)>,
}

#[derive(Debug, Clone, Copy, Hash)]
struct Record {
    incarnation: u64,
    hard: u64,
}

#[derive(Debug, Clone, Copy, Hash, PartialEq, Eq)]
struct Entry {
    born: Epoch,
    data: u8,
}

/// What a node keeps between its commands.
#[derive(Debug, Clone, Copy, Hash)]
struct Node {
    connection: Option<Connection>,
    /// The number of handshakes, of which only one is made at a time.
    connections: u8,
    is_greeting: bool,
    /// The term of the latest handshake, and the highest epoch that was observed.
    term: Option<u64>,
    seen: u64,
}

#[derive(Debug, Clone, Copy, Hash, PartialEq, Eq)]
struct Connection {
    number: u8,
    server: usize,
    config_epoch: u64,
    term: u64,
}

/// Where a command is sent, and what the node had observed before.
#[derive(Debug, Clone, Copy, Hash, PartialEq, Eq)]
struct SentOn {
    connection: Connection,
    seen: u64,
}

/// How many accidents may still happen.
#[derive(Debug, Clone, Copy, Default, Hash)]
struct Accidents {
    /// The data of the primary go back to the snapshot, while it runs.
    restorations: u8,
    /// The replica is promoted, and the former primary remains one on its own.
    failovers: u8,
    /// The former primary is named again.
    failbacks: u8,
    /// The replica, which has the data of the beginning, receives those of the primary.
    replications: u8,
    /// A script of a node that is not modeled advances the clock of the server that is not the primary.
    strays: u8,
}

#[derive(Debug, Clone, Copy)]
enum Accident {
    Restore,
    Failover,
    Failback,
    Replicate,
    Stray,
}

#[derive(Debug, Clone)]
enum Op {
    /// A command begins, on the connection that the node has, or with a handshake.
    Connect(usize),
    /// A handshake with the primary, which is passed the latest clock.
    Handshake(usize, [u8; 24]),
    /// The reply of a command was compared with what was observed before it was sent. What a script has written counts only if the
    /// node is still connected to that server.
    Note {
        node: usize,
        sent_on: SentOn,
        /// The clock in the reply, unless it has gone back.
        reading: Option<ClockReading>,
        is_script: bool,
    },
    /// A lookup: one `MGET`, which no script checks.
    Read(SentOn),
    Prepare(SentOn, [u8; 24]),
    Put(SentOn, [u8; 24], Entry),
    /// A writer changes the data, and invalidates.
    Invalidate(SentOn, [u8; 24]),
    /// The sentinels are asked whether the server is still the primary.
    Confirm(usize, SentOn),
    Return,
    Load,
    Began,
}

#[derive(Debug, Clone, Copy, Hash)]
enum Reply {
    /// The connection; without one, what a handshake passes: the term and the number.
    Connected(Result<SentOn, (Option<u64>, u64)>),
    ClockReading(ClockReading),
    Values(Option<ClockReading>, Option<Entry>, Option<Record>),
    Data(u8),
    Yes(bool),
    Done,
}

#[derive(Debug, Clone, Copy, Default, Hash, PartialEq, Eq)]
struct Stage;

type Port = steps::Port<Redis>;
type End = steps::End<Stage>;

impl World for Redis {
    type Op = Op;
    type Reply = Reply;
    type Accident = Accident;
    type Memory = Stage;

    fn perform(&mut self, actor: usize, op: &Op) -> Reply {
        match *op {
            Op::Connect(node) => Reply::Connected(self.connect(node)),
            Op::Handshake(node, seen) => self.handshake(node, seen),
            Op::Note { node, sent_on, reading, is_script } => Reply::Yes(self.note(node, sent_on, reading, is_script)),
            Op::Read(sent_on) => {
                let Store { clock, record, entry } = &self.servers[sent_on.connection.server].store;
                Reply::Values(clock.as_ref().map(Clock::reading), *entry, *record)
            }
            Op::Prepare(sent_on, seen) => {
                let clock = self.clock_here(sent_on.connection.server, seen);
                let store = &mut self.servers[sent_on.connection.server].store;
                if store.record.is_none_or(|record| record.incarnation != clock.incarnation) {
                    store.record = Some(Record { incarnation: clock.incarnation, hard: clock.epoch });
                }
                Reply::ClockReading(clock.reading())
            }
            Op::Put(sent_on, seen, entry) => {
                self.put(sent_on.connection.server, seen, entry);
                Reply::Done
            }
            Op::Invalidate(sent_on, seen) => {
                if self.changes[actor] == 0 {
                    self.data += 1;
                    self.changes[actor] = self.data;
                }
                Reply::ClockReading(self.invalidate(sent_on.connection.server, seen))
            }
            Op::Confirm(node, sent_on) => {
                let Connection { server, config_epoch, number, .. } = sent_on.connection;
                let is_primary = self.primary == server && self.config_epoch == config_epoch;
                let is_current = self.nodes[node].connection.is_some_and(|current| current.number == number);
                Reply::Yes(!self.sentinels || is_primary && is_current)
            }
            Op::Return => {
                self.returned = self.returned.max(self.changes[actor]);
                Reply::Done
            }
            Op::Load => Reply::Data(self.data),
            Op::Began => Reply::Data(self.returned),
        }
    }

    /// A handler reads as early as it can; a reply is noted, and an invalidation has returned, as early as it can.
    fn is_at_once(&self, op: &Op) -> bool {
        matches!(op, Op::Load | Op::Return | Op::Note { .. })
    }

    /// Before anything has returned, nothing was promised. A command waits while another one of its node makes a handshake.
    fn lets(&self, op: &Op) -> bool {
        match *op {
            Op::Began => self.returned > 0,
            Op::Connect(node) => !self.nodes[node].is_greeting,
            _ => true,
        }
    }

    fn is_over(&self) -> bool {
        false
    }

    fn accidents(&self) -> Vec<Accident> {
        let Accidents { restorations, failovers, failbacks, replications, strays } = self.left;
        let mut accidents = Vec::new();
        accidents.extend((restorations > 0).then_some(Accident::Restore));
        accidents.extend((failovers > 0 && self.config_epoch == 0).then_some(Accident::Failover));
        accidents.extend((failbacks > 0 && self.config_epoch == 1).then_some(Accident::Failback));
        accidents.extend((replications > 0 && self.config_epoch == 0).then_some(Accident::Replicate));
        accidents.extend((strays > 0 && self.config_epoch > 0).then_some(Accident::Stray));
        accidents
    }

    fn happen(&mut self, accident: Accident) {
        match accident {
            Accident::Restore => {
                self.left.restorations -= 1;
                let server = &mut self.servers[self.primary];
                server.store = server.snapshot.clone();
            }
            Accident::Failover => {
                self.left.failovers -= 1;
                self.servers[1].reign = self.draw();
                self.name(1);
            }
            Accident::Failback => {
                self.left.failbacks -= 1;
                self.name(0);
            }
            Accident::Replicate => {
                self.left.replications -= 1;
                self.servers[1].store = self.servers[0].store.clone();
            }
            Accident::Stray => {
                self.left.strays -= 1;
                let server = 1 - self.primary;
                let mut clock = self.clock_here(server, [0; 24]);
                clock.epoch += 2;
                self.servers[server].store.clock = Some(clock);
            }
        }
    }
}

/// The nodes.
impl Redis {
    fn name(&mut self, primary: usize) {
        self.primary = primary;
        self.config_epoch += 1;
        self.nodes.iter_mut().for_each(|node| node.connection = None);
    }

    fn connect(&mut self, node: usize) -> Result<SentOn, (Option<u64>, u64)> {
        let node = &mut self.nodes[node];
        let Some(connection) = node.connection else {
            node.is_greeting = true;
            return Err((node.term, node.seen));
        };
        Ok(SentOn { connection, seen: node.seen })
    }

    fn handshake(&mut self, node: usize, seen: [u8; 24]) -> Reply {
        let mut seen = seen;
        let rule = if self.sentinels && seen[16..] != [0; 8] { self.config_epoch } else { 0 };
        seen[16..].copy_from_slice(&rule.to_be_bytes());
        let clock = self.clock_here(self.primary, seen);
        let (server, config_epoch) = (self.primary, self.config_epoch);
        let node = &mut self.nodes[node];
        node.connections += 1;
        node.is_greeting = false;
        let connection = Connection { number: node.connections, server, config_epoch, term: clock.term };
        (node.connection, node.term, node.seen) = (Some(connection), Some(clock.term), node.seen.max(clock.epoch));
        Reply::Connected(Ok(SentOn { connection, seen: node.seen }))
    }

    /// Remembers what was observed if the reply counts; otherwise the connection is given up.
    fn note(&mut self, node: usize, sent_on: SentOn, reading: Option<ClockReading>, is_script: bool) -> bool {
        let node = &mut self.nodes[node];
        let is_current = node.connection.is_some_and(|current| current.number == sent_on.connection.number);
        let counts = reading.filter(|_| is_current || !is_script || self.counts_left_servers);
        match counts {
            Some(reading) => node.seen = node.seen.max(reading.epoch.get()),
            None if is_current => node.connection = None,
            None => {}
        }
        counts.is_some()
    }
}

/// The scripts.
impl Redis {
    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }

    /// `clock_here` of `lua/clock.lua`, line by line.
    fn clock_here(&mut self, server: usize, seen: [u8; 24]) -> Clock {
        let [term, epoch, rule] = numbers(seen);
        let Server { reign, store, .. } = &self.servers[server];
        let reign = *reign;
        let new = Clock { term: 0, incarnation: 0, epoch: 0, reign, rule: 0, past: Vec::new() };
        let mut clock = store.clock.clone().unwrap_or(new);
        let is_written_here = store.clock.is_some() && clock.reign == reign;
        clock.reign = reign;
        if is_written_here && rule <= clock.rule {
            if epoch > 0 && !clock.covers(term, epoch) {
                clock.continue_after(term, epoch);
                self.restart(&mut clock);
                self.servers[server].store.clock = Some(clock.clone());
            }
            return clock;
        }
        if self.servers[server].store.clock.is_some() {
            let last = std::mem::take(&mut clock.term);
            clock.continue_after(last, clock.epoch);
        }
        if epoch > 0 && !clock.covers(term, epoch) {
            clock.continue_after(term, epoch);
        }
        clock.rule = clock.rule.max(rule);
        self.restart(&mut clock);
        clock.term = self.draw();
        self.servers[server].store.clock = Some(clock.clone());
        clock
    }

    /// `anew` of `lua/clock.lua`.
    fn restart(&mut self, clock: &mut Clock) {
        clock.incarnation = self.draw();
        clock.epoch += 1;
    }

    /// `put.lua`, of an entry with one tag.
    fn put(&mut self, server: usize, seen: [u8; 24], entry: Entry) {
        let clock = self.clock_here(server, seen);
        let store = &mut self.servers[server].store;
        if entry.born.incarnation() != clock.incarnation {
            return;
        }
        let known = store.record.filter(|record| record.incarnation == clock.incarnation);
        let record = known.unwrap_or(Record { incarnation: clock.incarnation, hard: clock.epoch });
        store.record = Some(record);
        if record.hard <= entry.born.get() {
            store.entry = Some(entry);
        }
    }

    /// `invalidate.lua`, of one tag.
    fn invalidate(&mut self, server: usize, seen: [u8; 24]) -> ClockReading {
        let mut clock = self.clock_here(server, seen);
        clock.epoch += 1;
        let store = &mut self.servers[server].store;
        if let Some(record) = store.record.as_mut().filter(|record| record.incarnation == clock.incarnation) {
            record.hard = clock.epoch;
        }
        let reading = clock.reading();
        store.clock = Some(clock);
        reading
    }
}

impl Clock {
    fn reading(&self) -> ClockReading {
        ClockReading { term: Term(self.term.to_be_bytes()), epoch: Epoch::of(self.incarnation, self.epoch), sequence: 0 }
    }

    fn covers(&self, term: u64, epoch: u64) -> bool {
        if term == self.term {
            return epoch <= self.epoch;
        }
        self.past.iter().find(|(past, _)| *past == term).is_some_and(|(_, up_to)| epoch <= *up_to)
    }

    /// `continue` of `lua/clock.lua`.
    fn continue_after(&mut self, term: u64, epoch: u64) {
        self.epoch = self.epoch.max(epoch);
        if term != self.term {
            self.past.retain(|(past, _)| *past != term);
            self.past.insert(0, (term, epoch));
        }
    }
}

fn numbers(bytes: [u8; 24]) -> [u64; 3] {
    let (numbers, _) = bytes.as_chunks();
    [0, 1, 2].map(|at| u64::from_be_bytes(numbers[at]))
}

/// How often a command is repeated while the server changes.
const ATTEMPTS: usize = 3;

/// The connection of a node, after a handshake if there is none.
async fn connect<M: Memory>(port: &Port, node: usize) -> SentOn {
    let Reply::Connected(sent_on) = port.ask(Op::Connect(node)).await else { unreachable!() };
    let (term, number) = match sent_on {
        Ok(sent_on) => return sent_on,
        Err(last) => last,
    };
    let seen = term.map_or(M::nothing(), |term| M::new(Term(term.to_be_bytes()), number));
    // The world fills in the config epoch, if it is passed at all.
    let Reply::Connected(Ok(sent_on)) = port.ask(Op::Handshake(node, seen.to_bytes(u64::MAX))).await else { unreachable!() };
    sent_on
}

fn seen<M: Memory>(sent_on: SentOn) -> M {
    M::new(Term(sent_on.connection.term.to_be_bytes()), sent_on.seen)
}

/// Returns whether the reply of a command counts.
async fn note<M: Memory>(port: &Port, node: usize, sent_on: SentOn, reading: Option<ClockReading>, is_script: bool) -> bool {
    let reading = reading.filter(|reading| seen::<M>(sent_on).is_before(reading));
    let Reply::Yes(counts) = port.ask(Op::Note { node, sent_on, reading, is_script }).await else { unreachable!() };
    counts
}

/// Runs a script on the server until its reply counts.
async fn script<M: Memory>(port: &Port, node: usize, op: impl Fn(SentOn, [u8; 24]) -> Op) -> Option<(SentOn, ClockReading)> {
    for _ in 0..ATTEMPTS {
        let sent_on = connect::<M>(port, node).await;
        let Reply::ClockReading(reading) = port.ask(op(sent_on, seen::<M>(sent_on).to_bytes(0))).await else { unreachable!() };
        if note::<M>(port, node, sent_on, Some(reading), true).await {
            return Some((sent_on, reading));
        }
    }
    None
}

async fn write<M: Memory>(port: Port, node: usize) -> End {
    for _ in 0..ATTEMPTS {
        let Some((sent_on, _)) = script::<M>(&port, node, Op::Invalidate).await else { return End::Done };
        let Reply::Yes(true) = port.ask(Op::Confirm(node, sent_on)).await else { continue };
        port.ask(Op::Return).await;
        return End::Done;
    }
    End::Done
}

async fn fetch<M: Memory>(port: Port, node: usize) -> End {
    let Some((_, reading)) = script::<M>(&port, node, Op::Prepare).await else { return End::Done };
    let Reply::Data(data) = port.ask(Op::Load).await else { unreachable!() };
    let sent_on = connect::<M>(&port, node).await;
    let entry = Entry { born: reading.epoch, data };
    port.ask(Op::Put(sent_on, seen::<M>(sent_on).to_bytes(0), entry)).await;
    End::Done
}

async fn read<M: Memory>(port: Port, node: usize, reports_hits: bool) -> End {
    let Reply::Data(returned) = port.ask(Op::Began).await else { unreachable!() };
    for _ in 0..ATTEMPTS {
        let sent_on = connect::<M>(&port, node).await;
        let Reply::Values(reading, entry, record) = port.ask(Op::Read(sent_on)).await else { unreachable!() };
        if !note::<M>(&port, node, sent_on, reading, false).await {
            continue;
        }
        let (Some(reading), Some(entry)) = (reading, entry) else { return End::Unnoticed };
        let record = record.filter(|record| record.incarnation == reading.epoch.incarnation());
        let record = record.map(|record| TagRecord::invalidated_at(record.hard));
        let is_served = validity(entry.born, reading.epoch, 0, [record]).is_some();
        return match is_served && (entry.data < returned || reports_hits) {
            true => End::Broken(format!("served {entry:?} after change {returned} had been invalidated")),
            false => End::Unnoticed,
        };
    }
    End::Unnoticed
}

/// Who does what, and what may happen.
#[derive(Debug, Clone, Copy)]
struct Scene {
    /// On which node each fetches, writes and reads.
    fetches: &'static [usize],
    writes: &'static [usize],
    reader: usize,
    sentinels: bool,
    accidents: Accidents,
    counts_left_servers: bool,
    /// Reports each hit, to show that there are some.
    reports_hits: bool,
}

impl Scene {
    const fn fetches(self, fetches: &'static [usize]) -> Self {
        Self { fetches, ..self }
    }

    const fn writes(self, writes: &'static [usize]) -> Self {
        Self { writes, ..self }
    }

    const fn reader(self, reader: usize) -> Self {
        Self { reader, ..self }
    }

    const fn accidents(self, accidents: Accidents) -> Self {
        Self { accidents, ..self }
    }

    fn search<M: Memory>(self) -> Result<usize, String> {
        let mut actors = Vec::new();
        actors.extend(self.writes.iter().map(|&node| Actor::new(format!("Write {node}"), move |port, _| write::<M>(port, node))));
        actors
            .extend(self.fetches.iter().map(|&node| Actor::new(format!("Fetch {node}"), move |port, _| fetch::<M>(port, node))));
        actors.push(Actor::new("Read".to_owned(), move |port, _| read::<M>(port, self.reader, self.reports_hits)));
        search(&self.world(), &actors)
    }

    /// An entry is stored on a primary to which both nodes are connected, and on its replica.
    fn world(self) -> Redis {
        let clock = Clock { term: 1, incarnation: 2, epoch: 10, reign: 3, rule: 0, past: Vec::new() };
        let entry = Entry { born: Epoch::of(2, 10), data: 0 };
        let store = Store { clock: Some(clock), record: Some(Record { incarnation: 2, hard: 9 }), entry: Some(entry) };
        let server = Server { reign: 3, store: store.clone(), snapshot: store };
        let connection = Connection { number: 1, server: 0, config_epoch: 0, term: 1 };
        Redis {
            servers: [server.clone(), server],
            primary: 0,
            config_epoch: 0,
            sentinels: self.sentinels,
            counts_left_servers: self.counts_left_servers,
            nodes: [Node { connection: Some(connection), connections: 1, is_greeting: false, term: Some(1), seen: 10 }; 2],
            drawn: 3,
            data: 0,
            changes: [0; 2],
            returned: 0,
            left: self.accidents,
        }
    }

    #[track_caller]
    fn holds(self) {
        match self.search::<seen::Seen>() {
            Ok(states) => println!("{states} states in the scene of line {}", Location::caller().line()),
            Err(trace) => panic!("{self:?}: {trace}"),
        }
    }

    #[track_caller]
    fn shows<M: Memory>(self) {
        let trace = self.search::<M>().expect_err("a slip that makes no difference");
        println!("{trace}");
        assert!(trace.starts_with("served"), "{trace}");
    }
}

const NONE: Accidents = Accidents { restorations: 0, failovers: 0, failbacks: 0, replications: 0, strays: 0 };

/// The node that writes reads.
const PLAIN: Scene = Scene {
    fetches: &[],
    writes: &[0],
    reader: 0,
    sentinels: false,
    accidents: NONE,
    counts_left_servers: false,
    reports_hits: false,
};
const RESTORED: Scene = PLAIN.accidents(Accidents { restorations: 1, ..NONE });
/// A node comes back to a primary that it left for another one.
const FAILED_BACK: Scene = PLAIN.accidents(Accidents { failovers: 1, failbacks: 1, replications: 1, strays: 1, ..NONE });
/// With sentinels, a node that saw nothing of the other primary reads.
const SENTINELS: Scene = Scene { sentinels: true, reader: 1, ..FAILED_BACK };

/// More of what makes scenes large.
fn soak() -> bool {
    std::env::var_os("LARDER_SOAK").is_some()
}

#[test]
fn nothing_goes_back() {
    PLAIN.holds();
    PLAIN.reader(1).fetches(&[0, 1]).holds();
    PLAIN.reader(1).writes(&[0, 1]).fetches(&[1]).holds();
}

#[test]
fn the_data_of_a_running_server_go_back() {
    RESTORED.holds();
    RESTORED.fetches(&[0]).holds();
    RESTORED.fetches(&[1]).holds();
    RESTORED.accidents(Accidents { restorations: 2, ..NONE }).fetches(&[1]).holds();
    if soak() {
        RESTORED.accidents(Accidents { restorations: 2, ..NONE }).fetches(&[0, 1]).holds();
    }
}

#[test]
fn a_former_primary_returns_that_was_never_demoted() {
    FAILED_BACK.holds();
    FAILED_BACK.fetches(&[0]).holds();
    FAILED_BACK.fetches(&[1]).holds();
    if soak() {
        FAILED_BACK.fetches(&[0, 1]).holds();
    }
}

#[test]
fn sentinels_name_a_former_primary_again() {
    SENTINELS.holds();
    SENTINELS.reader(0).holds();
    SENTINELS.fetches(&[1]).holds();
    if soak() {
        SENTINELS.fetches(&[0, 1]).holds();
        SENTINELS.writes(&[0, 0]).fetches(&[1]).holds();
    }
}

/// Otherwise the scenes above would hold for want of hits.
#[test]
fn entries_are_served() {
    Scene { reports_hits: true, ..PLAIN.fetches(&[0]) }.shows::<seen::Seen>();
    Scene { reports_hits: true, ..SENTINELS.fetches(&[1]) }.shows::<seen::Seen>();
}

#[test]
fn an_invalidation_on_a_server_that_the_node_has_left_is_noticed() {
    Scene { counts_left_servers: true, ..FAILED_BACK.fetches(&[0]) }.shows::<seen::Seen>();
}

/// The copies with a slip, each with a scene that must show it.
mod slips {
    use super::*;

    macro_rules! slips {
        ($($slip:ident: $scene:expr;)+) => {
            $(
                #[allow(dead_code, reason = "the model need not call everything")]
                mod $slip {
                    include!(concat!(env!("OUT_DIR"), "/", stringify!($slip), ".rs"));
                }
            )+

            memories!($($slip),+);

            $(
                #[test]
                fn $slip() {
                    $scene.shows::<$slip::Seen>();
                }
            )+
        };
    }

    slips! {
        answers_not_compared: RESTORED;
        scripts_not_told: FAILED_BACK;
        config_epoch_not_told: SENTINELS;
    }
}
