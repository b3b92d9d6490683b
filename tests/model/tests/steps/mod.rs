//! Exhaustive search over the orders in which actors, written as async functions, take their steps.
//!
//! A future cannot be copied. So a state is what the actors share, and for each actor what it was told so far: run from its
//! beginning and told the same, it comes to the same point. States are told apart by a hash of that, and are met in the order
//! of their distance from the beginning: a trace that is found is the shortest one.
#![allow(dead_code, unreachable_pub, unused_macros, reason = "each test binary uses its own part")]

use std::{
    collections::{HashSet, VecDeque},
    fmt::{self, Debug, Write as _},
    future::{Future, poll_fn},
    hash::{BuildHasher, BuildHasherDefault, Hash, Hasher},
    mem,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use foldhash::fast::FixedState;

/// Declares the files of larder that decide by records of tags, and what they use of the rest of larder under the names by which they do.
///
/// In the root of a test, beside a module `tag`. Paths are relative to the file that invokes it.
macro_rules! files_of_records {
    () => {
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
        #[allow(unused_imports, reason = "each test has its own files beside these")]
        mod backend {
            pub(crate) mod contract {
                pub(crate) use larder::backend::{Invalidation, PutOutcome};
            }
            pub(crate) mod remote {
                pub(crate) use crate::registers;
            }
            pub(crate) use crate::{expiries, tag_record, validity, write_marks};
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
    };
}

/// What the actors share, and what can be asked of it.
pub trait World: Clone + Hash + Debug + 'static {
    /// A part of a call, which takes effect at once.
    type Op: Clone + Debug + Send + 'static;
    type Reply: Clone + Hash + Debug + Send + Sync + 'static;
    /// What happens without an actor.
    type Accident: Copy + Debug;

    /// What an actor takes along from one stage of its way to the next; the first is the default.
    type Memory: Clone + Default + Hash + Debug + PartialEq + 'static;

    fn perform(&mut self, actor: usize, op: &Self::Op) -> Self::Reply;

    /// Whether it takes effect at once, as part of the step that led to it.
    fn is_at_once(&self, op: &Self::Op) -> bool;

    /// Whether it may happen now. What may not does not hold up others.
    fn lets(&self, op: &Self::Op) -> bool;

    /// Whether nothing can go wrong any more.
    fn is_over(&self) -> bool;

    /// Whether an actor takes no more steps. States in which it was told different things before are then one.
    fn has_left(&self, _actor: usize) -> bool {
        false
    }

    /// Whether what it keeps of an actor is independent of the actor's number: then actors of one name may be exchanged.
    fn is_anonymous(&self, _actor: usize) -> bool {
        false
    }

    fn accidents(&self) -> Vec<Self::Accident>;
    fn happen(&mut self, accident: Self::Accident);
}

/// How an actor has ended, or a stage of its way.
#[derive(Debug, Clone, PartialEq)]
pub enum End<M> {
    /// It goes on, and knows no more than this.
    Next(M),
    /// What it did may matter to others.
    Done,
    /// It only looked: the states without it say all there is to say.
    Unnoticed,
    /// The promise is broken.
    Broken(String),
}

type Script<M> = Pin<Box<dyn Future<Output = End<M>>>>;

/// An actor that takes steps: a name, and an action for each stage.
pub struct Actor<W: World> {
    name: String,
    start: Box<Start<W>>,
}

type Start<W> = dyn Fn(Port<W>, <W as World>::Memory) -> Script<<W as World>::Memory>;

impl<W: World> Actor<W> {
    pub fn new<F>(name: String, start: impl Fn(Port<W>, W::Memory) -> F + 'static) -> Self
    where
        F: Future<Output = End<W::Memory>> + 'static,
    {
        Self { name, start: Box::new(move |port, memory| Box::pin(start(port, memory))) }
    }
}

/// An actor's way to the world.
pub struct Port<W: World>(Arc<Mutex<Line<W>>>);

struct Line<W: World> {
    /// Of the actor and the stage.
    stage: u64,
    told: Told<W>,
    /// Which call comes next.
    next: usize,
    /// What it was not told yet.
    asked: Vec<W::Op>,
    nonces: u64,
}

/// The answers to each call so far.
type Told<W> = Vec<Arc<[<W as World>::Reply]>>;

impl<W: World> Port<W> {
    /// Asks for several things at once: they take effect in any order, with the steps of others between them.
    pub async fn call(&self, ops: Vec<W::Op>) -> Vec<W::Reply> {
        if ops.is_empty() {
            return Vec::new();
        }
        let mut ops = ops;
        let told = poll_fn(move |_| {
            let mut line = self.line();
            let Some(told) = line.told.get(line.next).cloned() else {
                line.asked = mem::take(&mut ops);
                return Poll::Pending;
            };
            line.next += 1;
            Poll::Ready(told)
        });
        told.await.to_vec()
    }

    pub async fn ask(&self, op: W::Op) -> W::Reply {
        self.call(vec![op]).await.remove(0)
    }

    /// A number that is unique, and that is the same when the actor comes to this point again.
    pub fn nonce(&self) -> u64 {
        let mut line = self.line();
        line.nonces += 1;
        FixedState::default().hash_one((line.stage, line.nonces))
    }

    fn line(&self) -> MutexGuard<'_, Line<W>> {
        self.0.lock().unwrap()
    }
}

impl<W: World> Clone for Port<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W: World> Debug for Port<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").finish_non_exhaustive()
    }
}

