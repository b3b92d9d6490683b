use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use redis::{Value, cmd};
use tokio::task::yield_now;

use super::{
    failure::{failed, unexpected},
    link::Link,
    moment::Moment,
    question::{Question, Questions},
    reading::Reading,
};
use crate::error::Error;

/// Reads keys together with the clock; what is asked for at the same time goes in one command, and what several ask for, once.
///
/// Each command costs its way through the client, the kernel and the server; a key more costs a fraction of that. Nobody waits
/// for company: whoever else is ready to ask at this moment comes along.
#[derive(Debug)]
pub(super) struct Readings {
    link: Arc<Link>,
    clock: String,
    asked: Mutex<Questions>,
    /// How many bytes were answered lately, on an average, to one question.
    typical: AtomicUsize,
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
    pub(super) async fn read(self: &Arc<Self>, names: Vec<String>) -> Result<Arc<Moment>, Error> {
        let (answered, is_first) = self.lock().join(names);
        if is_first {
            // A task of its own: whoever leaves does not leave the others without an answer.
            tokio::spawn(Arc::clone(self).ask());
        }
        answered.await.map_err(|gone| Error::unavailable("Redis was asked, and nobody took the answer").with_source(gone))?
    }

    async fn ask(self: Arc<Self>) {
        // Those who are ready to run come first, and maybe along.
        yield_now().await;
        // Who asks from here on is answered by another command.
        let mut asked = mem::take(&mut *self.lock()).into_inner();
        let most = (ANSWER / self.typical.load(Ordering::Relaxed).max(1)).clamp(1, COMPANY);
        while asked.len() > most {
            let company = asked.split_off(asked.len() - most);
            let this = Arc::clone(&self);
            tokio::spawn(async move { this.answer(company).await });
        }
        self.answer(asked).await;
    }

    async fn answer(&self, mut asked: Vec<Question>) {
        asked.retain(Question::matters);
        match self.read_together(asked.iter().flat_map(Question::names)).await {
            Ok((clock, values)) => {
                self.note_size(&values, asked.len());
                let mut values = values.into_iter();
                asked.into_iter().for_each(|question| question.answer(clock, &mut values));
            }
            Err(error) => asked.into_iter().for_each(|question| question.fail(&error)),
        }
    }

    async fn read_together(&self, names: impl Iterator<Item = &str>) -> Result<(Reading, Vec<Option<Bytes>>), Error> {
        let mut command = cmd("MGET");
        command.arg(&self.clock);
        names.for_each(|name| _ = command.arg(name));
        for _ in 0..ATTEMPTS {
            let (value, term) = self.link.ask(&command).await.map_err(failed)?;
            let Value::Array(values) = value else { return Err(unexpected()) };
            let mut values = values.into_iter().map(bytes);
            let clock = values.next().flatten().and_then(|clock| Some(Reading::split(&clock)?.0));
            match clock.filter(|clock| clock.term == term) {
                Some(clock) => return Ok((clock, values.collect())),
                None => self.link.greet_again(term),
            }
        }
        Err(Error::unavailable("Redis changes its primary, or loses its clock, again and again"))
    }

    fn note_size(&self, values: &[Option<Bytes>], asked: usize) {
        let bytes: usize = values.iter().flatten().map(Bytes::len).sum();
        let typical = self.typical.load(Ordering::Relaxed);
        self.typical.store((typical * 7 + bytes / asked.max(1)).div_ceil(8), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Questions> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What stands under a key, as far as larder can have written it.
fn bytes(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(bytes) => Some(bytes.into()),
        _ => None,
    }
}
