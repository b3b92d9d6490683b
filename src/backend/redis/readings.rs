use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use redis::{Value, cmd};
use tokio::{sync::oneshot, task::yield_now};

use super::{
    failure::{failed, unexpected},
    link::Link,
    reading::Reading,
};
use crate::error::Error;

/// Reads keys together with the clock; what is asked for at the same time goes in one command.
///
/// Each command costs its way through the client, the kernel and the server; a key more costs a fraction of that. Nobody waits
/// for company: whoever else is ready to ask at this moment comes along.
#[derive(Debug)]
pub(super) struct Readings {
    link: Arc<Link>,
    clock: String,
    asked: Mutex<Vec<Asked>>,
    /// How many bytes were answered lately, on an average, to one who asked.
    typical: AtomicUsize,
}

/// The clock, and what stands under each of the keys, in one moment.
pub(super) type Moment = (Reading, Vec<Value>);

#[derive(Debug)]
struct Asked {
    names: Vec<String>,
    answer: oneshot::Sender<Result<Moment, Error>>,
}

/// As many go in one command at the most.
const COMPANY: usize = 64;
/// As many bytes are to be answered to one command: of a long answer, the first who asked waits for the last.
const ANSWER: usize = 64 << 10;
/// How often a reading is begun again because the term of the clock has changed meanwhile.
const ATTEMPTS: usize = 4;

impl Readings {
    pub(super) fn new(link: Arc<Link>, clock: &str) -> Arc<Self> {
        Arc::new(Self { link, clock: clock.to_owned(), asked: Mutex::default(), typical: AtomicUsize::new(1) })
    }

    /// Reads the keys of these names, after now.
    pub(super) async fn read(self: &Arc<Self>, names: Vec<String>) -> Result<Moment, Error> {
        let (answer, answered) = oneshot::channel();
        let is_first = {
            let mut asked = self.lock();
            asked.push(Asked { names, answer });
            asked.len() == 1
        };
        if is_first {
            // A task of its own: whoever leaves does not leave the others without an answer.
            tokio::spawn(Arc::clone(self).ask());
        }
        answered.await.map_err(|gone| Error::unavailable("Redis was asked, and nobody took the answer").with_source(gone))?
    }

    async fn ask(self: Arc<Self>) {
        // Those who are ready to run come first, and maybe along.
        yield_now().await;
        let mut asked = mem::take(&mut *self.lock());
        let most = (ANSWER / self.typical.load(Ordering::Relaxed).max(1)).clamp(1, COMPANY);
        while asked.len() > most {
            let company = asked.split_off(asked.len() - most);
            let this = Arc::clone(&self);
            tokio::spawn(async move { this.answer(company).await });
        }
        self.answer(asked).await;
    }

    async fn answer(&self, mut asked: Vec<Asked>) {
        asked.retain(|asked| !asked.answer.is_closed());
        let names = asked.iter().flat_map(|asked| &asked.names);
        match self.read_together(names.map(String::as_str)).await {
            Ok((clock, values)) => {
                self.note_size(&values, asked.len());
                let mut values = values.into_iter();
                for Asked { names, answer } in asked {
                    let own = values.by_ref().take(names.len()).collect();
                    // Who has left meanwhile does not need it.
                    let _ = answer.send(Ok((clock, own)));
                }
            }
            Err(error) => asked.into_iter().for_each(|asked| _ = asked.answer.send(Err(error.clone()))),
        }
    }

    async fn read_together(&self, names: impl Iterator<Item = &str>) -> Result<Moment, Error> {
        let mut command = cmd("MGET");
        command.arg(&self.clock);
        names.for_each(|name| _ = command.arg(name));
        for _ in 0..ATTEMPTS {
            let (value, term) = self.link.ask(&command).await.map_err(failed)?;
            let Value::Array(mut values) = value else { return Err(unexpected()) };
            let others = values.split_off(1.min(values.len()));
            let clock = match values.pop() {
                Some(Value::BulkString(clock)) => Reading::split(&clock).map(|(reading, _)| reading),
                _ => None,
            };
            match clock.filter(|clock| clock.term == term) {
                Some(clock) => return Ok((clock, others)),
                None => self.link.greet_again(term),
            }
        }
        Err(Error::unavailable("Redis changes its primary, or loses its clock, again and again"))
    }

    fn note_size(&self, values: &[Value], asked: usize) {
        let bytes: usize = values.iter().map(|value| if let Value::BulkString(bytes) = value { bytes.len() } else { 0 }).sum();
        let typical = self.typical.load(Ordering::Relaxed);
        self.typical.store((typical * 7 + bytes / asked.max(1)).div_ceil(8), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