/// One actor at one point of its way.
struct Validity<W: World> {
    memory: W::Memory,
    /// At this stage.
    told: Told<W>,
    /// What it waits for, and what of it has come.
    asked: Arc<[W::Op]>,
    answers: Vec<Option<W::Reply>>,
    /// Of its memory and what it was told, without those answers.
    hash: u64,
}

struct State<W: World> {
    world: W,
    actors: Vec<Rc<Validity<W>>>,
}

#[derive(Clone, Copy, Debug)]
enum Step<A> {
    Act { actor: u8, op: u8 },
    Happen(A),
}

/// How a state was reached: from which one, by what.
type Way<A> = (u32, Step<A>);

/// Searches every order; returns how many states there are, or the shortest way to break the promise.
///
/// Actors that do the same, by their names, begin in their order.
pub fn search<W: World>(world: &W, actors: &[Actor<W>]) -> Result<usize, String> {
    let first = State::first(world, actors);
    let mut seen = HashSet::<u64, BuildHasherDefault<Hashed>>::default();
    let mut ways: Vec<Way<W::Accident>> = Vec::new();
    let mut queue = VecDeque::from([(0_u32, first)]);
    while let Some((reached, state)) = queue.pop_front() {
        for step in state.steps(actors) {
            let mut next = state.after(step);
            if next.world.is_over() || !seen.insert(next.key(actors)) {
                continue;
            }
            let end = next.resume(actors, step);
            if let Some(End::Broken(how)) = end {
                return Err(trace(world, actors, &ways, (reached, step), &how));
            }
            // What an actor has forgotten may have been all that was new.
            if end == Some(End::Unnoticed) || next.world.is_over() || (end.is_some() && !seen.insert(next.key(actors))) {
                continue;
            }
            ways.push((reached, step));
            queue.push_back((u32::try_from(ways.len()).unwrap(), next));
        }
    }
    Ok(ways.len() + 1)
}

impl<W: World> State<W> {
    fn first(world: &W, actors: &[Actor<W>]) -> Self {
        let standings = actors.iter().zip(0..).map(|(actor, at)| {
            let (standing, end) = Validity::reach(actor, at, W::Memory::default(), Vec::new(), 0);
            assert_eq!(end, None, "an actor that does nothing");
            Rc::new(standing)
        });
        Self { world: world.clone(), actors: standings.collect() }
    }

    fn steps(&self, actors: &[Actor<W>]) -> impl Iterator<Item = Step<W::Accident>> {
        let able = (0..self.actors.len()).filter(|&at| self.is_next(actors, at));
        let acts = able.flat_map(|at| {
            let Validity { asked, answers, .. } = &*self.actors[at];
            let open = (0..asked.len()).filter(|&op| answers[op].is_none() && self.world.lets(&asked[op]));
            open.map(move |op| Step::Act { actor: u8::try_from(at).unwrap(), op: u8::try_from(op).unwrap() })
        });
        acts.chain(self.world.accidents().into_iter().map(Step::Happen))
    }

    /// Whether it has begun, or all those have that do the same and come before it.
    fn is_next(&self, actors: &[Actor<W>], at: usize) -> bool {
        at == 0 || actors[at - 1].name != actors[at].name || !self.actors[at - 1].is_at_its_beginning()
    }

    fn after(&self, step: Step<W::Accident>) -> Self {
        let mut next = Self { world: self.world.clone(), actors: self.actors.clone() };
        match step {
            Step::Happen(accident) => {
                next.world.happen(accident);
                next.dismiss();
            }
            Step::Act { actor, op } => next.perform(usize::from(actor), usize::from(op)),
        }
        next
    }

    /// Forgets what actors were told that take no more steps.
    fn dismiss(&mut self) {
        for at in 0..self.actors.len() {
            if self.world.has_left(at) && !self.actors[at].asked.is_empty() {
                self.actors[at] = Rc::new(Validity::ended(W::Memory::default()));
            }
        }
    }

    fn perform(&mut self, actor: usize, op: usize) {
        let reply = self.world.perform(actor, &self.actors[actor].asked[op]);
        self.actors[actor] = Rc::new(self.actors[actor].answered(op, reply));
    }

    /// Runs the actor that took the step, if it has all its answers, to its next call that takes a step.
    fn resume(&mut self, actors: &[Actor<W>], step: Step<W::Accident>) -> Option<End<W::Memory>> {
        let Step::Act { actor, .. } = step else { return None };
        let at = usize::from(actor);
        let mut last = None;
        loop {
            let standing = &self.actors[at];
            let Some(answers) = standing.answers.iter().cloned().collect::<Option<Arc<[_]>>>() else { return last };
            let mut told = standing.told.clone();
            told.push(answers);
            let (mut next, mut end) = Validity::reach(&actors[at], at, standing.memory.clone(), told, standing.hash());
            while let Some(End::Next(memory)) = end {
                let hash = FixedState::default().hash_one(&memory);
                last = Some(End::Next(memory.clone()));
                (next, end) = Validity::reach(&actors[at], at, memory, Vec::new(), hash);
            }
            self.actors[at] = Rc::new(next);
            if end.is_some() {
                return end;
            }
            if !self.actors[at].asked.iter().all(|op| self.world.is_at_once(op)) {
                return last;
            }
            (0..self.actors[at].asked.len()).for_each(|op| self.perform(at, op));
        }
    }

    fn key(&self, actors: &[Actor<W>]) -> u64 {
        let mut hasher = FixedState::default().build_hasher();
        self.world.hash(&mut hasher);
        let mut standings: Vec<u64> = self.actors.iter().map(|standing| standing.hash()).collect();
        let mut at = 0;
        for alike in actors.chunk_by(|one, next| one.name == next.name) {
            if self.world.is_anonymous(at) {
                standings[at..at + alike.len()].sort_unstable();
            }
            at += alike.len();
        }
        standings.hash(&mut hasher);
        hasher.finish()
    }
}

impl<W: World> Validity<W> {
    /// The position of the actor after these replies.
    fn reach(actor: &Actor<W>, at: usize, memory: W::Memory, told: Told<W>, hash: u64) -> (Self, Option<End<W::Memory>>) {
        let stage = FixedState::default().hash_one((at, &memory));
        let port = Port(Arc::new(Mutex::new(Line { stage, told, next: 0, asked: Vec::new(), nonces: 0 })));
        let mut script = (actor.start)(port.clone(), memory.clone());
        let end = script.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let line = &mut *port.line();
        assert_eq!(line.next, line.told.len(), "an actor that does not do the same when told the same");
        let (told, asked) = (mem::take(&mut line.told), mem::take(&mut line.asked));
        match end {
            Poll::Ready(end) => (Self::ended(memory), Some(end)),
            Poll::Pending => (Self { memory, told, answers: vec![None; asked.len()], asked: asked.into(), hash }, None),
        }
    }

    fn ended(memory: W::Memory) -> Self {
        Self { memory, told: Vec::new(), asked: [].into(), answers: Vec::new(), hash: 1 }
    }

    fn is_at_its_beginning(&self) -> bool {
        self.hash() == 0
    }

    fn answered(&self, op: usize, reply: W::Reply) -> Self {
        let mut answers = self.answers.clone();
        answers[op] = Some(reply);
        Self { memory: self.memory.clone(), told: self.told.clone(), asked: Arc::clone(&self.asked), answers, hash: self.hash }
    }

    fn hash(&self) -> u64 {
        if self.answers.iter().all(Option::is_none) {
            return self.hash;
        }
        FixedState::default().hash_one((self.hash, &self.answers))
    }
}

fn trace<W: World>(world: &W, actors: &[Actor<W>], ways: &[Way<W::Accident>], last: Way<W::Accident>, how: &str) -> String {
    let mut steps = vec![last.1];
    let mut reached = last.0;
    while reached > 0 {
        let (before, step) = ways[reached as usize - 1];
        steps.push(step);
        reached = before;
    }
    let mut text = format!("{how}, after {} steps:\n", steps.len());
    let mut state = State::first(world, actors);
    for step in steps.into_iter().rev() {
        let next = state.after(step);
        match step {
            Step::Happen(accident) => writeln!(text, "  {accident:?}"),
            Step::Act { actor, op } => {
                let standing = &state.actors[usize::from(actor)];
                let name = &actors[usize::from(actor)].name;
                let answer = &next.actors[usize::from(actor)].answers[usize::from(op)];
                writeln!(text, "  {name} {actor}: {:?} -> {:?}", standing.asked[usize::from(op)], answer.as_ref())
            }
        }
        .unwrap();
        state = next;
        state.resume(actors, step);
    }
    writeln!(text, "{:?}", state.world).unwrap();
    text
}

/// A hash as it is.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only whole hashes are kept");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
